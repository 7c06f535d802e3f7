"""Finished bios -> figures, batch by batch."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.op import ReqOp
from scenarios.distribution import DistributionBuilder
from scenarios.records import COLUMN, Records, RecordSink
from scenarios.result import DEVICE_STAGES, KEYSLOT_STAGES, STAGES, DirectionResult

_STAGE_COLUMNS: Final = [COLUMN[stage] for stage in STAGES]
_KEYSLOT_COLUMNS: Final = [COLUMN[stage] for stage in KEYSLOT_STAGES]
_DEVICE_COLUMNS: Final = [COLUMN[stage] for stage in DEVICE_STAGES]


class _Direction:
    def __init__(self) -> None:
        self.ios = 0
        self.bytes = 0
        self.latency = DistributionBuilder()
        self.keyslot_wait = DistributionBuilder()
        self.cpu_crypto = DistributionBuilder()
        self.device = DistributionBuilder()
        self.stages: Records = np.zeros(len(STAGES), dtype=np.int64)

    def add(self, records: Records) -> None:
        self.ios += len(records)
        self.bytes += int(records[:, COLUMN["nbytes"]].sum())
        self.latency.add(records[:, COLUMN["total"]])
        self.keyslot_wait.add(records[:, _KEYSLOT_COLUMNS].sum(axis=1))
        self.cpu_crypto.add(records[:, COLUMN["cpu_crypto"]])
        self.device.add(records[:, _DEVICE_COLUMNS].sum(axis=1))
        self.stages += records[:, _STAGE_COLUMNS].sum(axis=0)

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


class Measure:
    """Takes record batches from a machine.

    The first ``warmup`` bios to complete are left out of everything but the checks; ``sinks`` see them too.
    """

    def __init__(self, *, warmup: int = 0) -> None:
        self._directions = {"read": _Direction(), "write": _Direction(), "all": _Direction()}
        self._warmup = warmup
        self._began_ns = 0
        self.sinks: Sequence[RecordSink] = ()
        self.bios = 0
        self.last_done_ns = 0
        self.errors: dict[str, int] = {}
        self.stages_sum_to_total = True
        self.no_negative_time = True
        # Area under the number of bios in the system: every completion time less every arrival time.
        self.inflight_area = 0

    def add(self, records: Records) -> None:
        """Take ``int64[n, RECORD_WIDTH]`` in completion order."""
        for sink in self.sinks:
            sink.add(records)
        total = records[:, COLUMN["total"]]
        stages = records[:, _STAGE_COLUMNS]
        self.stages_sum_to_total &= bool((stages.sum(axis=1) == total).all())
        self.no_negative_time &= bool((stages >= 0).all())
        self.bios += len(records)
        self.last_done_ns = int(records[-1, COLUMN["done_ns"]])
        skip = min(len(records), self._warmup)
        if skip:
            self._began_ns = int(records[skip - 1, COLUMN["done_ns"]])
            self._warmup -= skip
            records = records[skip:]
        self.inflight_area += int(records[:, COLUMN["total"]].sum())
        self._count_errors(records[:, COLUMN["status"]])
        op = records[:, COLUMN["op"]]
        self._directions["read"].add(records[op == ReqOp.READ])
        self._directions["write"].add(records[op == ReqOp.WRITE])
        self._directions["all"].add(records)

    def _count_errors(self, status: Records) -> None:
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
        return {name: each.result(self.elapsed_ns) for name, each in self._directions.items()}
