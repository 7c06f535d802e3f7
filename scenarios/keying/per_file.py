"""Designs whose keys belong to files: fscrypt in its users, eCryptfs, ext4 of 2014."""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from blkcrypto.block.key import BlkCryptoKey, CryptoConfig, CryptoModeNum
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.crypto.ecryptfs import EcryptfsCipher
from blkcrypto.fs.ext4_2014.designs import on_disk_bytes_per_file
from blkcrypto.fs.fscrypt.keysetup import INODE_INFO_BYTES
from blkcrypto.fs.keysetup_io.contexts import ALLOC_SKCIPHER, KEY_SEMAPHORE, KMALLOC_KEY_OBJECT, SETKEY, Ctx
from blkcrypto.fs.keysetup_io.extent_io import TRANSFORM_BYTES
from blkcrypto.fs.stacked.ecryptfs_header import HEADER_BYTES
from hwmodel.companions import DesignWork
from hwmodel.dataplane import UnitCipher
from hwmodel.inlinecipher import inline_cipher
from hwmodel.keywrap import KeyWrapUnit
from scenarios.designs import PLAIN
from scenarios.filekeys import FileKeys
from scenarios.keying.bios import Bios
from scenarios.keying.ciphers import RunCipher
from scenarios.keying.keyer import FileBytes, Footprint
from scenarios.keying.setup import FILE_CIPHER, FILE_KEY, Event, Prices, SetupTally
from scenarios.schema import Scenario

MODE: Final = "AES-256-XTS"
U8 = npt.NDArray[np.uint8]


class FilesSeen:
    """Which files were touched, and how large they are together."""

    def __init__(self, file_bytes: FileBytes) -> None:
        self._file_bytes = file_bytes
        self._seen: set[int] = set()
        self.data_bytes = 0

    def __len__(self) -> int:
        return len(self._seen)

    def new(self, bios: Bios) -> list[int]:
        """Files that ``bios`` are the first to touch, in order of number."""
        touched = np.unique(bios.file[bios.with_data]).tolist()
        found = [file for file in touched if file not in self._seen]
        if found:
            self._seen.update(found)
            self.data_bytes += int(self._file_bytes(np.array(found)).sum())
        return found


def file_keys(scenario: Scenario, keywrap: KeyWrapUnit | None) -> FileKeys:
    """Keys of files under the policy that the scenario's design has, or that goes with its type of keys."""
    wrapped = scenario.keys.type == "hw-wrapped"
    policy = "fscrypt-iv-ino-lblk-64" if wrapped else "fscrypt-per-file"
    if scenario.keys.design in PLAIN:
        policy = scenario.keys.design
    return FileKeys(replace(scenario.keys, design=policy), seed=scenario.run.seed, keywrap=keywrap)


class FscryptKeyer:
    """v2 policies, whoever encrypts: what ``FileKeys`` gives, and what opening a file costs.

    Args:
        own_cipher: the filesystem encrypts, with a cipher per file.
    """

    def __init__(
        self,
        scenario: Scenario,
        prices: Prices,
        file_bytes: FileBytes,
        keywrap: KeyWrapUnit | None,
        *,
        own_cipher: bool,
    ) -> None:
        self.keys = file_keys(scenario, keywrap)
        self.objects = self.keys.objects
        self.key_ops = self.keys.key_ops
        self.tally = SetupTally()
        self._own_cipher = own_cipher
        self._opening = prices.steps(FILE_CIPHER if own_cipher else FILE_KEY, Ctx.KERNEL)
        self._seen = FilesSeen(file_bytes)
        self._opened = 0
        self._keywrap = keywrap

    def keyed(self, bios: Bios) -> Bios:
        """See ``Keyer``."""
        bios.key, bios.dun = self.keys.look_up(bios.file, bios.unit)
        return bios

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """See ``Keyer``: files are opened outside I/O."""
        self._seen.new(bios)
        # Only files with a policy count: others have no key.
        self.tally.opened(self._opening, self.keys.files - self._opened)
        self._opened = self.keys.files

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """See ``Keyer``."""
        return inline_cipher(key, self._keywrap)

    def footprint(self) -> Footprint:
        """See ``Keyer``: files stay open."""
        in_memory_bytes = self.keys.in_memory_bytes
        if self._own_cipher:
            in_memory_bytes = self.keys.files * INODE_INFO_BYTES + len(self.objects) * TRANSFORM_BYTES
        return Footprint(
            files=self.keys.files,
            data_bytes=self._seen.data_bytes,
            keys_live=len(self.objects),
            derivations=self.keys.derivations,
            on_disk_bytes=self.keys.on_disk_bytes,
            in_memory_bytes=in_memory_bytes,
        )


