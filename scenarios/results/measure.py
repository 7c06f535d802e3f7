"""Finished bios -> figures, batch by batch."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Final

import numpy as np

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.op import ReqOp
from scenarios.results.distribution import DistributionBuilder
from scenarios.results.records import COLUMN, Records, RecordSink
from scenarios.results.result import DEVICE_STAGES, KEYSLOT_STAGES, STAGES, DirectionResult


def _neighbours(stages: Sequence[str]) -> slice:
    """The columns of ``stages``, which stand side by side."""
    first = COLUMN[stages[0]]
    assert [COLUMN[stage] for stage in stages] == list(range(first, first + len(stages)))
    return slice(first, first + len(stages))


_STAGES: Final = _neighbours(STAGES)
_KEYSLOT: Final = _neighbours(KEYSLOT_STAGES)
_DEVICE: Final = _neighbours(DEVICE_STAGES)

Columns = Records  # the same numbers as int64[RECORD_WIDTH, n], so that each column lies together


_DIRECTIONS: Final = {"read": int(ReqOp.READ), "write": int(ReqOp.WRITE)}


class _Direction:
    def __init__(self) -> None:
        self.ios = 0
        self.bytes = 0
        self.latency = DistributionBuilder()
        self.keyslot_wait = DistributionBuilder()
        self.cpu_crypto = DistributionBuilder()
        self.device = DistributionBuilder()
        self.stages: Records = np.zeros(len(STAGES), dtype=np.int64)

    def add(self, columns: Columns) -> None:
        self.ios += columns.shape[1]
        self.bytes += int(columns[COLUMN["nbytes"]].sum())
        self.latency.add(columns[COLUMN["total"]])
        self.keyslot_wait.add(columns[_KEYSLOT].sum(axis=0))
        self.cpu_crypto.add(columns[COLUMN["cpu_crypto"]])
        self.device.add(columns[_DEVICE].sum(axis=0))
        self.stages += columns[_STAGES].sum(axis=1)

    def result(self, elapsed_ns: int) -> DirectionResult:
        seconds = elapsed_ns / NS_PER_SECOND
        return DirectionResult(
            total_ios=self.ios,
            io_bytes=self.bytes,
            iops=self.ios / seconds if seconds else 0.0,
            bw_bytes=self.bytes / seconds if seconds else 0.0,
            lat_ns=self.latency.result(),
            keyslot_wait_ns=self.keyslot_wait.result(),
            cpu_crypto_ns=self.cpu_crypto.result(),
            device_ns=self.device.result(),
            stage_ns=dict(zip(STAGES, self.stages.tolist(), strict=True)),
        )


def _sum_of_used(stages: Columns) -> Records:
    """Sum of each bio's stages; most of them take no time in most runs."""
    used = stages[stages.any(axis=1)]
    sums: Records = used.sum(axis=0)
    return sums


def _history(record: Records) -> str:
    """What one bio went through, in words."""
    bio = dict(zip(COLUMN, record.tolist(), strict=True))
    stages = ", ".join(f"{stage} {bio[stage]}" for stage in STAGES if bio[stage])
    done, total = bio["done_ns"], bio["total"]
    return (
        f"bio {bio['row']}: {ReqOp(bio['op']).name} of {bio['nbytes']} bytes, "
        f"arrived at {done - total} ns, done at {done} ns, {total} ns in all; "
        f"stages in ns: {stages or 'none'}"
    )


class Measure:
    """Takes record batches from a machine.

    The first ``warmup`` bios to complete are left out of everything but the checks; ``sinks`` see them too.
    """

    def __init__(self, *, warmup: int = 0) -> None:
        self._directions = {"read": _Direction(), "write": _Direction(), "all": _Direction()}
        self._only: str | None = None  # the direction of all bios so far; empty when they differ
        self._warmup = warmup
        self._began_ns = 0
        self.sinks: Sequence[RecordSink] = ()
        self.bios = 0
        self.last_done_ns = 0
        self.errors: dict[str, int] = {}
        self.stages_sum_to_total = True
        self.no_negative_time = True
        self.first_broken = ""  # history of the first bio that breaks one of them
        # Area under the number of bios in the system: every completion time less every arrival time.
        self.inflight_area = 0

    def add(self, records: Records) -> None:
        """Take ``int64[n, RECORD_WIDTH]`` in completion order."""
        for sink in self.sinks:
            sink.add(records)
        columns = records.T
        if columns.strides[1] != columns.itemsize:
            columns = np.ascontiguousarray(columns)
        stages = columns[_STAGES]
        sums = _sum_of_used(stages) == columns[COLUMN["total"]]
        self.stages_sum_to_total &= bool(sums.all())
        self.no_negative_time &= int(stages.min()) >= 0
        if not self.first_broken and not (self.stages_sum_to_total and self.no_negative_time):
            self.first_broken = _history(records[int(np.argmin(sums & (stages >= 0).all(axis=0)))])
        self.bios += len(records)
        done_ns = columns[COLUMN["done_ns"]]
        self.last_done_ns = int(done_ns[-1])
        skip = min(len(records), self._warmup)
        if skip:
            self._began_ns = int(done_ns[skip - 1])
            self._warmup -= skip
            columns = columns[:, skip:]
        self.inflight_area += int(columns[COLUMN["total"]].sum())
        self._count_errors(columns[COLUMN["status"]])
        self._add_directions(columns)

    def _add_directions(self, columns: Columns) -> None:
        op = columns[COLUMN["op"]]
        chosen = {name: op == number for name, number in _DIRECTIONS.items()}
        only = next((name for name, which in chosen.items() if which.all()), "")
        if only and self._only in (None, only):
            self._only = only
            self._directions[only].add(columns)
            return
        if self._only:
            self._directions["all"] = deepcopy(self._directions[self._only])
        self._only = ""
        for name, which in chosen.items():
            if which.all():
                self._directions[name].add(columns)
            elif which.any():
                self._directions[name].add(columns.take(np.flatnonzero(which), axis=1))
        self._directions["all"].add(columns)

    def _count_errors(self, status: Records) -> None:
        if not status.any():
            return
        failed = status[status != 0]
        for value, times in zip(*np.unique(failed, return_counts=True), strict=True):
            name = str(BlkStatus(int(value)))
            self.errors[name] = self.errors.get(name, 0) + int(times)

    @property
    def elapsed_ns(self) -> int:
        """From the end of the warm-up to the last completion."""
        return self.last_done_ns - self._began_ns

    @property
    def inflight_mean(self) -> float:
        """Time-averaged number of bios in the system."""
        return self.inflight_area / self.elapsed_ns if self.elapsed_ns else 0.0

    def directions(self) -> dict[str, DirectionResult]:
        """Figures per direction."""
        results = {
            name: each.result(self.elapsed_ns)
            for name, each in self._directions.items()
            if name in _DIRECTIONS
        }
        whole = self._directions[self._only or "all"]
        # Sorting out percentiles is much of the work: not twice for the same bios.
        same = next((name for name in _DIRECTIONS if self._directions[name].ios == whole.ios), None)
        results["all"] = whole.result(self.elapsed_ns) if same is None else results[same]
        return results
