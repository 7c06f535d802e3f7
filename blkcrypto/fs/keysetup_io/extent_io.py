"""What every variant works on: extents, files of extents, one run of data units; and how a variant looks.

What lies on disk is the same for every variant: ciphertext under ``HKDF(master key, context 9, nonce)`` with
the data unit's index in its extent as DUN.  A variant only decides when the key is set up, and in what.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from blkcrypto.block.waiting import Steps, Task
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.crypto.modes import mode_named
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import CRYPT, HKDF_EXPAND, SETKEY
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey

# Assumption: an skcipher of XTS-AES with AES instructions has two key schedules of 484 bytes, and its header.
TRANSFORM_BYTES: Final = 1088

OnCpu = Callable[[Task], Steps[None]]
"""What a task does while it holds a transform: charge time, let others run."""


def at_once(_task: Task) -> Steps[None]:
    """Encryption that takes no time."""
    yield from ()


@dataclass(frozen=True, slots=True)
class Extent:
    """An extent: what its key derives from.

    Attributes:
        nonce: its 16 bytes.
        mode: contents mode, as in sysfs.
        data_unit_size: bytes.
    """

    nonce: bytes
    mode: str = "AES-256-XTS"
    data_unit_size: int = 4096


@dataclass(slots=True, eq=False)
class ExtentFile:
    """An open file: its master key, and the extents known when it was opened."""

    master: ExtentMasterKey
    extents: list[Extent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExtentIo:
    """One run of data units in one extent.

    Attributes:
        extent: which.
        first_unit: index in the extent of the first data unit: its DUN.
        data: ``uint8[n, data_unit_size]``.
        encrypt: the direction.
    """

    extent: Extent
    first_unit: int
    data: U8Array
    encrypt: bool


class KeySetupVariant(Protocol):
    """One of V1 to V6.

    Attributes:
        name: ``V1`` to ``V6``.
        checker: judges all it does.
    """

    name: str
    checker: ContextChecker

    def open_file(self, task: Task, file: ExtentFile) -> None:
        """The file is opened; ENOMEM, or ENOKEY when its master key was removed."""

    def crypt(self, task: Task, file: ExtentFile, io: ExtentIo) -> Steps[U8Array]:
        """Encrypt or decrypt; may wait.  ENOKEY when a key must be derived and the secret is gone."""

    def close_file(self, file: ExtentFile) -> None:
        """The file is closed; its I/O is over."""

    def free_extent(self, file: ExtentFile, extent: Extent) -> None:
        """The extent is gone; no I/O uses it."""

    def remove_key(self, master: ExtentMasterKey) -> None:
        """The master key was removed and its secret wiped; no I/O uses it."""

    @property
    def memory_bytes(self) -> int:
        """Held between I/Os; an estimate."""

    @property
    def keys_held(self) -> int:
        """Extent keys in memory between I/Os."""


def derive_and_set(
    checker: ContextChecker, task: Task, master: ExtentMasterKey, extent: Extent
) -> DataUnitCipher:
    """HKDF and setkey on a transform the task has: neither allocates.

    Raises:
        SecretWiped: ENOKEY.
    """
    checker.does(task, HKDF_EXPAND)
    raw = master.extent_key(extent.nonce, mode_named(extent.mode).key_bytes)
    checker.does(task, SETKEY)
    return new_cipher(extent.mode, raw)


def run(checker: ContextChecker, task: Task, cipher: DataUnitCipher, io: ExtentIo) -> U8Array:
    """Encrypt or decrypt ``io`` with the extent's cipher, into new memory."""
    checker.does(task, CRYPT)
    crypt = cipher.encrypt_run if io.encrypt else cipher.decrypt_run
    return crypt(io.first_unit, io.data)
