"""Targets that feed what key designs write on disk, and tables of device-mapper."""

from contextlib import suppress
from typing import Final

import numpy as np

from blkcrypto.fs.dm_table import DmCrypt, DmInlinecrypt, parse_table
from blkcrypto.fs.ext4_2014 import packet
from blkcrypto.fs.ext4_2014.fsck import fsck
from blkcrypto.fs.ext4_2014.layout import LayoutInvalid, mkfs
from blkcrypto.fs.ext4_2014.volume import Volume
from blkcrypto.fs.extents.contexts import LightContext
from blkcrypto.fs.stacked.ecryptfs_header import build_header, session_key

_KEY: Final = "".join(f"{byte:02x}" for byte in range(64))
_TABLES: Final = (
    f"0 2048 crypt aes-xts-plain64 {_KEY} 0 /dev/sda 0",
    f"0 2048 crypt aes-cbc-essiv:sha256 {_KEY[:64]} 8 8:0 8 2 allow_discards sector_size:4096",
    f"0 2048 inlinecrypt aes-xts-plain64 {_KEY} 0 /dev/sda 0 2 sector_size:4096 iv_large_sectors",
)
_USER: Final = packet.UserKey("0123456789abcdef", bytes(range(64)))
_KEYRING: Final = {b"signatur": bytes(range(64))}


def table_seeds() -> list[bytes]:
    """A table of each target."""
    return [table.encode() for table in _TABLES]


def feed_table(data: bytes) -> None:
    """A table, its cipher made, and the IV of a sector."""
    table = parse_table(data.decode("utf-8", "replace"))
    if table.target == "crypt":
        DmCrypt(table).iv_sector(8)
    else:
        DmInlinecrypt(table).crypt_ctx(8)


def header_seeds() -> list[bytes]:
    """eCryptfs's header, the 2014 draft's root packet, an extent's context, and a medium of that draft."""
    root = packet.build_root([packet.wrap(bytes(range(64)), _USER, nonce=bytes(12), iv=bytes(16))])
    medium = mkfs(8, 16)
    Volume(medium, np.random.default_rng(1)).create("f", [_USER]).write(0, b"contents")
    header = build_header(bytes(16), _KEYRING, size=100, marker=b"mark", salt=bytes(8))
    context = LightContext(1, bytes(16), bytes(16)).to_bytes()
    return [bytes([number]) + data for number, data in enumerate((header, root, context, bytes(medium)))]


def feed_header(data: bytes) -> None:
    """The first byte chooses what the rest is."""
    kind, rest = (data[0] if data else 0) % 4, data[1:]
    if kind == 0:
        session_key(rest, _KEYRING)
    elif kind == 1:
        packet.unwrap_any(rest, {_USER.signature: _USER})
    elif kind == 2:
        assert LightContext.from_bytes(rest).to_bytes() == rest
    else:
        with suppress(LayoutInvalid):
            fsck(bytearray(rest))
