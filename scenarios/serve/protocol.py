"""The NBD protocol's numbers and layouts: bytes to values and back, without state and without I/O.

Everything on the wire is big-endian.  A parser takes exactly the bytes of one thing and returns it, or raises
``ProtocolViolation``: the connection then has no future, for nobody knows where the next message begins.

Source: the NBD project's protocol document (doc/proto.md), sections "Newstyle negotiation", "Transmission
phase", "Values".
"""

import enum
import struct
from typing import Final, NamedTuple

NBDMAGIC: Final = 0x4E42444D41474943  # "NBDMAGIC"
IHAVEOPT: Final = 0x49484156454F5054  # "IHAVEOPT"
OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_REPLY_MAGIC: Final = 0x67446698
STRUCTURED_REPLY_MAGIC: Final = 0x668E33EF

MAX_STRING_BYTES: Final = 4096
"""Longest name the protocol knows."""

GREETING: Final = struct.Struct(">QQH")
CLIENT_FLAGS: Final = struct.Struct(">I")
OPTION: Final = struct.Struct(">QII")
REQUEST: Final = struct.Struct(">IHHQQI")
SIMPLE_REPLY: Final = struct.Struct(">IIQ")
DATA_CHUNK: Final = struct.Struct(">IHHQIQ")
"""Header of a structured reply's chunk with its first field, the offset of the data."""
_OPTION_REPLY: Final = struct.Struct(">QIII")
_ERROR_CHUNK: Final = struct.Struct(">IHHQIIH")
_EXPORT: Final = struct.Struct(">QH")
_EXPORT_PADDING: Final = bytes(124)


class ProtocolViolation(Exception):
    """The client sent what the protocol has no answer for: the only reply is to hang up."""


class HandshakeFlags(enum.IntFlag):
    """Both directions use the same bits."""

    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Option(enum.IntEnum):
    """``NBD_OPT_*`` that this server answers; every other one is refused as unsupported."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8


class Rep(enum.IntEnum):
    """``NBD_REP_*``; errors have the highest bit."""

    ACK = 1
    SERVER = 2
    INFO = 3
    ERR_UNSUP = 1 << 31 | 1
    ERR_INVALID = 1 << 31 | 3
    ERR_UNKNOWN = 1 << 31 | 6
    ERR_TOO_BIG = 1 << 31 | 9


class Info(enum.IntEnum):
    """``NBD_INFO_*``."""

    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


class TransmissionFlags(enum.IntFlag):
    """What an export can do."""

    HAS_FLAGS = 1
    READ_ONLY = 2
    SEND_FLUSH = 4
    SEND_FUA = 8
    ROTATIONAL = 16
    SEND_TRIM = 32
    SEND_WRITE_ZEROES = 64
    SEND_DF = 128
    CAN_MULTI_CONN = 256


class Command(enum.IntEnum):
    """``NBD_CMD_*``."""

    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6


class CommandFlags(enum.IntFlag):
    """``NBD_CMD_FLAG_*``."""

    FUA = 1
    NO_HOLE = 2
    DF = 4


class Error(enum.IntEnum):
    """``NBD_E*``: fixed numbers, whatever the server's operating system calls them."""

    OK = 0
    EPERM = 1
    EIO = 5
    ENOMEM = 12
    EINVAL = 22
    ENOSPC = 28
    EOVERFLOW = 75
    ENOTSUP = 95
    ESHUTDOWN = 108


class ChunkType(enum.IntEnum):
    """``NBD_REPLY_TYPE_*``."""

    OFFSET_DATA = 1
    ERROR = 1 << 15 | 1


CHUNK_DONE: Final = 1


class Request(NamedTuple):
    """One command's header.

    Attributes:
        flags: ``CommandFlags`` bits, as sent.
        command: a ``Command`` number, or one that nobody knows.
        cookie: the client's name for it, to be given back.
        offset: bytes from the start of the export.
        length: bytes.
    """

    flags: int
    command: int
    cookie: int
    offset: int
    length: int


class ExportRequest(NamedTuple):
    """Payload of ``OPT_INFO`` and ``OPT_GO``: which export, and what the client wants to know."""

    name: bytes
    infos: tuple[int, ...]


