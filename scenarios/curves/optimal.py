"""What the best possible choice of victims would hit, for every number of keyslots at once.

No rule that programs a key when it is used and must put it somewhere can hit more often than Belady's: evict
the key whose next use is furthest away.  Its tables of 1, 2, 3 ... slots contain one another, so they are
one stack (Mattson et al., 1970, "Evaluation techniques for storage hierarchies"): an access puts its key on
top, the key that was there sinks, and at each place the key that is used sooner stays while the other sinks
on, down to the place the accessed key came from.  An access hits with ``n`` slots when its key was among the
first ``n``.

The rule needs the future, and memory must not grow with the trace.  So keys go to a temporary file as they
come; a pass over it backwards, block by block, writes each access's next use to another; and the pass
forwards moves the stack.  In memory are a block, the stack, and one number per distinct key.
"""

import tempfile
from collections.abc import Callable, MutableSequence, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np
import numpy.typing as npt

from scenarios.curves.compiled import compiled
from scenarios.curves.reuse import without_repeats

Int64 = npt.NDArray[np.int64]

_BLOCK: Final = 1 << 18
_NEVER: Final = np.iinfo(np.int64).max
# Below this, compiling takes longer than the loop.
_WORTH_COMPILING: Final = 1 << 19


class OptimalCurve:
    """Hits of an optimal keyslot table for each number of slots from 1 to ``most``.

    Use it as a context: it owns temporary files.
    """

    def __init__(self, most: int, folder: Path | None = None) -> None:
        self._most = most
        self._repeats = 0
        self._last = -1
        self._keys: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._next_uses: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._rows = self._distinct = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._keys.close()
        self._next_uses.close()

    def add(self, keys: Int64) -> None:
        """Use ``keys``, ``int64[n]``, numbered densely from 0 on, in this order."""
        kept = without_repeats(keys, self._last)
        self._repeats += len(keys) - len(kept)
        if len(kept):
            self._last = int(kept[-1])
            self._rows += len(kept)
            self._distinct = max(self._distinct, int(kept.max()) + 1)
            self._keys.write(kept.astype(np.int32).tobytes())

    def hits(self) -> Int64:
        """``int64[most]``: hits with 1, 2, ... slots.  Called once, at the end."""
        self._write_next_uses()
        move = compiled(move_stack) if self._rows >= _WORTH_COMPILING else None
        places: Int64 = np.zeros(self._most + 1, np.int64)
        stack: Int64 = np.zeros(self._most, np.int64)
        if move is None:
            # The interpreter is faster on lists than on arrays.
            counted, held = places.tolist(), stack.tolist()
            self._forwards(lambda uses, first, depth: move_stack(uses.tolist(), first, held, depth, counted))
            places = np.array(counted, np.int64)
        else:
            native = move
            self._forwards(lambda uses, first, depth: native(uses, first, stack, depth, places))
        places[1] += self._repeats
        return np.cumsum(places[1:])

    def _forwards(self, move: Callable[[Int64, int, int], int]) -> None:
        depth = 0
        for start in range(0, self._rows, _BLOCK):
            depth = move(_read(self._next_uses, start, _BLOCK, np.int64), start, depth)

    def _write_next_uses(self) -> None:
        """Next use of every access, backwards, so that no use is known before it is needed."""
        next_use = np.full(self._distinct, _NEVER, np.int64)
        for start in range((self._rows - 1) // _BLOCK * _BLOCK, -1, -_BLOCK):
            keys = _read(self._keys, start, _BLOCK, np.int32)
            order = np.argsort(keys, kind="stable")
            ordered = keys[order]
            last = np.append(ordered[1:] != ordered[:-1], True)
            uses = np.empty(len(keys), np.int64)
            uses[order[:-1]] = order[1:] + start
            uses[order[last]] = next_use[ordered[last]]
            first = np.append(True, last[:-1])
            next_use[ordered[first]] = order[first] + start
            self._next_uses.seek(start * uses.itemsize)
            self._next_uses.write(uses.tobytes())


def _read(file: BinaryIO, start: int, count: int, dtype: type[np.int32] | type[np.int64]) -> Int64:
    size = np.dtype(dtype).itemsize
    file.seek(start * size)
    return np.frombuffer(file.read(count * size), dtype).astype(np.int64)


def move_stack(
    next_uses: Sequence[int] | Int64,
    first: int,
    stack: MutableSequence[int] | Int64,
    depth: int,
    places: MutableSequence[int] | Int64,
) -> int:
    """Move the stack through one block.

    Args:
        next_uses: when each accessed key is used next; accesses are numbered from 0 on.
        first: number of the block's first access.
        stack: next uses of the keys on the stack; as long as the stack may become.
        depth: keys on it.
        places: counts hits by the place, from 1 on, the key was found at.

    Returns:
        Keys on the stack afterwards.
    """
    most = len(stack)
    for offset in range(len(next_uses)):
        now = first + offset
        sinking = stack[0]
        stack[0] = next_uses[offset]
        if depth == 0:
            depth = 1
            continue
        # The accessed key is the one whose next use is now, and no other key's is.  It is not on top: repeats
        # were left out.
        place = 1
        while place < depth and stack[place] != now:
            if stack[place] > sinking:
                stack[place], sinking = sinking, stack[place]
            place += 1
        if place < most:
            stack[place] = sinking
        if place < depth:
            places[place + 1] += 1
        else:
            depth = min(place + 1, most)
    return depth
