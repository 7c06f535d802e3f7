"""Text in blocks of whole lines, ready for vectorised parsing.

Rules:

- A line ends with ``\\n`` or ``\\r\\n``; the last one may lack it.  Blank lines and lines that begin with
  ``#`` are no rows, but they count as lines.
- A line of more than ``LINE_LIMIT`` bytes is a bad line; only its beginning is kept, so that a file without
  line ends needs no memory.  It is handed out at once: who stops at bad lines need not read to its end, which
  a device or a compressed bomb may not have.  Nobody reads more than ``_LONGEST_LINE_BYTES`` of one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import at_line
from scenarios.traces.errors import TraceError

LINE_LIMIT: Final = 64 << 10
_LONGEST_LINE_BYTES: Final = 256 << 20
# Numbers are read in words of 8 bytes, up to three of them, which may begin before the text.
PAD: Final = 32
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Block:
    """Some lines.

    Attributes:
        name: the trace, for messages.
        text: ``uint8``: ``PAD`` zeros, the lines, each with its ``\\n``, ``PAD`` zeros.
        first_line: number of the first line in the trace, counted from 1.
        line_offsets: ``int64[rows]``, added to ``first_line`` it numbers each row's line; None when no line
            was left out, so that it is the row's index.
    """

    name: str
    text: UInt8
    first_line: int
    line_offsets: Int64 | None

    @cached_property
    def ends(self) -> Int64:
        """``int64[rows]``, where each row's ``\\n`` is."""
        return np.flatnonzero(self.text == ord("\n"))

    @cached_property
    def starts(self) -> Int64:
        """``int64[rows]``, where each row begins."""
        starts = np.empty_like(self.ends)
        starts[:1] = PAD
        starts[1:] = self.ends[:-1] + 1
        return starts

    @cached_property
    def words(self) -> UInt64:
        """``uint64`` at every byte: the little-endian word of the 8 bytes that begin there, overlapping."""
        return np.ndarray((len(self.text) - 7,), dtype="<u8", buffer=self.text.data, strides=(1,))

    @cached_property
    def dots(self) -> Int64:
        """Where the decimal points are; one more past the end."""
        return np.append(np.flatnonzero(self.text == ord(".")), len(self.text))

    def __len__(self) -> int:
        return len(self.ends)

    def line_number(self, row: int) -> int:
        """Number of a row's line in the trace, counted from 1."""
        return self.first_line + (row if self.line_offsets is None else int(self.line_offsets[row]))

    def line(self, row: int) -> bytes:
        """A row's bytes, without the line end."""
        return self.bytes_at(int(self.starts[row]), int(self.ends[row]))

    def bytes_at(self, start: int, end: int) -> bytes:
        """The text from ``start`` to ``end``."""
        return self.text[start:end].tobytes()


def read_blocks(name: str, pieces: Iterable[bytes]) -> Iterator[Block]:
    """The lines of a trace from front to back, about one piece at a time.

    Args:
        name: the trace, for messages.
        pieces: its bytes, cut anywhere.
    """
    carry = b""
    line = 1
    in_long_line, skipped = False, 0
    for data in pieces:
        if line == 1 and not carry:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if in_long_line:
            end = data.find(b"\n")
            skipped += len(data)
            if end < 0 and skipped > _LONGEST_LINE_BYTES:
                what = f"a line of more than {_LONGEST_LINE_BYTES >> 20} MiB: this is no trace in text"
                raise TraceError(what, where=at_line(name, line - 1))
            if end < 0:
                continue
            data, in_long_line = data[end + 1 :], False
        data = carry + data
        cut = data.rfind(b"\n") + 1
        carry = data[cut:][: LINE_LIMIT + 1]
        if cut:
            block, lines = _block(name, data[:cut], line)
            line += lines
            if len(block):
                yield block
        if len(carry) > LINE_LIMIT:
            block, _ = _block(name, carry + b"\n", line)
            line, carry, in_long_line = line + 1, b"", True
            skipped = len(data)
            if len(block):
                yield block
    if carry:
        block, _ = _block(name, carry + b"\n", line)
        if len(block):
            yield block


def _block(name: str, data: bytes, first_line: int) -> tuple[Block, int]:
    """The rows among some whole lines, and the number of those lines."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    block = Block(name, _padded(data), first_line, None)
    lines = len(block)
    first = block.text[block.starts]
    if np.any((first == ord("\n")) | (first == ord("#"))):
        split = data[:-1].split(b"\n")
        kept = [index for index, line in enumerate(split) if line.strip() and not line.startswith(b"#")]
        rows = b"".join([split[index] + b"\n" for index in kept])
        block = Block(name, _padded(rows), first_line, np.array(kept, dtype=np.int64))
    return block, lines


def _padded(data: bytes) -> UInt8:
    text = np.zeros(len(data) + 2 * PAD, dtype=np.uint8)
    text[PAD:-PAD] = np.frombuffer(data, dtype=np.uint8)
    return text
