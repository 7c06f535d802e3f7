"""An LRU cache of ``slots`` entries, written down literally: a list, most recently used last."""

from collections.abc import Hashable, Iterable


def lru_hits(slots: int, references: Iterable[Hashable]) -> int:
    held: list[Hashable] = []
    hits = 0
    for key in references:
        if key in held:
            hits += 1
            held.remove(key)
        elif len(held) == slots:
            held.pop(0)
        held.append(key)
    return hits
