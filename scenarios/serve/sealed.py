"""Authenticated contents as a device: every unit sealed with AES-256-GCM, its IV and tag stored beside it.

The stores are ``fs.authenticated``'s, on the image instead of in memory: a table on the same device, an
integrity device with its journal, or a checksum tree that is written to new places.  Who seals is above the
block layer, for no inline engine gives tags: ciphertext, tags, journal and tree nodes are plain bios.

Rules:

- A unit that does not fit its tag is an I/O error, as dm-crypt's EILSEQ is.
- Tables hold a tag for every unit from the start: an image is made by sealing zeroes, as cryptsetup wipes an
  integrity device.  A tree has holes.
- A discard changes nothing: a unit without a valid tag could not be read.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.authenticated.in_place import Geometry, InPlaceStore, blocks_for
from blkcrypto.fs.authenticated.medium import BLOCK_BYTES, BlockMedium
from blkcrypto.fs.authenticated.seal import (
    KEY_BYTES,
    AuthenticationFailed,
    ExtentKeySealer,
    RandomNonceSealer,
    Sealer,
)
from blkcrypto.fs.authenticated.tree import MediumFull, TreeStore, nodes_for
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey
from scenarios.schema import Scenario
from scenarios.serve.disk import Disk, Transfer
from scenarios.serve.engine import Engine
from scenarios.serve.image import ImageFile
from scenarios.serve.superblock import Superblock, agree
from scenarios.streams import stream

_MOST_RESERVE: Final = 16384
"""Blocks that a write may need before it frees others: twice the largest request."""
_FORMAT_SEALS: Final = 64


class ImageMedium:
    """The image behind its superblock, as stores want it.

    Attributes:
        data: all of it, for who looks without reading: a mount, or a scrub.
        disk: what reads and writes go through; None while the image is made.
        writes: blocks written so far.
    """

    def __init__(self, image: ImageFile) -> None:
        self._image = image
        self._map = image.map()
        self.data = memoryview(self._map)[BLOCK_BYTES:]
        self.disk: Disk | None = None
        self.writes = 0

    @property
    def blocks(self) -> int:
        """How many."""
        return len(self.data) // BLOCK_BYTES

    def write(self, block: int, data: bytes) -> None:
        """Write whole blocks; OSError when that fails."""
        whole = data.ljust(-(-len(data) // BLOCK_BYTES) * BLOCK_BYTES, b"\0")
        write = self._image.write_bytes if self.disk is None else self.disk.write
        write((block + 1) * BLOCK_BYTES, whole)
        self.writes += len(whole) // BLOCK_BYTES

    def read(self, block: int, count: int = 1) -> bytes:
        """Read whole blocks; OSError when that fails."""
        read = self._image.read_bytes if self.disk is None else self.disk.read
        return read((block + 1) * BLOCK_BYTES, count * BLOCK_BYTES)

    def close(self) -> None:
        """Let the map go."""
        self.data.release()
        self._map.close()


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a design seals.

    Attributes:
        seal_blocks: blocks with one tag.
        blocks: of the medium, for so many seals.
        mount: the store on a medium.
        mkfs: makes a medium one.
    """

    seal_blocks: int
    blocks: Callable[[int], int]
    mount: Callable[[BlockMedium, int], InPlaceStore | TreeStore]
    mkfs: Callable[[BlockMedium, int], None]


def _in_place(sealer: Sealer, geometry: Geometry, owner: bytes) -> _Kind:
    def mount(medium: BlockMedium, seals: int) -> InPlaceStore:
        return InPlaceStore(medium, sealer, seals, geometry=geometry, owner=owner)

    def mkfs(medium: BlockMedium, seals: int) -> None:
        store = mount(medium, seals)
        for at in range(0, seals, _FORMAT_SEALS):
            store.write(at, bytes(min(_FORMAT_SEALS, seals - at) * BLOCK_BYTES))

    return _Kind(1, lambda seals: blocks_for(seals, sealer.entry_bytes), mount, mkfs)


def _in_tree(sealer: Sealer, mac_key: bytes, seal_blocks: int) -> _Kind:
    def blocks(seals: int) -> int:
        data = seals * seal_blocks
        reserve = data if seal_blocks > 1 else min(data, _MOST_RESERVE)
        return 64 + data + reserve + 2 * nodes_for(seals, sealer.entry_bytes)

    return _Kind(
        seal_blocks,
        blocks,
        lambda medium, seals: TreeStore(medium, sealer, seals, mac_key, seal_blocks=seal_blocks),
        lambda medium, _seals: TreeStore.mkfs(medium, mac_key),
    )