class RandomFileKeyer:
    """A random key per file, which lies wrapped beside the file.

    Args:
        ecryptfs: eCryptfs's cipher and header; else those of the 2014 draft.
    """

    def __init__(self, scenario: Scenario, prices: Prices, file_bytes: FileBytes, *, ecryptfs: bool) -> None:
        self.objects: list[BlkCryptoKey] = []
        self.key_ops: dict[str, int] = {}
        self.tally = SetupTally()
        self._ecryptfs = ecryptfs
        self._seed = scenario.run.seed
        self._users = scenario.design.users
        opening = prices.steps((KEY_SEMAPHORE, KMALLOC_KEY_OBJECT, ALLOC_SKCIPHER, SETKEY), Ctx.KERNEL)
        # enc_key and int_key of one packet; eCryptfs decrypts with the wrapping key itself.
        self._opening = Event(opening.ns + scenario.design.unwrap_ns, 0 if ecryptfs else 2)
        self._config = CryptoConfig(
            crypto_mode=CryptoModeNum.AES_256_XTS,
            data_unit_size=scenario.keys.data_unit_size,
            dun_bytes=8,
        )
        self._seen = FilesSeen(file_bytes)
        self._cached: set[tuple[int, int]] = set()
        self._number_of: dict[int, int] = {}

    def keyed(self, bios: Bios) -> Bios:
        """See ``Keyer``: DUN = page index."""
        data = bios.with_data
        files, where = np.unique(bios.file[data], return_inverse=True)
        numbers = np.array([self._number(file) for file in files.tolist()], dtype=np.int64)
        if len(files):
            bios.key[data] = numbers[where]
        bios.dun = np.where(data, bios.unit, 0).astype(np.uint64)
        return bios

    def _number(self, file: int) -> int:
        number = self._number_of.get(file)
        if number is None:
            number = self._number_of[file] = len(self.objects)
            raw = hashlib.shake_256(f"file key {self._seed} {file}".encode()).digest(
                16 if self._ecryptfs else 64
            )
            bits = self._config.data_unit_size.bit_length() - 1
            self.objects.append(BlkCryptoKey(self._config, bits, raw, file))
        return number

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """See ``Keyer``: keys are unwrapped when files are opened."""
        self.tally.opened(self._opening, len(self._seen.new(bios)))
        if self._ecryptfs:
            data = bios.with_data
            size = self._config.data_unit_size
            columns = (bios.file[data], bios.unit[data], bios.nbytes[data] // size)
            for file, unit, count in zip(*(column.tolist() for column in columns), strict=True):
                self._cached.update((file, at) for at in range(unit, unit + count))

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """See ``Keyer``."""
        if not self._ecryptfs:
            return new_cipher(MODE, key.raw)
        cipher = EcryptfsCipher(key.raw)
        return RunCipher(cipher.encrypt, cipher.decrypt, cipher.wipe)

    def footprint(self) -> Footprint:
        """See ``Keyer``: on disk the header, or the root packet with one wrapped key per user."""
        files = len(self._seen)
        on_disk_bytes = files * (HEADER_BYTES if self._ecryptfs else on_disk_bytes_per_file(self._users))
        if self._ecryptfs:  # pages that are cached once more, as ciphertext
            extra = {"page_cache_twice_bytes": len(self._cached) * self._config.data_unit_size}
        else:
            extra = {"wrapped_keys": files * self._users, "bytes_to_crypto_erase": on_disk_bytes}
        return Footprint(
            files=files,
            data_bytes=self._seen.data_bytes,
            keys_live=len(self.objects),
            derivations=self.tally.derivations,
            on_disk_bytes=on_disk_bytes,
            in_memory_bytes=files * (INODE_INFO_BYTES + TRANSFORM_BYTES),
            extra=extra,
        )
