"""Small files with their data in their inodes, as a device: files of one size, laid end to end.

A block device cannot show such a filesystem as it is: data in an inode has no block, and shares that of the
inode (f2fs) with it, or with fifteen other inodes (ext4).  So clients see the contents only, file after file,
each ``design.small_file_bytes`` long; what lies on the image is the inodes.

Rules:

- A file whose data fits the area of its inode, under an alternative that allows it, is stored there,
  encrypted by the filesystem in one piece, and written with the whole inode block in a plain bio.
- All others have a block of their own, a bio with a crypto context.  With ``inline-data-a0`` those are all.
- An inode that was never written is an empty file: zeroes.  A discard changes nothing.
"""

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import errno_to_blk_status
from blkcrypto.block.op import ReqOp
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.crypto.modes import mode_named
from blkcrypto.fs.inline_data.region import ALIGNMENT, ALTERNATIVES
from blkcrypto.fs.inline_data.volume import (
    BLOCK_BYTES,
    FLAG_ENCRYPTED,
    FLAG_INLINE,
    INCOMPAT_ENCRYPTED_INLINE_DATA,
    InlineLayout,
    InodeRecord,
    Volume,
    ext4_layout,
    f2fs_layout,
)
from scenarios.filekeys import FileKeys
from scenarios.keying.per_file import file_keys
from scenarios.schema import Scenario
from scenarios.serve.device import EncryptedDevice, key_wrap_unit
from scenarios.serve.disk import Transfer
from scenarios.serve.engine import Engine
from scenarios.serve.image import ImageFile
from scenarios.serve.mapping import Piece
from scenarios.serve.superblock import agree

_LAYOUTS: Final = {"f2fs-like": f2fs_layout(), "ext4-like": ext4_layout()}
_MODE: Final = "AES-256-XTS"
_FLAGS: Final = FLAG_INLINE | FLAG_ENCRYPTED


