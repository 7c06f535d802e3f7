"""What a device offers its crypto profile: the seam between rules and hardware.

A device and the software fallback both implement it.  An operation a device lacks is simply not there:
``CryptoProfile`` looks each one up by name and answers EOPNOTSUPP, as the kernel does for a NULL pointer.

Source: ``struct blk_crypto_ll_ops``, include/linux/blk-crypto-profile.h; reference block-layer.md
sections 3.19 and 5.2.
"""

from typing import Final, Protocol, runtime_checkable

from blkcrypto.block.key import BlkCryptoKey

NO_SLOT: Final = -1
"""Slot argument of ``keyslot_evict`` for a profile without slots."""


@runtime_checkable
class ProgramOps(Protocol):
    """A device with keyslots.  Called with the profile lock held for writing, device resumed."""

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        """Load ``key`` into ``slot``, which no I/O uses; raise a ``BlkCryptoError`` if that fails."""


@runtime_checkable
class EvictOps(Protocol):
    """A device that can forget a key; a device without slots gets ``NO_SLOT``."""

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        """Clear ``slot``, which holds ``key`` and is unused."""


@runtime_checkable
class DeriveOps(Protocol):
    """Hardware that derives the software secret of a wrapped key."""

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """The 32-byte software secret of an ephemerally wrapped key."""


@runtime_checkable
class ImportOps(Protocol):
    """Hardware that wraps a given raw key."""

    def import_key(self, raw_key: bytes) -> bytes:
        """Long-term wrapped form of ``raw_key``."""


@runtime_checkable
class GenerateOps(Protocol):
    """Hardware that makes keys nobody sees."""

    def generate_key(self) -> bytes:
        """Long-term wrapped form of a new key."""


@runtime_checkable
class PrepareOps(Protocol):
    """Hardware that turns a stored key into one for this boot."""

    def prepare_key(self, lt_key: bytes) -> bytes:
        """Ephemerally wrapped form of a long-term wrapped key."""


class LowLevelOps(ProgramOps, EvictOps, DeriveOps, ImportOps, GenerateOps, PrepareOps, Protocol):
    """All operations; a device need not have every one."""


class RuntimePower(Protocol):
    """Runtime power management of a device."""

    def resume(self) -> None:
        """Power the device up and keep it up; powering up may itself reprogram every slot."""

    def put(self) -> None:
        """Let the device sleep again."""


class AlwaysOn:
    """A device that is never powered down."""

    def resume(self) -> None:
        """Nothing to do."""

    def put(self) -> None:
        """Nothing to do."""