def greeting(flags: HandshakeFlags) -> bytes:
    """What the server says first."""
    return GREETING.pack(NBDMAGIC, IHAVEOPT, flags)


def parse_client_flags(data: bytes) -> HandshakeFlags:
    """The client's four bytes.

    Raises:
        ProtocolViolation: bits that the server never offered.
    """
    (bits,) = CLIENT_FLAGS.unpack(data)
    # As plain int: inverting a flag enum drops the bits it does not know.
    if bits & ~int(HandshakeFlags.FIXED_NEWSTYLE | HandshakeFlags.NO_ZEROES):
        raise ProtocolViolation(f"client flags {bits:#x} that were not offered")
    return HandshakeFlags(bits)


def parse_option(data: bytes) -> tuple[int, int]:
    """Number and payload length of an option's 16-byte header.

    Raises:
        ProtocolViolation: another magic.
    """
    magic, option, length = OPTION.unpack(data)
    if magic != IHAVEOPT:
        raise ProtocolViolation(f"an option begins with {IHAVEOPT:#x}, not {magic:#x}")
    return option, length


def parse_export_request(data: bytes) -> ExportRequest | None:
    """Payload of ``OPT_INFO`` or ``OPT_GO``; None when lengths do not add up."""
    if len(data) < 6:
        return None
    length = int.from_bytes(data[:4], "big")
    if length > MAX_STRING_BYTES or len(data) < 6 + length:
        return None
    count = int.from_bytes(data[4 + length : 6 + length], "big")
    rest = data[6 + length :]
    if len(rest) != 2 * count:
        return None
    return ExportRequest(data[4 : 4 + length], struct.unpack(f">{count}H", rest))


def parse_request(data: bytes | bytearray | memoryview, at: int = 0) -> Request:
    """The 28 bytes of a command's header, ``at`` bytes into ``data``.

    Raises:
        ProtocolViolation: another magic.
    """
    magic, flags, command, cookie, offset, length = REQUEST.unpack_from(data, at)
    if magic != REQUEST_MAGIC:
        raise ProtocolViolation(f"a request begins with {REQUEST_MAGIC:#x}, not {magic:#x}")
    return Request(flags, command, cookie, offset, length)


def option_reply(option: int, reply: Rep, data: bytes = b"") -> bytes:
    """One reply to ``option``."""
    return _OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, reply, len(data)) + data


def server_entry(name: bytes) -> bytes:
    """Payload of ``REP_SERVER``: one export in the list."""
    return len(name).to_bytes(4, "big") + name


def info_export(size: int, flags: TransmissionFlags) -> bytes:
    """Payload of ``REP_INFO`` with ``INFO_EXPORT``."""
    return Info.EXPORT.to_bytes(2, "big") + _EXPORT.pack(size, flags)


def info_text(info: Info, text: bytes) -> bytes:
    """Payload of ``REP_INFO`` with a name or a description."""
    return info.to_bytes(2, "big") + text


def info_block_size(minimum: int, preferred: int, maximum: int) -> bytes:
    """Payload of ``REP_INFO`` with ``INFO_BLOCK_SIZE``."""
    return struct.pack(">HIII", Info.BLOCK_SIZE, minimum, preferred, maximum)


def export_name_reply(size: int, flags: TransmissionFlags, *, no_zeroes: bool) -> bytes:
    """What ``OPT_EXPORT_NAME`` gets: no reply header, and padding unless both sides agreed on none."""
    return _EXPORT.pack(size, flags) + (b"" if no_zeroes else _EXPORT_PADDING)


def simple_reply(cookie: int, error: Error = Error.OK) -> bytes:
    """The header of a simple reply; data of a successful read follows."""
    return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, error, cookie)


def data_chunk(cookie: int, offset: int, nbytes: int) -> bytes:
    """Header of the only chunk of a successful read; ``nbytes`` of data follow."""
    return DATA_CHUNK.pack(
        STRUCTURED_REPLY_MAGIC, CHUNK_DONE, ChunkType.OFFSET_DATA, cookie, 8 + nbytes, offset
    )


def error_chunk(cookie: int, error: Error) -> bytes:
    """The only chunk of a failed read, without a message."""
    return _ERROR_CHUNK.pack(STRUCTURED_REPLY_MAGIC, CHUNK_DONE, ChunkType.ERROR, cookie, 6, error, 0)
