"""Keys and DUNs for workloads that name files and offsets, without a filesystem to run them.

Every file is taken to consist of extents of one size, none of them shared or ever replaced: what a keyslot
curve over extent sizes needs.  Copy-on-write, clones and snapshots are the business of ``Volume``.

One look-up per batch; what a bio costs does not depend on how many extents or keys there are.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.fs.extents.designs import ExtentDesign, stored_bytes
from blkcrypto.fs.extents.disk import ExtentDisk
from blkcrypto.fs.extents.keys import ExtentInfo
from blkcrypto.fs.extents.overhead import INODE_CONTEXT_BYTES
from blkcrypto.fs.extents.subject import policy_for
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES, INODE_INFO_BYTES
from blkcrypto.fs.fscrypt.policy import IDENTIFIER_BYTES
from blkcrypto.fs.store import SoftwareStore

Ints = npt.NDArray[np.int64]
_EXTENT_BITS: Final = 40
_LIMB: Final = (1 << 64) - 1


def split_at_extents(offsets: Ints, nbytes: Ints, extent_bytes: int) -> tuple[Ints, Ints, Ints]:
    """Bios cut where extents end: another extent has another key.

    Args:
        offsets: ``int64[n]``, bytes from the start of the file.
        nbytes: ``int64[n]``, at least 1 each.
        extent_bytes: size of every extent.

    Returns:
        For each part, ``int64[m]``: index of its bio, offset, bytes.
    """
    first = offsets // extent_bytes
    counts = (offsets + nbytes - 1) // extent_bytes - first + 1
    bio = np.repeat(np.arange(len(offsets)), counts)
    nth = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    extent = first[bio] + nth
    start = np.maximum(offsets[bio], extent * extent_bytes)
    end = np.minimum((offsets + nbytes)[bio], (extent + 1) * extent_bytes)
    return bio, start, end - start


class ReplayKeys:
    """Contents keys of the extents of one run.

    Args:
        design: the row.
        raw_key: the master key.
        rng: of nonces and IVs.
        extent_bytes: size of every extent, a multiple of 4096.

    Attributes:
        objects: keys made so far; positions are key numbers.
    """

    def __init__(
        self, design: ExtentDesign, raw_key: bytes, rng: np.random.Generator, *, extent_bytes: int
    ) -> None:
        self.objects: list[BlkCryptoKey] = []
        self._design = design
        self._extent_bytes = extent_bytes
        self._volume = Volume(ExtentDisk(design), SoftwareStore(4096), rng)
        spec = KeySpecifier(KeySpecType.IDENTIFIER, bytes(IDENTIFIER_BYTES))
        added = self._volume.add_key(AddKeyArg(spec=spec, raw=raw_key, raw_size=len(raw_key)))
        self._policy = policy_for(design, added.key)
        self._entry = self._volume.entry_for(self._policy)
        self._files: set[int] = set()
        self._extents: dict[int, int] = {}
        self._number_of_key: dict[BlkCryptoKey, int] = {}
        self._key_numbers: list[int] = []
        self._first_duns: list[int] = []

    def look_up(self, files: Ints, offsets: Ints) -> tuple[Ints, npt.NDArray[np.uint64]]:
        """Key numbers and DUNs of bios that stay inside one extent each.

        Args:
            files: ``int64[n]``, from 0 up.
            offsets: ``int64[n]``, bytes from the start of the file.

        Returns:
            ``int64[n]`` positions in ``objects``, and the lowest 64 bits of the DUNs, ``uint64[n]``.
        """
        names = files << _EXTENT_BITS | offsets // self._extent_bytes
        distinct, where = np.unique(names, return_inverse=True)
        found = np.fromiter((self._extent(name) for name in distinct.tolist()), np.int64, len(distinct))
        keys = np.array([self._key_numbers[number] for number in found.tolist()], dtype=np.int64)
        first = np.array([self._first_duns[number] & _LIMB for number in found.tolist()], dtype=np.uint64)
        units = (offsets % self._extent_bytes // self._volume.fs.block_size).astype(np.uint64)
        return keys[where], first[where] + units

    def _extent(self, name: int) -> int:
        number = self._extents.get(name)
        if number is None:
            number = self._extents[name] = len(self._extents)
            self._files.add(name >> _EXTENT_BITS)
            known, first_dun = self.new_extent()
            self._key_numbers.append(known)
            self._first_duns.append(first_dun)
        return number

    def new_extent(self) -> tuple[int, int]:
        """Set up one more extent, which ``look_up`` does not know: number of its key, and its first DUN."""
        info = self._set_up()
        known = self._number_of_key.setdefault(info.key, len(self.objects))
        if known == len(self.objects):
            self.objects.append(info.key)
        return known, info.first_dun

    def _set_up(self) -> ExtentInfo:
        stored = self._volume.keys.new_context(self._policy, self._volume.random)
        return self._volume.keys.set_up(self._policy, self._entry, stored)

    @property
    def derivations(self) -> int:
        """Key derivations of the master key, its identifier's included."""
        return self._entry.secret.derivations

    @property
    def files(self) -> int:
        """Files touched."""
        return len(self._files)

    @property
    def extents(self) -> int:
        """Extents touched."""
        return len(self._extents)

    @property
    def on_disk_bytes(self) -> int:
        """Contexts of the files and extents touched."""
        return self.files * INODE_CONTEXT_BYTES + self.extents * stored_bytes(self._design)

    @property
    def in_memory_bytes(self) -> int:
        """With every extent touched loaded."""
        shared = 0 if self._design.key_per_extent else len(self.objects) * BLK_CRYPTO_KEY_BYTES
        per_extent = self._design.memory_per_extent_bytes
        return self.files * INODE_INFO_BYTES + self.extents * per_extent + shared