class FileBlocks:
    """Files of one block each.

    Args:
        keys: of files.
        place: where the first one lies.
    """

    def __init__(self, keys: FileKeys, place: int) -> None:
        self._keys = keys
        self._place = place

    def pieces(self, op: ReqOp, offset: int, nbytes: int) -> Iterable[Piece]:
        """See ``Pieces``."""
        del op
        for at in range(offset, offset + nbytes, BLOCK_BYTES):
            files, units = np.array([at // BLOCK_BYTES]), np.zeros(1, dtype=np.int64)
            numbers, duns = self._keys.look_up(files, units)
            yield Piece(at, BLOCK_BYTES, self._keys.objects[int(numbers[0])], int(duns[0]), self._place + at)


class Regions:
    """Data of files in their inodes.

    Args:
        alternative: which key.
        layout: where an inode has room.
        keys: of files.
    """

    def __init__(self, alternative: str, layout: InlineLayout, keys: FileKeys) -> None:
        self._alternative = ALTERNATIVES[alternative]
        self._keys = keys
        self._volume = Volume(layout, features=INCOMPAT_ENCRYPTED_INLINE_DATA)

    def store(self, file: int, data: bytes) -> bytes:
        """The inode of ``file`` with ``data``."""
        area = self._crypt(file, data.ljust(-(-len(data) // ALIGNMENT) * ALIGNMENT, b"\0"), encrypt=True)
        self._volume.store(file, InodeRecord(_FLAGS, len(data), b"", area))
        return bytes(self._volume.inodes.pop(file))

    def load(self, file: int, inode: bytes) -> bytes:
        """The data; empty where the inode was never written.

        Raises:
            InodeCorrupt: EUCLEAN.
        """
        self._volume.inodes[file] = bytearray(inode)
        record = self._volume.load(file)
        del self._volume.inodes[file]
        if not record.size:
            return b""
        padded = -(-record.size // ALIGNMENT) * ALIGNMENT
        return self._crypt(file, record.area[:padded], encrypt=False)[: record.size]

    def _crypt(self, file: int, data: bytes, *, encrypt: bool) -> bytes:
        """As one data unit, whatever its length."""
        if self._alternative.per_file_only:
            raw, dun = self._keys.own_key(file, mode_named(_MODE).key_bytes).raw, 0
        else:
            numbers, _ = self._keys.look_up(np.array([file]), np.zeros(1, dtype=np.int64))
            raw, dun = self._keys.objects[int(numbers[0])].raw, self._keys.first_dun(file)
        cipher = new_cipher(_MODE, raw)
        unit = np.frombuffer(data, dtype=np.uint8).reshape(1, -1)
        done = (cipher.encrypt_run if encrypt else cipher.decrypt_run)(dun, unit)
        cipher.wipe()
        return done.tobytes()


class SmallFiles:
    """Small files as a device.

    Args:
        blocks: their blocks, or only the disk where all are in inodes.
        size: bytes that clients see.
        file_bytes: of each file.
        regions: data in inodes; None where files are in blocks.
        inode_bytes: of an inode.

    Attributes:
        size: bytes that can be addressed.
        unit_bytes: of a file, which is read and written whole.
        block_bytes: what clients are told to align to.
        queue: counts requests.
    """

    def __init__(
        self, blocks: EncryptedDevice, size: int, file_bytes: int, regions: Regions | None, inode_bytes: int
    ) -> None:
        self.size = size
        self.unit_bytes = file_bytes
        self.block_bytes = min(file_bytes & -file_bytes, BLOCK_BYTES)
        self.queue = blocks.queue
        self._blocks = blocks
        self._regions = regions
        self._inode_bytes = inode_bytes

    @property
    def keyslot_programs(self) -> int:
        """Keys loaded into keyslots."""
        return self._blocks.keyslot_programs

    @property
    def distinct_keys(self) -> int:
        """Keys that were used for blocks; those of regions are not counted."""
        return self._blocks.distinct_keys

    def close(self) -> None:
        """Make everything durable and let the image go."""
        self._blocks.close()

    def submit(self, transfers: Sequence[Transfer]) -> None:
        """Do ``transfers``; every status is set when it returns."""
        for transfer in transfers:
            if transfer.data is None:
                if transfer.op is ReqOp.FLUSH:
                    self._blocks.submit((transfer,))
            elif self._regions is None:
                self._in_blocks(transfer, transfer.data)
            else:
                try:
                    self._in_inodes(self._regions, transfer, transfer.data)
                except OSError as error:
                    transfer.status = errno_to_blk_status(error.errno or errno.EIO)

    def _in_blocks(self, transfer: Transfer, data: npt.NDArray[np.uint8]) -> None:
        """Each file at the beginning of a block, zeroes behind it."""
        first, count = transfer.offset // self.unit_bytes, transfer.nbytes // self.unit_bytes
        padded = np.zeros((count, BLOCK_BYTES), dtype=np.uint8)
        files = data.reshape(count, -1)
        if transfer.op is ReqOp.WRITE:
            padded[:, : self.unit_bytes] = files
        below = Transfer(transfer.op, first * BLOCK_BYTES, padded.size, padded.reshape(-1), transfer.fua)
        self._blocks.submit((below,))
        transfer.status = below.status
        if transfer.op is ReqOp.READ:
            files[:] = padded[:, : self.unit_bytes]

    def _in_inodes(self, regions: Regions, transfer: Transfer, data: npt.NDArray[np.uint8]) -> None:
        size, disk = self._inode_bytes, self._blocks.disk
        first, count = transfer.offset // self.unit_bytes, transfer.nbytes // self.unit_bytes
        start = BLOCK_BYTES + first * size // BLOCK_BYTES * BLOCK_BYTES
        end = BLOCK_BYTES + -(-(first + count) * size // BLOCK_BYTES) * BLOCK_BYTES
        table = bytearray(disk.read(start, end - start))
        for number, file in enumerate(data.reshape(count, -1)):
            at = BLOCK_BYTES + (first + number) * size - start
            if transfer.op is ReqOp.WRITE:
                table[at : at + size] = regions.store(first + number, file.tobytes())
            else:
                plain = regions.load(first + number, bytes(table[at : at + size]))
                file[:] = np.frombuffer(plain.ljust(self.unit_bytes, b"\0"), dtype=np.uint8)
        if transfer.op is ReqOp.WRITE:
            disk.write(start, bytes(table))
        if transfer.fua:
            disk.flush()


def small_files(scenario: Scenario, path: Path, size: int | None) -> SmallFiles:
    """A device of small files on the image at ``path``.

    Raises:
        BadInput: the image cannot be used, or was made for something else.
    """
    design, options = scenario.keys.design, scenario.design
    alternative, layout = design[-2:].upper(), _LAYOUTS[options.inline_user]
    file_bytes = options.small_file_bytes
    able = ALTERNATIVES[alternative].takes_wrapped or scenario.keys.type == "raw"
    inline = ALTERNATIVES[alternative].stores_inline and able and file_bytes <= layout.usable
    if not 0 < file_bytes <= BLOCK_BYTES or scenario.keys.data_unit_size != BLOCK_BYTES:
        what = f"{design} is served with files of at most a block, and data units of one block"
        raise BadInput(f"{what}: choose {BLOCK_BYTES} or less", where="design.small_file_bytes")
    if size is not None and size % file_bytes:
        what = (
            f"{size} bytes are no whole files of {file_bytes}: set design.small_file_bytes, or another size"
        )
        raise BadInput(what, where="--size")

    def needed(seen: int) -> int:
        files = seen // file_bytes
        table = -(-files * layout.inode_bytes // BLOCK_BYTES) * BLOCK_BYTES
        return BLOCK_BYTES + (table if inline else files * BLOCK_BYTES)

    name = f"{design} {options.inline_user if inline else 'in blocks'}"
    superblock, new = agree(path, size, name, file_bytes, needed)
    image = ImageFile(path, needed(superblock.size))
    try:
        if new:
            image.write_bytes(0, superblock.to_bytes())
            image.sync()
        unit = key_wrap_unit(scenario)
        keys = file_keys(scenario, unit)
        blocks = EncryptedDevice(
            scenario, image, image.size - BLOCK_BYTES, Engine(unit), FileBlocks(keys, BLOCK_BYTES)
        )
        regions = Regions(alternative, layout, keys) if inline else None
        return SmallFiles(blocks, superblock.size, file_bytes, regions, layout.inode_bytes)
    except BaseException:
        image.close()
        raise
