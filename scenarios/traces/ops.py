"""How traces spell operations.

One table per spelling, field text -> ``ReqOp``, or ``IGNORED`` for an operation that is known but neither
moves data nor flushes (an inquiry, a zone reset).  What is in no table is a bad line.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import UInt8
from scenarios.traces.fields import Column, head
from scenarios.traces.lines import Block

IGNORED: Final = 254
UNKNOWN: Final = 255
# A trace uses two or three spellings: comparing with those beats sorting, up to about this many.
_COMMON_SPELLINGS: Final = 12

Spelling = Callable[[bytes], int]
"""Field text -> ``ReqOp``, ``IGNORED`` or ``UNKNOWN``."""


def by_table(table: Mapping[bytes, int]) -> Spelling:
    """The spelling that a table holds."""
    return lambda text: table.get(text, UNKNOWN)


def _any_case(table: Mapping[bytes, int]) -> dict[bytes, int]:
    return {form: op for word, op in table.items() for form in (word, word.upper(), word.capitalize())}


WORDS: Final = _any_case(
    {
        b"r": ReqOp.READ,
        b"read": ReqOp.READ,
        b"rs": ReqOp.READ,
        b"w": ReqOp.WRITE,
        b"write": ReqOp.WRITE,
        b"ws": ReqOp.WRITE,
        b"d": ReqOp.DISCARD,
        b"discard": ReqOp.DISCARD,
        b"trim": ReqOp.DISCARD,
        b"unmap": ReqOp.DISCARD,
        b"f": ReqOp.FLUSH,
        b"flush": ReqOp.FLUSH,
        b"sync": ReqOp.FLUSH,
    }
)
WORDS_OR_BLANK: Final = WORDS | {b"": IGNORED}
NUMBERS: Final = {b"%d" % op: int(op) for op in ReqOp}
"""The kernel's numbers: 0 read, 1 write."""
READ_IS_1: Final = {b"1": int(ReqOp.READ), b"0": int(ReqOp.WRITE)}
READ_BIT_0: Final = {b"%x" % flags: int(ReqOp.READ if flags & 1 else ReqOp.WRITE) for flags in range(256)}
"""DiskSim's flags, in hexadecimal: bit 0 set is a read."""

SCSI: Final[dict[int, int]] = {
    0x08: ReqOp.READ,  # READ(6), (10), (12), (16)
    0x28: ReqOp.READ,
    0xA8: ReqOp.READ,
    0x88: ReqOp.READ,
    0x0A: ReqOp.WRITE,  # WRITE(6), (10), (12), (16)
    0x2A: ReqOp.WRITE,
    0xAA: ReqOp.WRITE,
    0x8A: ReqOp.WRITE,
    0x2E: ReqOp.WRITE,  # WRITE AND VERIFY(10), (12), (16)
    0xAE: ReqOp.WRITE,
    0x8E: ReqOp.WRITE,
    0x35: ReqOp.FLUSH,  # SYNCHRONIZE CACHE(10), (16)
    0x91: ReqOp.FLUSH,
    0x42: ReqOp.DISCARD,  # UNMAP
    0x41: ReqOp.WRITE_ZEROES,  # WRITE SAME(10), (16): Linux sends zeroes with it
    0x93: ReqOp.WRITE_ZEROES,
}
"""SCSI operation code -> ReqOp; every other code is a command without data of the medium.  Source: SBC-4."""

SCSI_HEX: Final = {
    prefix + digits % code: SCSI.get(code, IGNORED)
    for code in range(256)
    for prefix in (b"", b"0x")
    for digits in (b"%x", b"%X", b"%02x", b"%02X")
}


def spelled(block: Block, column: Column, meaning: Spelling) -> UInt8:
    """``uint8`` ops of a column of text."""
    words = head(block, column)
    op = np.full(len(words), UNKNOWN, dtype=np.uint8)
    left = column.length <= 8
    for _ in range(_COMMON_SPELLINGS):
        row = int(np.argmax(left)) if len(left) else 0
        if not len(left) or not left[row]:
            return op
        same = left & (words == words[row])
        op[same] = meaning(_text(int(words[row])))
        left &= ~same
    distinct, which = np.unique(words[left], return_inverse=True)
    op[left] = np.array([meaning(_text(word)) for word in distinct.tolist()], dtype=np.uint8)[which]
    return op


def _text(word: int) -> bytes:
    return word.to_bytes(8, "little").rstrip(b"\0")


# blk_fill_rwbs(): an F for a preflush, the operation, flags (F fua, A readahead, S sync, M meta, U atomic).
# Source: kernel/trace/blktrace.c (6.18).  Write-zeroes and passthrough requests are both N, Z is for zones.
_RWBS: Final = re.compile(rb"F?(R|W|DE?|F|N|Z(?:A|RA?|F|O|C))[FASMU]*")
_RWBS_OPS: Final = {
    b"R": int(ReqOp.READ),
    b"W": int(ReqOp.WRITE),
    b"D": int(ReqOp.DISCARD),
    b"DE": int(ReqOp.SECURE_ERASE),
    b"F": int(ReqOp.FLUSH),
}


def rwbs(text: bytes) -> int:
    """The spelling of block events.  A preflush with an operation is that operation."""
    match = _RWBS.fullmatch(text)
    return _RWBS_OPS.get(match[1], IGNORED) if match else UNKNOWN
