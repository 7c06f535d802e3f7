"""Hashes that order directory entries, as ext4 and f2fs compute them over the name on disk.

fscrypt puts them into no-key names.  In an encrypted directory the name hashed is the ciphertext, except in a
casefolded one, where it is the folded plaintext, keyed (``fscrypt.casefold``).

Sources: ext4's on-disk format documentation (Documentation/filesystems/ext4/directory.rst), RFC 1320 for the
MD4 functions, Wheeler and Needham's TEA; checked against entries that Linux wrote.
"""

import enum
from typing import Final

_U32: Final = 0xFFFFFFFF
_INITIAL: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_MD4_ROUND_CONSTANTS: Final = (0, 0x5A827999, 0x6ED9EBA1)
# Half MD4: eight of MD4's sixteen steps in each round, in this order of input words, with these rotations.
_MD4_WORD_ORDER: Final = ((0, 1, 2, 3, 4, 5, 6, 7), (1, 3, 5, 7, 0, 2, 4, 6), (3, 7, 2, 6, 1, 5, 0, 4))
_MD4_ROTATIONS: Final = ((3, 7, 11, 19), (3, 5, 9, 13), (3, 9, 11, 15))
_TEA_DELTA: Final = 0x9E3779B9
_TEA_CYCLES: Final = 16
# The largest hash marks the end of a directory; a name must not have it.
_EXT4_HTREE_EOF: Final = 0xFFFFFFFE


class Ext4HashVersion(enum.IntEnum):
    """``s_def_hash_version``; which signedness of ``char`` applies is a flag of the superblock."""

    LEGACY = 0
    HALF_MD4 = 1
    TEA = 2


def ext4_hash(name: bytes, version: Ext4HashVersion, seed: bytes, *, signed: bool) -> tuple[int, int]:
    """Major and minor hash of a directory entry.

    Args:
        name: as stored.
        version: ``HALF_MD4`` or ``TEA``.
        seed: 16 bytes of the superblock; all zero means the default.
        signed: whether bytes above 127 count as negative.

    Raises:
        ValueError: the legacy hash, which no encrypted filesystem uses.
    """
    words = tuple(int.from_bytes(seed[at : at + 4], "little") for at in range(0, 16, 4))
    state = words if any(words) else _INITIAL
    if version is Ext4HashVersion.HALF_MD4:
        for at in range(0, len(name), 32):
            state = _half_md4(state, _pack(name[at:], 8, signed=signed))
        major, minor = state[1], state[2]
    elif version is Ext4HashVersion.TEA:
        state = _tea_chain(name, state, signed=signed)
        major, minor = state[0], state[1]
    else:
        raise ValueError(f"directory hash {version!r} is not used with encryption")
    major &= ~1
    return (major - 2 if major == _EXT4_HTREE_EOF else major), minor


def f2fs_hash(name: bytes) -> int:
    """Hash of an f2fs directory entry."""
    return _tea_chain(name, _INITIAL, signed=False)[0]


def _pack(rest: bytes, words: int, *, signed: bool) -> list[int]:
    """The next ``words`` 32-bit words of a name, big-endian, filled up with its remaining length."""
    pad = (len(rest) & 0xFF) * 0x01010101
    packed = []
    for at in range(0, 4 * words, 4):
        value = pad
        for byte in rest[at : at + 4]:
            value = (value << 8) + (byte - 256 if signed and byte > 127 else byte)
        packed.append(value & _U32)
    return packed


def _rotate(value: int, bits: int) -> int:
    value &= _U32
    return (value << bits | value >> (32 - bits)) & _U32


def _half_md4(state: tuple[int, ...], words: list[int]) -> tuple[int, ...]:
    a, b, c, d = state
    for number in range(3):
        for step, word in enumerate(_MD4_WORD_ORDER[number]):
            if number == 0:
                mixed = d ^ (b & (c ^ d))
            elif number == 1:
                mixed = (b & c) | (b & d) | (c & d)
            else:
                mixed = b ^ c ^ d
            turned = a + mixed + words[word] + _MD4_ROUND_CONSTANTS[number]
            a, b, c, d = d, _rotate(turned, _MD4_ROTATIONS[number][step % 4]), b, c
    return tuple((old + new) & _U32 for old, new in zip(state, (a, b, c, d), strict=True))


def _tea_chain(name: bytes, state: tuple[int, ...], *, signed: bool) -> tuple[int, ...]:
    for at in range(0, len(name), 16):
        state = _tea(state, _pack(name[at:], 4, signed=signed))
    return state


def _tea(state: tuple[int, ...], key: list[int]) -> tuple[int, ...]:
    left, right = state[0], state[1]
    for cycle in range(1, _TEA_CYCLES + 1):
        total = cycle * _TEA_DELTA & _U32
        left = (left + (((right << 4) + key[0]) ^ (right + total) ^ ((right >> 5) + key[1]))) & _U32
        right = (right + (((left << 4) + key[2]) ^ (left + total) ^ ((left >> 5) + key[3]))) & _U32
    return ((state[0] + left) & _U32, (state[1] + right) & _U32, *state[2:])
