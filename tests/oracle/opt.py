"""The best choice of victims, twice: Belady's rule taken literally, and all choices tried."""

from collections.abc import Hashable, Sequence


def belady_hits(slots: int, references: Sequence[Hashable]) -> int:
    """Hits when the victim is always the key whose next use is furthest away."""
    uses: dict[Hashable, list[int]] = {}
    for at in reversed(range(len(references))):
        uses.setdefault(references[at], []).append(at)
    held: set[Hashable] = set()
    hits = 0
    for key in references:
        uses[key].pop()
        if key in held:
            hits += 1
            continue
        if len(held) == slots:
            held.remove(max(held, key=lambda one: uses[one][-1] if uses[one] else len(references)))
        held.add(key)
    return hits


def most_hits(slots: int, references: Sequence[Hashable]) -> int:
    """The most hits over every possible sequence of victims."""
    best: dict[frozenset[Hashable], int] = {frozenset(): 0}
    for key in references:
        after: dict[frozenset[Hashable], int] = {}
        for held, hits in best.items():
            if key in held:
                reached = [(held, hits + 1)]
            elif len(held) < slots:
                reached = [(held | {key}, hits)]
            else:
                reached = [(held - {victim} | {key}, hits) for victim in held]
            for table, count in reached:
                after[table] = max(count, after.get(table, 0))
        best = after
    return max(best.values())
