"""What must stand on the device for one unit of a file of the battery, for each family of key designs.

Shares no code with the product: keys by ``hmac``, ciphers a block at a time.  What a design stores with a
file or a unit (contexts, nonces, packets, headers) is read here by its offsets.
"""

import zlib
from dataclasses import dataclass

from tests.oracle import design_authenticated, design_ext4_2014, design_stacked
from tests.oracle.design_extents import extent_unit
from tests.oracle.fscrypt_files import Subject, contents_unit, hkdf, sw_secret
from tests.oracle.slow_adiantum import adiantum_unit
from tests.oracle.slow_xts import xts_unit

UNIT = 4096
FLAGS = {"fscrypt-per-file": 0, "fscrypt-iv-ino-lblk-64": 0x08, "fscrypt-iv-ino-lblk-32": 0x10}


@dataclass(frozen=True)
class Stored:
    """A unit as it must be on the device."""

    ciphertext: bytes
    beside: bytes = b""


def policy_unit(
    design: str,
    master: bytes,
    uuid: bytes,
    ino: int,
    context: bytes,
    unit: int,
    plain: bytes,
    hardware_key: bytes,
) -> Stored:
    """Of a file with a v2 context: 40 bytes, its nonce at 24; a hardware key stands in for the master key."""
    nonce = context[24:40]
    if design == "fscrypt-direct-key":
        iv = unit.to_bytes(8, "little") + nonce + bytes(8)
        return Stored(adiantum_unit(hkdf(master, 3, b"\x09", 32), iv, plain, "encrypt"))
    secret = sw_secret(hardware_key) if hardware_key else master
    subject = Subject(secret, FLAGS[design], uuid, ino, nonce, hw_raw_key=hardware_key)
    return Stored(contents_unit(subject, 1, unit, plain))


def ubifs_node(master: bytes, nonce: bytes, unit: int, plain: bytes) -> Stored:
    """Compressed if that helps, padded to 16; header: sizes (LE32 each), flag, CRC-32 of it all."""
    packed = zlib.compress(plain)
    small = len(packed) < len(plain)
    data = packed if small else plain
    ciphertext = file_key_unit(master, nonce, unit, data + bytes(-len(data) % 16))
    header = len(plain).to_bytes(4, "little") + len(data).to_bytes(4, "little") + bytes([small])
    return Stored(ciphertext, header + zlib.crc32(header + ciphertext).to_bytes(4, "little"))


def file_key_unit(master: bytes, nonce: bytes, unit: int, plain: bytes) -> bytes:
    """A key of the file's own (HKDF context 2), the unit's index as IV."""
    return xts_unit(hkdf(master, 2, nonce, 64), unit.to_bytes(16, "little"), plain, "encrypt")


def extent_of_unit(master: bytes, label: bytes, plain: bytes) -> Stored:
    """``label``: the extent's nonce, and the unit's place in it."""
    return Stored(extent_unit(master, label[:16], int.from_bytes(label[16:], "little"), plain))


def dm_unit(key: bytes, address: int, plain: bytes) -> Stored:
    """Eight sectors, each with its number as IV."""
    sectors = range(8 * address, 8 * address + 8)
    parts = [plain[at : at + 512] for at in range(0, UNIT, 512)]
    cut = zip(sectors, parts, strict=True)
    return Stored(b"".join(design_stacked.dm_sector("xts", "plain64", key, at, part) for at, part in cut))


def ecryptfs_extent(lower: bytes, wrapping_key: bytes, signature: bytes, unit: int, plain: bytes) -> Stored:
    key = design_stacked.ecryptfs_session_key(lower, wrapping_key, signature)
    return Stored(design_stacked.ecryptfs_extent(key, unit, plain))


def page_2014(packets: bytes, wrapping_key: bytes, signature: str, unit: int, plain: bytes) -> Stored:
    key = design_ext4_2014.data_key(packets, wrapping_key, signature)
    return Stored(design_ext4_2014.page(key, unit, plain))


def seal(design: str, key: bytes, beside: bytes, position: int, plain: bytes) -> Stored:
    """``key`` is the master key where seals have keys of their own."""
    where = position.to_bytes(8, "little")
    if design == "aead-tree-extent":
        ciphertext, tag = design_authenticated.extent_gcm(key, beside[:16], bytes(16) + where, plain)
        return Stored(ciphertext, beside[:16] + tag)
    aad = where + beside[:12] if design == "aead-integrity" else bytes(16) + where
    ciphertext, tag = design_authenticated.gcm(key, beside[:12], aad, plain)
    return Stored(ciphertext, beside[:12] + tag)
