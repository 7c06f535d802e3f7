"""The keys that a workload uses, in order, without simulating time.

They come from the model that a run would use, so layout, key design and what is encrypted are the run's own.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from blkcrypto.base.errors import BadInput
from hwmodel.companions import DesignWork
from scenarios.build import build
from scenarios.curves.reuse import Int64
from scenarios.keyed import KeyedBatch
from scenarios.keying.reflinks import ReflinkKeyer
from scenarios.schema import Scenario
from scenarios.source import open_source
from scenarios.traces.batch import BATCH_ROWS, TraceBatch


class Accesses:
    """One pass over a scenario's workload, or over ``source`` instead.  Close it after use.

    Attributes:
        rows: rows of the workload so far.
        name: of the workload.
        run_keyslots: how many keyslots a run of the scenario has; 0 for none.

    Raises:
        BadInput: the trace cannot be read, or the scenario encrypts nothing.
    """

    def __init__(
        self,
        scenario: Scenario,
        source: Iterable[TraceBatch] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.rows = 0
        self.name = scenario.workload.trace or scenario.name
        self._given = source
        self._progress = progress
        self._data_unit_size = scenario.keys.data_unit_size
        if scenario.keys.design == "none":
            raise BadInput("without encryption no key is used: name a key design", where="keys.design")
        self._opened = open_source(scenario) if source is None else None
        try:
            named_files = self._opened.named_files if self._opened is not None else False
            model = build(scenario, named_files=named_files)
        except BaseException:
            self.close()
            raise
        self._layout = model.layout
        self._keys = model.keys
        self._wired = model.wired
        slots = model.machine.keyslots
        self.run_keyslots = slots.table.num_slots if slots is not None else 0

    def close(self) -> None:
        """Close the trace."""
        if self._opened is not None:
            self._opened.close()

    def batches(self) -> Iterator[TraceBatch]:
        """The workload's rows."""
        if self._wired is not None and self._wired.filesystem is not None:
            raise BadInput("a filesystem's steps cannot be sampled: leave --sample out", where="--sample")
        source = self._given
        if source is None:
            assert self._opened is not None
            source = self._opened.batches(self._layout)
        for batch in source:
            self.rows += len(batch)
            yield batch
            if self._progress is not None:
                self._progress(len(batch))

    def key_numbers(self) -> Iterator[Int64]:
        """Numbers of the keys used, batch by batch."""
        if self._wired is not None and self._wired.filesystem is not None:
            return self._of_filesystem(self._wired.filesystem, self._wired.work)
        return map(self.keys_of, self.batches())

    def _of_filesystem(self, filesystem: ReflinkKeyer, work: DesignWork) -> Iterator[Int64]:
        """Keys of the bios that a filesystem submits."""
        rows = filesystem.rows(work)
        while keys := [row[5] for row in itertools.islice(rows, BATCH_ROWS)]:
            self.rows = filesystem.steps
            numbers = np.array(keys, dtype=np.int64)
            yield numbers[numbers >= 0]

    def keys_of(self, batch: TraceBatch) -> Int64:
        """Numbers of the keys that ``batch`` uses, in order: one per encrypted bio."""
        placed = self._layout.place(batch, self._data_unit_size)
        if self._wired is not None:
            numbers = self._wired.key_numbers(placed)
        else:
            assert self._keys is not None, "every plain design but `none` has keys"
            numbers = KeyedBatch.of(placed, self._keys, self._data_unit_size).key
        return numbers[numbers >= 0]

    @property
    def distinct_keys(self) -> int:
        """Keys that ``keys_of`` has found."""
        keys = self._keys if self._wired is None else self._wired.keyer
        assert keys is not None, "one of the two is there"
        return len(keys.objects)

    @property
    def skipped(self) -> dict[str, int]:
        """Rows treated specially, by rule, as in a run's result."""
        counts = Counter(self._layout.counts)
        if self._opened is not None:
            counts.update(self._opened.counts)
        return {rule: count for rule, count in sorted(counts.items()) if count}
