"""LRU for every number of slots, written down literally: one list of all keys, the last used first."""

from collections.abc import Hashable, Iterable


def hits_by_slots(references: Iterable[Hashable], most: int) -> list[int]:
    """Hits with 1, 2, ... ``most`` slots: a table of ``n`` slots holds the first ``n`` of the list."""
    used: list[Hashable] = []
    hits = [0] * most
    for key in references:
        if key in used:
            place = used.index(key)
            for slots in range(place + 1, most + 1):
                hits[slots - 1] += 1
            used.pop(place)
        used.insert(0, key)
    return hits
