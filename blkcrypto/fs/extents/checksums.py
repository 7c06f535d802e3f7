"""Data checksums over ciphertext, and what they forbid.

Rules (btrfs series v7; reference fscrypt.md section 6.1, traps T19, T25):

- The checksum covers what is on the device, so scrub and relocation need no key; and it finds damage, not an
  attacker, who can compute it too.
- It is made by a callback between encryption and submission.  Hardware that encrypts in line never shows the
  ciphertext, so keys of a checksummed filesystem may not go to hardware.
- A bio with more segments than a bounce bio holds would have to be split, which the callback forbids.

The polynomial is zlib's CRC-32 where btrfs defaults to CRC-32C, which is as long.
"""

import zlib
from typing import Final

from blkcrypto.block.key import ConfigFlags
from blkcrypto.fs.extents.errors import BioTooLarge, ChecksumMismatch, CiphertextNotVisible
from blkcrypto.fs.extents.items import BLOCK_BYTES

MAX_SEGMENTS: Final = 256  # BIO_MAX_VECS


def key_flags(*, checksums: bool) -> ConfigFlags:
    """Whether keys of the filesystem may go to hardware."""
    return ConfigFlags.NONE if checksums else ConfigFlags.ALLOW_HW


def check_native(*, checksums: bool, native: bool) -> None:
    """Whether a bio may be encrypted natively.

    Raises:
        CiphertextNotVisible: the callback is set (EOPNOTSUPP).
    """
    if checksums and native:
        raise CiphertextNotVisible("checksums need the ciphertext: mount with nodatasum to use hardware")


def check_segments(segments: int, *, checksums: bool) -> None:
    """Whether a write bio can be encrypted and checksummed without being split.

    Raises:
        BioTooLarge: EIO.
    """
    if checksums and segments > MAX_SEGMENTS:
        raise BioTooLarge(f"a bio with {segments} segments: at most {MAX_SEGMENTS}")


def record(csums: dict[int, int], block: int, ciphertext: bytes) -> None:
    """Store checksums of whole blocks from ``block`` on."""
    view = memoryview(ciphertext)
    for index in range(len(ciphertext) // BLOCK_BYTES):
        csums[block + index] = zlib.crc32(view[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES])


def verify(csums: dict[int, int], block: int, ciphertext: bytes) -> None:
    """Compare whole blocks with their checksums; blocks without one pass.

    Raises:
        ChecksumMismatch: EIO.
    """
    view = memoryview(ciphertext)
    for index in range(len(ciphertext) // BLOCK_BYTES):
        wanted = csums.get(block + index)
        if wanted is None:
            continue
        if zlib.crc32(view[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]) != wanted:
            raise ChecksumMismatch(f"block {block + index} does not have its checksum")
