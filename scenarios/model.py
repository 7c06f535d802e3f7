"""A wired model of one run, and the rows that it is fed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.clock import Row
from hwmodel.columns import Columns
from hwmodel.controller import Machine
from hwmodel.dataplane import UnitCipher, VerifyingPlane
from hwmodel.recordedmedia import RecordedMedia
from scenarios.filekeys import FileKeys
from scenarios.keyed import Int64, KeyedBatch
from scenarios.placement.layout import Layout, PlacedBatch
from scenarios.results.measure import Measure
from scenarios.schema import Scenario
from scenarios.traces.batch import RecordedBatch, TraceBatch

if TYPE_CHECKING:
    from hwmodel.checkedplane import CheckedPlane
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
    looking: "CheckedPlane | None" = None
    rows_read: int = 0
    bios_made: int = 0

    def close(self) -> None:
        """Wipe the keys' ciphers and give up the medium; what was measured stays."""
        if self.plane is not None:
            self.plane.close()

    def rows(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None = None
    ) -> Iterator[Row]:
        """Rows for the machine; ``progress`` hears of each batch's trace rows when they are used up."""
        # From zip to the machine without a step in Python between.
        return chain.from_iterable(self._batches_of_rows(batches, progress))

    def _batches_of_rows(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None
    ) -> Iterator[Iterable[Row]]:
        wired = self.wired
        if wired is None:
            for columns in self.columns(batches, progress):
                yield columns.rows()
        elif wired.filesystem is not None:
            yield wired.filesystem.rows(wired.work)
            self.rows_read = wired.filesystem.steps
        else:
            for batch in batches:
                placed = self._placed(batch)
                yield wired.rows(placed, self._scaled(placed), batch)
                self.bios_made = wired.bios_made
                if progress is not None:
                    progress(len(batch))

    def columns(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None = None
    ) -> Iterator[Columns]:
        """The bios of a plain design as columns; ``progress`` as for ``rows``."""
        for batch in batches:
            yield self._columns(self._placed(batch))
            if progress is not None:
                progress(len(batch))

    def _placed(self, batch: TraceBatch) -> PlacedBatch:
        placed = self.layout.place(batch, self.scenario.keys.data_unit_size)
        if self.recorded is not None:
            assert isinstance(batch, RecordedBatch)
            self.recorded.append(batch.latency_ns[placed.row])
        self.rows_read += len(batch)
        return placed

    def _columns(self, placed: PlacedBatch) -> Columns:
        if self.keys is None:
            key = np.full(len(placed), -1)
            dun = np.zeros(len(placed), dtype=np.uint64)
        else:
            keyed = KeyedBatch.of(placed, self.keys, self.scenario.keys.data_unit_size)
            placed, key, dun = keyed.placed, keyed.key, keyed.dun
        numbers_from = self.bios_made
        self.bios_made += len(placed)
        return Columns(
            time_ns=self._scaled(placed),
            number=np.arange(numbers_from, self.bios_made),
            op=placed.op,
            sector=placed.sector,
            nbytes=placed.nbytes,
            key=key,
            dun=dun,
            stream=placed.stream,
        )

    def _scaled(self, placed: PlacedBatch) -> Int64:
        """Arrival times."""
        scale = self.scenario.run.time_scale
        return placed.time_ns if scale == 1.0 else (placed.time_ns * scale).astype(placed.time_ns.dtype)
