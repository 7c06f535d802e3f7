"""What a design offers that decides key and IV of units and nothing else: a device, and the way to it."""

from collections.abc import Sequence
from typing import Protocol

from blkcrypto.fs.battery.subject import Loot


class UnitDevice(Protocol):
    """What somebody without a key has."""

    def units(self) -> dict[int, bytes]:
        """Everything written to the device, by physical address."""

    def occupied(self, addresses: Sequence[int]) -> frozenset[int]:
        """Physical addresses of the units at ``addresses``."""

    def lift(self, address: int) -> Loot:
        """Copy a unit as it is on the device."""

    def plant(self, address: int, loot: Loot, *, mend: bool) -> None:
        """Overwrite it; see ``Subject.plant``."""

    def save(self) -> object:
        """A copy of the device."""

    def restore(self, saved: object) -> None:
        """Have it as it was; nothing is mounted."""


class UnitMedium(Protocol):
    """A device whose units one design encrypts.

    Attributes:
        name: the design's.
        unit_bytes: plaintext in a unit.
        hides_table: whether the design encrypts all of the device.
        copies_on_write: whether units are never overwritten.
    """

    name: str
    unit_bytes: int
    hides_table: bool
    copies_on_write: bool

    @property
    def device(self) -> UnitDevice:
        """What an attacker gets."""

    def add_key(self) -> None:
        """Set the device up with its key."""

    def remove_key(self) -> None:
        """Forget the key and everything derived from it; it may be gone already."""

    def new_head(self) -> bytes:
        """What is stored with a new file: a nonce, or nothing."""

    def stored_name(self, name: str) -> bytes:
        """A name as the table has it; may need the key."""

    def write(self, head: bytes, first: int, addresses: Sequence[int], data: bytes) -> list[bytes]:
        """Encrypt units ``first`` and on of a file to ``addresses``; what to store beside each."""

    def read(self, head: bytes, index: int, address: int, label: bytes) -> bytes:
        """Decrypt one unit."""


class Blocks:
    """A ``UnitDevice`` of units in memory with nothing beside them.

    Attributes:
        blocks: what was written, by address.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}

    def units(self) -> dict[int, bytes]:
        """See ``UnitDevice``."""
        return dict(self.blocks)

    def occupied(self, addresses: Sequence[int]) -> frozenset[int]:
        """See ``UnitDevice``: just these."""
        return frozenset(addresses)

    def lift(self, address: int) -> Loot:
        """See ``UnitDevice``."""
        return Loot(self.blocks[address])

    def plant(self, address: int, loot: Loot, *, mend: bool) -> None:
        """See ``UnitDevice``: no checksum covers a unit."""
        del mend
        self.blocks[address] = loot.ciphertext

    def save(self) -> object:
        """See ``UnitDevice``."""
        return dict(self.blocks)

    def restore(self, saved: object) -> None:
        """See ``UnitDevice``."""
        assert isinstance(saved, dict)
        self.blocks = dict(saved)
