"""Synthetic workloads: the columns a trace would have.

``jobs`` jobs take turns, row by row; a row's ``stream`` is its job.  Rows address the layout's files, not the
device.  Every quantity has a random stream of its own, so that changing one leaves the others' draws alone,
and no draw depends on how rows are batched.

- ``random``: every row picks a file by popularity, an aligned position in it, a size and a direction.
- ``sequential``: every job picks a file by popularity, a size and a direction, passes once over the whole
  file, and picks the next.

Popularity is Zipf's law over the files, the most popular ones scattered over the address space.  An open loop
has arrival times; in a closed loop all are 0, and ``run.queue_depth`` sets the pace.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import NS_PER_SECOND, SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.allocation.file_map import FileMap
from blkcrypto.fs.allocation.permutation import Permutation
from scenarios import schema
from scenarios.streams import stream
from scenarios.traces.batch import BATCH_ROWS, TraceBatch
from scenarios.zipf import Zipf

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

# Passes over files drawn at a time.
_PASSES: Final = 256


class Workload:
    """A generator's rows, batch by batch."""

    def __init__(self, options: schema.Workload, files: FileMap, seed: int) -> None:
        self._options = options
        self._files = files
        self._seed = seed

    def batches(self, batch_rows: int = BATCH_ROWS) -> Iterator[TraceBatch]:
        """All ``ios`` rows from the first on, at most ``batch_rows`` at a time."""
        options = self._options
        choice = _Choice(options, self._files, self._seed)
        arrivals = _Arrivals(options, stream(self._seed, "workload.arrivals"))
        access: _Random | _Sequential
        if options.access == "random":
            access = _Random(choice, _Draws.of(self._seed, "workload"))
        else:
            draws = [_Draws.of(self._seed, f"workload.job{job}") for job in range(options.jobs)]
            access = _Sequential([_Job(choice, each) for each in draws])
        for start in range(0, options.ios, batch_rows):
            count = min(batch_rows, options.ios - start)
            rows = access.next(start, count)
            yield TraceBatch(
                time_ns=arrivals.next(start, count),
                op=rows.op,
                sector=rows.offset >> SECTOR_SHIFT,
                nbytes=rows.nbytes,
                stream=((start + np.arange(count)) % options.jobs).astype(np.int32),
                file=rows.file.astype(np.int32),
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What rows do, without when and who."""

    file: Int64
    offset: Int64
    nbytes: Int64
    op: UInt8

    @classmethod
    def empty(cls, count: int) -> Self:
        """Room for ``count`` rows."""
        file, offset, nbytes = np.empty((3, count), np.int64)
        return cls(file, offset, nbytes, np.empty(count, np.uint8))

    def put(self, at: slice, rows: "_Rows") -> None:
        """Store ``rows`` at ``at``."""
        self.file[at], self.offset[at], self.nbytes[at], self.op[at] = (
            rows.file,
            rows.offset,
            rows.nbytes,
            rows.op,
        )


@dataclass(frozen=True, slots=True)
class _Draws:
    """One random stream per quantity."""

    file: np.random.Generator
    size: np.random.Generator
    op: np.random.Generator
    offset: np.random.Generator

    @classmethod
    def of(cls, seed: int, owner: str) -> Self:
        return cls(*(stream(seed, f"{owner}.{name}") for name in ("file", "size", "op", "offset")))


class _Choice:
    """Files, block sizes and directions from uniform numbers."""

    def __init__(self, options: schema.Workload, files: FileMap, seed: int) -> None:
        self.file_map = files
        self._popularity = Zipf(files.files, options.zipf)
        self._scatter = Permutation(files.files, stream(seed, "workload.popularity"))
        weights = np.array([weight for _, weight in options.block_sizes])
        self._sizes = np.array([size for size, _ in options.block_sizes], np.int64)
        self._size_ends = np.cumsum(weights)[:-1] / weights.sum()
        self._read_share = options.read_share

    def files(self, uniform: Float64) -> Int64:
        return self._scatter.forward(self._popularity.ranks(uniform))

    def sizes(self, uniform: Float64) -> Int64:
        return self._sizes[np.searchsorted(self._size_ends, uniform, side="right")]

    def ops(self, uniform: Float64) -> UInt8:
        return np.where(uniform < self._read_share, np.uint8(ReqOp.READ), np.uint8(ReqOp.WRITE))


class _Random:
    """Every row stands alone."""

    def __init__(self, choice: _Choice, draws: _Draws) -> None:
        self._choice = choice
        self._draws = draws

    def next(self, _start: int, count: int) -> _Rows:
        choice, draws = self._choice, self._draws
        file = choice.files(draws.file.random(count))
        size = choice.sizes(draws.size.random(count))
        file_bytes = choice.file_map.file_bytes(file)
        blocks = np.maximum(1, file_bytes // size)
        offset = (draws.offset.random(count) * blocks).astype(np.int64) * size
        return _Rows(file, offset, np.minimum(size, file_bytes), choice.ops(draws.op.random(count)))


class _Job:
    """One job's passes over files, drawn some at a time and unrolled into rows as needed."""

    def __init__(self, choice: _Choice, draws: _Draws) -> None:
        self._choice = choice
        self._draws = draws
        self._at = self._rows = 0

    def next(self, count: int) -> _Rows:
        rows, done = _Rows.empty(count), 0
        while done < count:
            if self._at == self._rows:
                self._draw()
            taken = min(count - done, self._rows - self._at)
            rows.put(slice(done, done + taken), self._unrolled(taken))
            self._at += taken
            done += taken
        return rows

    def _draw(self) -> None:
        choice, draws = self._choice, self._draws
        self._file = choice.files(draws.file.random(_PASSES))
        self._size = choice.sizes(draws.size.random(_PASSES))
        self._op = choice.ops(draws.op.random(_PASSES))
        self._bytes = choice.file_map.file_bytes(self._file)
        self._ends = np.cumsum(-(-self._bytes // self._size))
        self._at, self._rows = 0, int(self._ends[-1])

    def _unrolled(self, count: int) -> _Rows:
        number = np.arange(self._at, self._at + count)
        one = np.searchsorted(self._ends, number, side="right")
        first = np.where(one, self._ends[one - 1], 0)
        offset = (number - first) * self._size[one]
        return _Rows(
            self._file[one], offset, np.minimum(self._size[one], self._bytes[one] - offset), self._op[one]
        )


class _Sequential:
    """Jobs in turn."""

    def __init__(self, jobs: list[_Job]) -> None:
        self._jobs = jobs

    def next(self, start: int, count: int) -> _Rows:
        rows, jobs = _Rows.empty(count), len(self._jobs)
        for first in range(min(jobs, count)):
            at = slice(first, count, jobs)
            rows.put(at, self._jobs[(start + first) % jobs].next(len(range(*at.indices(count)))))
        return rows


class _Arrivals:
    """Arrival times: Poisson, evenly spaced, or all 0 for a closed loop."""

    def __init__(self, options: schema.Workload, rng: np.random.Generator) -> None:
        self._mean_ns = NS_PER_SECOND / options.rate_per_s if options.rate_per_s else 0.0
        self._poisson = options.arrivals == "poisson"
        self._rng = rng
        self._last_ns = 0.0

    def next(self, start: int, count: int) -> Int64:
        if not self._mean_ns:
            return np.zeros(count, np.int64)
        if not self._poisson:
            return _whole_ns(np.arange(start, start + count, dtype=np.float64) * self._mean_ns)
        gaps = self._rng.standard_exponential(count) * self._mean_ns
        gaps[0] += self._last_ns
        times: Float64 = np.cumsum(gaps)
        self._last_ns = float(times[-1])
        return _whole_ns(times)


def _whole_ns(times: Float64) -> Int64:
    return np.rint(times).astype(np.int64)
