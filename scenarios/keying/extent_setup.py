"""When the keys of extents are set up, and what that holds in memory: by design, or by variant of key set-up.

Cached transforms are looked up in the order in which bios are submitted.
"""

from collections import OrderedDict
from typing import Final

from blkcrypto.block.op import ReqOp
from blkcrypto.fs.extents.designs import ExtentDesign
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES
from blkcrypto.fs.keysetup_io.contexts import START_USING_NEW_MODE, Ctx
from blkcrypto.fs.keysetup_io.extent_io import TRANSFORM_BYTES
from hwmodel.companions import DesignWork
from scenarios.keying.setup import EXTENT_KEY, FILE_KEY, Event, Prices, SetupTally, variant_events
from scenarios.schema import Scenario

_POOLED: Final = 128  # transforms that the variants' own pools have


class SetupRules:
    """When extents' keys are set up, and what that holds in memory.

    Args:
        name: of the design.
        row: of the extents.
    """

    def __init__(self, name: str, row: ExtentDesign, scenario: Scenario, prices: Prices) -> None:
        self._row = row
        self._pool = scenario.design.transforms
        self._variant = name if name.startswith("key-setup-") else ""
        self._started = False
        self._file = prices.steps(FILE_KEY, Ctx.KERNEL)
        self._load = prices.steps(EXTENT_KEY, Ctx.NOFS) if row.key_per_extent else Event()
        self._cache: OrderedDict[int, None] = OrderedDict()
        if self._variant:
            events = variant_events(name, prices)
            self._events = events
            filled = events.open_file.ns * self._pool // _POOLED
            self._pool_event = Event(filled, 0, events.open_file.violations)
            self._mode = prices.steps((START_USING_NEW_MODE,), Ctx.KERNEL)

    @property
    def all_at_open(self) -> bool:
        """Whether every extent is set up, not only those that are used."""
        return self._variant == "key-setup-v2"

    def opened(self, extents: int, tally: SetupTally) -> None:
        """A file with ``extents`` is opened; 0 when it was open."""
        if not extents:
            return
        if not self._variant:
            if not self._row.key_per_extent:
                tally.opened(self._file)
            return
        if self._variant == "key-setup-v2":
            tally.opened(self._events.open_extent, extents)
        elif self._variant == "key-setup-v3" or not self._started:
            tally.opened(self._mode if self._variant == "key-setup-v6" else self._pool_event)
        self._started = True

    def io(
        self, number: int, extent: int, op: int, *, new: bool, born: bool, work: DesignWork, tally: SetupTally
    ) -> None:
        """Bio ``number`` uses ``extent``: ``new`` to memory, ``born`` in this run."""
        if not self._variant:
            if new and self._load.ns:
                tally.in_io(self._load)
                work.before_ns[number] = self._load.ns
            return
        event, before = self._event(extent, op, new=new, born=born)
        if event is not None and event.ns:
            tally.in_io(event)
            (work.before_ns if before else work.cipher_ns)[number] = event.ns

    def _event(self, extent: int, op: int, *, new: bool, born: bool) -> tuple[Event | None, bool]:
        """What has to be set up, and whether before submission."""
        events, variant = self._events, self._variant
        if variant == "key-setup-v6":
            return (events.new_write if new else None), True
        if variant == "key-setup-v2":
            return (events.new_write if new and born else None), False
        if variant == "key-setup-v5":
            if extent in self._cache:
                self._cache.move_to_end(extent)
                return None, False
            self._cache[extent] = None
            if len(self._cache) > self._pool:
                self._cache.popitem(last=False)
            return events.new_write, False
        return (events.write if op == ReqOp.WRITE else events.read), False

    def keys_held(self, loaded: int) -> int:
        """Keys in memory between I/Os, of ``loaded`` extents."""
        if self._variant in ("key-setup-v1", "key-setup-v3", "key-setup-v4"):
            return 0
        return len(self._cache) if self._variant == "key-setup-v5" else loaded

    def memory_bytes(self, loaded: int, files: int) -> int:
        """Held for ``loaded`` extents and ``files``, beside the inodes' own."""
        if not self._variant:
            return loaded * self._row.memory_per_extent_bytes
        by_variant = {
            "key-setup-v1": 0,
            "key-setup-v2": loaded * TRANSFORM_BYTES,
            "key-setup-v3": files * self._pool * TRANSFORM_BYTES,
            "key-setup-v4": self._pool * TRANSFORM_BYTES,
            "key-setup-v5": self._pool * TRANSFORM_BYTES,
            "key-setup-v6": loaded * BLK_CRYPTO_KEY_BYTES,
        }
        return by_variant[self._variant]