def _kind(scenario: Scenario) -> _Kind:
    seed, design = scenario.run.seed, scenario.keys.design
    # From the system, not the seed: an IV or nonce that comes again after a restart breaks AES-GCM.
    rng = np.random.default_rng()
    key, mac_key = stream(seed, "device-key").bytes(KEY_BYTES), stream(seed, "mac-key").bytes(KEY_BYTES)
    if design == "aead-table":
        return _in_place(RandomNonceSealer(key, rng), Geometry.TABLE, bytes(16))
    if design == "aead-integrity":
        return _in_place(RandomNonceSealer(key, rng, binds_iv=True), Geometry.INTEGRITY_DEVICE, b"")
    if design == "aead-tree-unit":
        return _in_tree(RandomNonceSealer(key, rng), mac_key, 1)
    assert design == "aead-tree-extent", "the rows of fs.authenticated"
    master = ExtentMasterKey(stream(seed, "master-keys").bytes(64))
    return _in_tree(ExtentKeySealer(master, rng), mac_key, scenario.design.key_extent_bytes // BLOCK_BYTES)


class SealedDevice:
    """A store of sealed units as a device.

    Args:
        scenario: settled.
        image: the medium, made.
        superblock: its own.
        kind: how the design seals.

    Attributes:
        size: bytes that can be addressed.
        unit_bytes: what has one tag, and is read and written whole.
        block_bytes: what clients are told to align to.
        queue: counts requests.
        keyslot_programs: none.
        distinct_keys: of the store; keys of extents are not counted.

    Raises:
        AuthenticationFailed: the tree's root is not authentic.
    """

    keyslot_programs = 0
    distinct_keys = 1

    def __init__(self, scenario: Scenario, image: ImageFile, superblock: Superblock, kind: _Kind) -> None:
        self.size = superblock.size
        self.unit_bytes, self.block_bytes = superblock.unit_bytes, BLOCK_BYTES
        self._disk = Disk(scenario, image, Engine(None), inline=False)
        self.queue = self._disk.queue
        self._medium = ImageMedium(image)
        self._medium.disk = self._disk
        try:
            self._store = kind.mount(self._medium, self.size // self.unit_bytes)
        except BaseException:
            self._medium.close()
            raise

    def close(self) -> None:
        """Make everything durable and let the image go."""
        self._medium.close()
        self._disk.close()

    def submit(self, transfers: Sequence[Transfer]) -> None:
        """Do ``transfers`` one after the other; every status is set when it returns."""
        for transfer in transfers:
            try:
                self._one(transfer)
            except MediumFull:
                transfer.status = BlkStatus.NOSPC
            except BlkCryptoError as error:
                transfer.status = errno_to_blk_status(error.errno)
            except OSError as error:
                transfer.status = errno_to_blk_status(error.errno or errno.EIO)

    def _one(self, transfer: Transfer) -> None:
        unit, data = self.unit_bytes, transfer.data
        if transfer.op is ReqOp.READ and data is not None:
            for at in range(0, transfer.nbytes, unit):
                plain = self._store.read((transfer.offset + at) // unit)
                data[at : at + unit] = np.frombuffer(plain, dtype=np.uint8)
        elif transfer.op is ReqOp.WRITE and data is not None:
            self._store.write(transfer.offset // unit, data.tobytes())
        if transfer.op is ReqOp.FLUSH or transfer.fua:
            self._disk.flush()


def sealed(scenario: Scenario, path: Path, size: int | None) -> SealedDevice:
    """A device of sealed units on the image at ``path``.

    Raises:
        BadInput: the image cannot be used, was made for something else, or is not authentic.
    """
    design, kind = scenario.keys.design, _kind(scenario)
    if scenario.keys.data_unit_size != BLOCK_BYTES:
        raise BadInput(f"{design} is served with units of {BLOCK_BYTES} bytes", where="keys.data_unit_size")
    unit_bytes = kind.seal_blocks * BLOCK_BYTES
    if size is not None and size % unit_bytes:
        raise BadInput(f"{size} bytes are no whole units of {unit_bytes}", where="--size")

    def needed(seen: int) -> int:
        return (1 + kind.blocks(seen // unit_bytes)) * BLOCK_BYTES

    superblock, new = agree(path, size, design, unit_bytes, needed)
    image = ImageFile(path, needed(superblock.size))
    try:
        if new:
            _make(image, superblock, kind)
        return SealedDevice(scenario, image, superblock, kind)
    except AuthenticationFailed as error:
        image.close()
        what = f"{error}: another seed is another key, or somebody changed the image"
        raise BadInput(what, where=str(path)) from None
    except BaseException:
        image.close()
        raise


def _make(image: ImageFile, superblock: Superblock, kind: _Kind) -> None:
    medium = ImageMedium(image)
    try:
        kind.mkfs(medium, superblock.size // superblock.unit_bytes)
    finally:
        medium.close()
    image.sync()
    image.write_bytes(0, superblock.to_bytes())
    image.sync()
