"""Which device, volume or disk a row is for, where a trace has several.

Every volume has its own addresses, so a replay of several as one would overlay them; and a trace of all block
events records the same I/O at every layer (``dm-0`` and the disk below it).  Hence the choice of one.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from scenarios.traces.batch import Int32
from scenarios.traces.fields import Bool, Column, head, says
from scenarios.traces.lines import Block
from scenarios.traces.tally import Tally

# Fleet traces name thousands of volumes; a wrong column map could name as many as there are rows.
_MAX_NAMES: Final = 100_000


class VolumeFilter:
    """Counts rows per volume in ``tally.volumes`` and keeps those of the ``wanted`` one, or all."""

    def __init__(self, tally: Tally, wanted: str | None) -> None:
        self._tally = tally
        self._wanted = wanted

    def keep(self, block: Block, column: Column, used: Bool) -> Bool:
        """Which of the ``used`` rows to keep, by a column of names."""
        here = column.take(np.flatnonzero(used))
        self._count(_names(block, here))
        if self._wanted is None:
            return used
        kept = used & says(block, column, self._wanted.encode())
        self._tally.add("other_volumes", int(np.count_nonzero(used) - np.count_nonzero(kept)))
        return kept

    def keep_named(self, names: list[str], which: Int32, used: Bool) -> Bool:
        """Which of the ``used`` rows to keep; row ``i`` is for volume ``names[which[i]]``."""
        counts = np.bincount(which[used], minlength=len(names))
        self._count((name, int(count)) for name, count in zip(names, counts, strict=True) if count)
        if self._wanted is None:
            return used
        wanted = names.index(self._wanted) if self._wanted in names else -1
        kept: Bool = used & (which == wanted)
        self._tally.add("other_volumes", int(np.count_nonzero(used) - np.count_nonzero(kept)))
        return kept

    def _count(self, rows: Iterable[tuple[str, int]]) -> None:
        seen = self._tally.volumes
        for name, count in rows:
            if name in seen or len(seen) < _MAX_NAMES:
                seen[name] = seen.get(name, 0) + count


def _names(block: Block, column: Column) -> list[tuple[str, int]]:
    if not len(column.start):
        return []
    first = block.bytes_at(int(column.start[0]), int(column.end[0]))
    if says(block, column, first).all():
        return [(first.decode("utf-8", "backslashreplace"), len(column.start))]
    if int(column.length.max()) <= 8:
        words, counts = np.unique(head(block, column), return_counts=True)
        return [
            (word.to_bytes(8, "little").rstrip(b"\0").decode("utf-8", "backslashreplace"), count)
            for word, count in zip(words.tolist(), counts.tolist(), strict=True)
        ]
    spans = zip(column.start.tolist(), column.end.tolist(), strict=True)
    return [(block.bytes_at(start, end).decode("utf-8", "backslashreplace"), 1) for start, end in spans]
