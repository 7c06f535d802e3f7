"""A run over simulated time, in equal intervals, in bounded memory.

Intervals double in length whenever there would be too many, so a run of any length ends with half of
``_MOST`` to ``_MOST`` of them (a very short one with fewer), and the result does not depend on how records
came in batches.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.op import ReqOp
from scenarios.results.records import COLUMN, Records
from scenarios.results.result import KEYSLOT_STAGES

_MOST: Final = 256
_SHORTEST_NS: Final = 1024
_KEYSLOT_COLUMNS: Final = [COLUMN[stage] for stage in KEYSLOT_STAGES]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What was measured in each interval of ``interval_ns`` from 0 on; the last may be shorter.

    Attributes:
        begin_ns, length_ns: ``int64[n]``, of each interval.
        read_bytes_per_s, write_bytes_per_s: ``float64[n]``, of bios that completed in it.
        inflight: ``float64[n]``, bios in the system, averaged over the interval.
        latency_ns: ``float64[n]``, mean of the bios that completed in it; NaN when none did.
        keyslot_ns: ``float64[n]``, how much of that went to keyslots.
    """

    interval_ns: int
    begin_ns: Integers
    length_ns: Integers
    read_bytes_per_s: Floats
    write_bytes_per_s: Floats
    inflight: Floats
    latency_ns: Floats
    keyslot_ns: Floats


class OverTime:
    """Sorts finished bios into intervals of simulated time.  A ``RecordSink``."""

    def __init__(self) -> None:
        self._interval_ns = _SHORTEST_NS
        self._last_done_ns = 0
        # Sums per interval.  *_after: time from the interval's begin to each arrival, or completion.
        self._arrived, self._arrived_after = _zeros(), _zeros()
        self._done, self._done_after = _zeros(), _zeros()
        self._read_bytes, self._write_bytes = _zeros(), _zeros()
        self._latency_ns, self._keyslot_ns = _zeros(), _zeros()

    def add(self, records: Records) -> None:
        """Take a batch of records."""
        done, total = records[:, COLUMN["done_ns"]], records[:, COLUMN["total"]]
        op, nbytes = records[:, COLUMN["op"]], records[:, COLUMN["nbytes"]]
        self._last_done_ns = max(self._last_done_ns, int(done.max()))
        while self._last_done_ns >= _MOST * self._interval_ns:
            self._double()
        arrived = done - total
        # A completion on a border ends the interval before it, so that the last interval is never empty.
        began, ended = arrived // self._interval_ns, np.maximum(done - 1, 0) // self._interval_ns
        self._arrived += _sums(began)
        self._arrived_after += _sums(began, arrived - began * self._interval_ns)
        self._done += _sums(ended)
        self._done_after += _sums(ended, done - ended * self._interval_ns)
        self._read_bytes += _sums(ended, np.where(op == ReqOp.READ, nbytes, 0))
        self._write_bytes += _sums(ended, np.where(op == ReqOp.WRITE, nbytes, 0))
        self._latency_ns += _sums(ended, total)
        self._keyslot_ns += _sums(ended, records[:, _KEYSLOT_COLUMNS].sum(axis=1))

    def _double(self) -> None:
        # An event of an interval that becomes a second half is one old interval further from its begin.
        self._arrived_after[1::2] += self._arrived[1::2] * self._interval_ns
        self._done_after[1::2] += self._done[1::2] * self._interval_ns
        for name in _SUMS:
            old = getattr(self, name)
            halved = _zeros()
            halved[: _MOST // 2] = old[0::2] + old[1::2]
            setattr(self, name, halved)
        self._interval_ns *= 2

    def series(self) -> Series:
        """The intervals up to the last completion."""
        count = -(-self._last_done_ns // self._interval_ns)
        begin = np.arange(count, dtype=np.int64) * self._interval_ns
        length = np.minimum(self._interval_ns, self._last_done_ns - begin)
        arrived, done = self._arrived[:count], self._done[:count]
        already_in = np.cumsum(arrived - done) - (arrived - done)
        came = arrived * length - self._arrived_after[:count]
        left = done * length - self._done_after[:count]
        completed = np.where(done, done, np.nan)
        return Series(
            interval_ns=self._interval_ns,
            begin_ns=begin,
            length_ns=length,
            read_bytes_per_s=self._read_bytes[:count] * NS_PER_SECOND / length,
            write_bytes_per_s=self._write_bytes[:count] * NS_PER_SECOND / length,
            inflight=already_in + (came - left) / length,
            latency_ns=self._latency_ns[:count] / completed,
            keyslot_ns=self._keyslot_ns[:count] / completed,
        )


_SUMS: Final = (
    "_arrived",
    "_arrived_after",
    "_done",
    "_done_after",
    "_read_bytes",
    "_write_bytes",
    "_latency_ns",
    "_keyslot_ns",
)


def _zeros() -> Integers:
    return np.zeros(_MOST, dtype=np.int64)


def _sums(interval: Integers, values: Integers | None = None) -> Integers:
    """Sum of ``values`` (of ones when left out) by interval."""
    # float64 weights are exact here: one batch's sums stay far below 2**53.
    return np.bincount(interval, weights=values, minlength=_MOST).astype(np.int64)
