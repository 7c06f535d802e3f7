"""A wired model of one run, and the rows that it is fed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.checkedplane import CheckedPlane
from hwmodel.clock import Row
from hwmodel.controller import Machine
from hwmodel.dataplane import UnitCipher, VerifyingPlane
from hwmodel.recordedmedia import RecordedMedia
from scenarios.filekeys import FileKeys
from scenarios.keyed import Int64, KeyedBatch
from scenarios.placement.layout import Layout, PlacedBatch
from scenarios.results.measure import Measure
from scenarios.schema import Scenario
from scenarios.traces.batch import RecordedBatch, TraceBatch

# Rows that become Python integers at once: few enough to stay in a core's cache until they are used.
_CHUNK_ROWS: Final = 2048


if TYPE_CHECKING:
    from scenarios.keying.wiring import Wired


@dataclass(slots=True)
class Model:
    """Everything of one run.

    Attributes:
        scenario: with contents encrypted where its design really does that.
        wanted_engine: where the scenario file asked for it.
        keys: of a plain design; ``wired`` of any other.
        cipher_of: the cipher that a key gives.
        plane: moves the bytes; None for timing only.
        recorded: the device times of the trace, where they are the media's.
        looking: looks at the medium, when invariants are checked.
        rows_read: rows of the workload so far.
        bios_made: bios so far.
    """

    scenario: Scenario
    wanted_engine: str
    layout: Layout
    keys: FileKeys | None
    wired: "Wired | None"
    cipher_of: Callable[[BlkCryptoKey], UnitCipher]
    plane: VerifyingPlane | None
    measure: Measure
    machine: Machine
    recorded: RecordedMedia | None
    looking: CheckedPlane | None = None
    rows_read: int = 0
    bios_made: int = 0

    def rows(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None = None
    ) -> Iterator[Row]:
        """Rows for the machine; ``progress`` hears of each batch's trace rows when they are used up."""
        # From zip to the machine without a step in Python between.
        return chain.from_iterable(self._batches_of_rows(batches, progress))

    def _batches_of_rows(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None
    ) -> Iterator[Iterable[Row]]:
        unit = self.scenario.keys.data_unit_size
        scale = self.scenario.run.time_scale
        if self.wired is not None and self.wired.filesystem is not None:
            yield self.wired.filesystem.rows(self.wired.work)
            self.rows_read = self.wired.filesystem.steps
            return
        for batch in batches:
            placed = self.layout.place(batch, unit)
            if self.recorded is not None:
                assert isinstance(batch, RecordedBatch)
                self.recorded.append(batch.latency_ns[placed.row])
            self.rows_read += len(batch)
            if self.wired is None:
                yield self._machine_rows(placed, unit, scale)
            else:
                yield self.wired.rows(placed, _scaled(placed, scale), batch)
                self.bios_made = self.wired.bios_made
            if progress is not None:
                progress(len(batch))

    def _machine_rows(self, placed: PlacedBatch, unit: int, scale: float) -> Iterator[Row]:
        if self.keys is None:
            key = np.full(len(placed), -1)
            dun = np.zeros(len(placed), dtype=np.uint64)
        else:
            keyed = KeyedBatch.of(placed, self.keys, unit)
            placed, key, dun = keyed.placed, keyed.key, keyed.dun
        numbers_from = self.bios_made
        self.bios_made += len(placed)
        number = np.arange(numbers_from, self.bios_made)
        columns = (
            _scaled(placed, scale),
            number,
            placed.op,
            placed.sector,
            placed.nbytes,
            key,
            dun,
            placed.stream,
        )
        return chain.from_iterable(_in_chunks(columns))


def _in_chunks(columns: Sequence[npt.NDArray[np.generic]]) -> Iterator[Iterable[Row]]:
    for start in range(0, len(columns[0]), _CHUNK_ROWS):
        yield zip(*(column[start : start + _CHUNK_ROWS].tolist() for column in columns), strict=True)


def _scaled(placed: PlacedBatch, scale: float) -> Int64:
    """Arrival times."""
    return placed.time_ns if scale == 1.0 else (placed.time_ns * scale).astype(placed.time_ns.dtype)
