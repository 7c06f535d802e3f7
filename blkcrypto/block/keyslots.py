"""Which keyslot: the keyslot manager's rules, without time.

Rules (block/blk-crypto-profile.c; reference block-layer.md sections 3.12 to 3.15):

- A key is its object, never its bytes: two objects with equal bytes take two slots.
- A slot is idle when nobody holds a reference.  Idle slots keep their keys, so a key in an idle slot
  is still a hit.
- The idle list is ordered by last release, oldest first, and starts in index order.  The victim of a
  miss is its head: an empty slot has no priority over one that holds a key.
- A failed program leaves the table as it was, also the victim's place on the idle list.
- Overwriting a slot does not evict its old key through the device.
- Evicting does not move the slot on the idle list, and unlinks the key even when it is in use.

Every operation is O(1) in slots, keys and references.
"""

import errno
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from blkcrypto.base.errors import BlkCryptoError

Key = TypeVar("Key", bound=Hashable)


class KeyslotBusy(BlkCryptoError):
    """A key was evicted while requests still use its slot.  It is unlinked all the same."""

    errno = errno.EBUSY


class KeyslotTable(Generic[Key]):
    """Slots, their keys and references, and the idle list.

    The caller holds the profile lock (for writing, except for ``get`` and ``put``) and does the programming
    between ``victim`` and ``install``.
    """

    __slots__ = ("_idle", "_keys", "_refs", "_slot_of", "num_slots")

    def __init__(self, num_slots: int) -> None:
        if num_slots < 1:
            raise ValueError("a keyslot table has at least one slot; a profile without slots has no table")
        self.num_slots = num_slots
        self._keys: list[Key | None] = [None] * num_slots
        self._refs = [0] * num_slots
        self._slot_of: dict[Key, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_slots))

    def get(self, key: Key) -> int:
        """Take a reference on the slot that holds ``key``; its index, or -1 on a miss."""
        slot = self._slot_of.get(key, -1)
        if slot >= 0:
            refs = self._refs
            if not refs[slot]:
                del self._idle[slot]
            refs[slot] += 1
        return slot

    def put(self, slot: int) -> bool:
        """Drop a reference.  True when the slot became idle: every waiter must then be woken."""
        refs = self._refs
        refs[slot] -= 1
        if refs[slot]:
            return False
        self._idle[slot] = None
        return True

    def victim(self) -> int:
        """The slot a miss must program: the head of the idle list, or -1 when no slot is idle."""
        return next(iter(self._idle), -1)

    def install(self, slot: int, key: Key) -> None:
        """``key`` was programmed into idle ``slot``: link it and take the first reference."""
        keys = self._keys
        old = keys[slot]
        if old is not None:
            del self._slot_of[old]
        keys[slot] = key
        self._slot_of[key] = slot
        del self._idle[slot]
        self._refs[slot] = 1

    def find(self, key: Key) -> int:
        """Slot that holds ``key``, taking no reference; -1 when none does."""
        return self._slot_of.get(key, -1)

    def unlink(self, slot: int) -> bool:
        """Forget the key in ``slot`` after an eviction, also a failed one.  True when it was still in use."""
        key = self._keys[slot]
        if key is not None:
            del self._slot_of[key]
            self._keys[slot] = None
        return self._refs[slot] > 0

    def key_in(self, slot: int) -> Key | None:
        """The key linked to ``slot``."""
        return self._keys[slot]

    def refs(self, slot: int) -> int:
        """References held on ``slot``."""
        return self._refs[slot]

    def restore(self, keys: Sequence[Key | None], idle_order: Iterable[int]) -> None:
        """Take over another table: its keys by slot, and its slots as they are idle, which all are."""
        self._keys = list(keys)
        self._refs = [0] * self.num_slots
        self._slot_of = {key: slot for slot, key in enumerate(keys) if key is not None}
        self._idle = OrderedDict.fromkeys(idle_order)

    @property
    def idle_order(self) -> tuple[int, ...]:
        """Idle slots, least recently used first."""
        return tuple(self._idle)

    def programmed(self) -> Iterator[tuple[int, Key]]:
        """Linked slots in index order: what ``blk_crypto_reprogram_all_keys()`` walks."""
        return ((slot, key) for slot, key in enumerate(self._keys) if key is not None)
