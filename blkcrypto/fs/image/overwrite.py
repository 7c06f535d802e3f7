"""Overwriting the contents of a file, in place.

Rules:

- Only bytes below the end of the file that lie in written extents.  A hole, or space never written, would
  need metadata to change; so would a longer file.  The size, times and all other metadata stay as they are.
- Whole data units are encrypted and written.  Of a data unit covered in part, the rest is read first.
- Everything is checked before the first byte is written.
- The write is durable when it returns, and not atomic: what an interrupted one leaves is old data units,
  then new ones, and of the one in between sectors of both, as after a power failure under Linux.
"""

from typing import Final, NoReturn, Protocol

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.ext4.features import InodeFlags
from blkcrypto.fs.ext4.volume import Ext4Volume
from blkcrypto.fs.image.contents import CHUNK_BYTES, FileContents
from blkcrypto.fs.image.tree import EncryptedImage, Node

_REFUSED: Final = (
    (InodeFlags.VERITY, "it is protected by fs-verity: a change would make it unreadable"),
    (InodeFlags.IMMUTABLE, "it is immutable"),
    (InodeFlags.APPEND, "it is append-only"),
    (InodeFlags.COMPR, "it is compressed"),
    (InodeFlags.INLINE_DATA, "its data lies in the inode, which is metadata"),
)


class Source(Protocol):
    """Where new bytes come from: any binary file."""

    def read(self, nbytes: int, /) -> bytes:
        """Up to ``nbytes``, fewer only at the end."""


def overwrite(image: EncryptedImage, node: Node, pos: int, source: Source, nbytes: int) -> int:
    """Replace ``nbytes`` of a regular file from byte ``pos`` on.

    Args:
        image: opened on a writable store.
        node: the file.
        pos: byte in the file, ``>= 0``.
        source: the new bytes.
        nbytes: how many it has.

    Returns:
        Data units written.

    Raises:
        KeyRequired: ENOKEY, and the other errors of ``EncryptedImage.contents()``.
        BadInput: what the rules refuse, before anything is written; or ``source`` ends early.
    """
    contents = image.contents(node)
    where = f"{image.volume.name}: {node.path.decode('utf-8', 'backslashreplace')}"
    check_volume(image.volume)
    _check_range(contents, pos, nbytes, where)
    units = 0
    done = 0
    while done < nbytes:
        # To the next multiple of the chunk size, so that all chunks but the ends are whole data units.
        part = min(nbytes - done, CHUNK_BYTES - (pos + done) % CHUNK_BYTES)
        data = source.read(part)
        if len(data) < part:
            _refuse(f"the new data ended after {done + len(data)} of {nbytes} bytes", where)
        units += _write_part(contents, pos + done, data)
        done += part
    image.volume.store.flush()
    return units


def check_volume(volume: Ext4Volume) -> None:
    """Whether data may be overwritten in this filesystem at all.

    Raises:
        BadInput: its journal is not replayed, or it has features a writer would have to know.
    """
    sb = volume.superblock
    if sb.needs_recovery:
        _refuse("its journal holds changes not yet made: mount it once, or run e2fsck on it", volume.name)
    if sb.unwritable_features:
        _refuse(f"has features for readers only (ro_compat {sb.unwritable_features:#x})", volume.name)


def _check_range(contents: FileContents, pos: int, nbytes: int, where: str) -> None:
    for flag, reason in _REFUSED:
        if contents.inode.flags & flag:
            _refuse(f"is not overwritten: {reason}", where)
    if pos < 0 or pos + nbytes > contents.size:
        _refuse(
            f"has {contents.size} bytes: {nbytes} from byte {pos} would make it longer, and its size stays",
            where,
        )
    unit = contents.data_unit_size
    first = pos // unit * unit
    for piece in contents.pieces(first, -(-(pos + nbytes) // unit) * unit - first):
        if piece.extent is None or not piece.extent.written:
            kind = "a hole" if piece.extent is None else "space reserved but never written"
            last = piece.pos + piece.nbytes - 1
            _refuse(f"has {kind} at bytes {piece.pos} to {last}: only written blocks are overwritten", where)


def _write_part(contents: FileContents, pos: int, data: bytes) -> int:
    """Encrypt and write what lies in one chunk; data units written."""
    unit = contents.data_unit_size
    first = pos // unit * unit
    end = -(-(pos + len(data)) // unit) * unit
    head = contents.read_units(first, unit)[: pos - first] if first < pos else b""
    tail_bytes = end - pos - len(data)
    tail = contents.read_units(end - unit, unit)[unit - tail_bytes :] if tail_bytes else b""
    plain = head + data + tail
    for piece in contents.pieces(first, end - first):
        part = plain[piece.pos - first : piece.pos - first + piece.nbytes]
        if contents.units is not None:
            part = contents.units.encrypt(piece.pos // unit, part)
        if piece.extent is None:
            raise ValueError("a hole where there was none a moment ago")
        contents.volume.write_span(
            piece.extent, piece.pos - piece.extent.lblk * contents.volume.block_size, part
        )
    return (end - first) // unit


def _refuse(what: str, where: str) -> NoReturn:
    raise BadInput(what, where=where)
