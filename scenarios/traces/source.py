"""The bytes of a trace: a file or standard input, compressed or not, read once from front to back.

The compression is recognised by its magic number, never by the file's name.  A damaged or cut stream is an
error that says so; what was decompressed before the damage is handed out first.
"""

import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

import zstandard

from scenarios.files.nearest import nearest_file
from scenarios.traces.errors import TraceError

STDIN: Final = "-"
_STDIN_NAME: Final = "<stdin>"
# A zstd block of a few bytes can stand for 128 KiB, so small bites bound what one of them becomes.
_ZSTD_BITE: Final = 2048
_XZ_BITE: Final = 1 << 16
# `xz -9` needs 65 MiB; a file may ask for 4 GiB.
_XZ_MEMORY_BYTES: Final = 256 << 20
_DAMAGE: Final = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)


class _Stream(Protocol):
    def read1(self, size: int, /) -> bytes:
        """Some bytes, at most ``size``: few enough that damage after them does not lose them."""


class _XzStream:
    """Decompresses stream after stream.  Unlike ``LZMAFile`` it bounds the memory that a file may ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._input = b""
        self._stream: lzma.LZMADecompressor | None = None

    def read1(self, size: int, /) -> bytes:
        while True:
            if not self._input and (self._stream is None or self._stream.needs_input):
                self._input = self._file.read1(_XZ_BITE)  # type: ignore[attr-defined]  # it is buffered
                if not self._input:
                    if self._stream is not None:
                        raise EOFError("the last xz stream has no end")
                    return b""
            if self._stream is None:
                self._input = self._input.lstrip(b"\0")  # padding between streams
                if not self._input:
                    continue
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
            out = self._stream.decompress(self._input, max_length=size)
            self._input = b""
            if self._stream.eof:
                self._input = self._stream.unused_data
                self._stream = None
            if out:
                return out


class _ZstdStream:
    """Decompresses frame after frame.  Unlike ``stream_reader`` it notices a frame that is cut short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._input = b""

    def read1(self, _size: int, /) -> bytes:
        while True:
            if not self._input:
                self._input = self._file.read(_ZSTD_BITE)
                if not self._input:
                    if self._frame is not None:
                        raise EOFError("the last zstd frame has no end")
                    return b""
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            out = self._frame.decompress(self._input)
            self._input = b""
            if self._frame.eof:
                self._input = self._frame.unused_data
                self._frame = None
            if out:
                return out


_COMPRESSIONS: Final[tuple[tuple[bytes, str, Callable[[BinaryIO], _Stream]], ...]] = (
    (b"\x1f\x8b", "gzip", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\x00", "xz", _XzStream),
    (b"\x28\xb5\x2f\xfd", "zstd", _ZstdStream),
)


class Source:
    """A single-pass byte stream with a look ahead.

    Attributes:
        name: how messages call it.
        path: the file, or None for standard input.
        compression: ``"gzip"``, ``"xz"``, ``"zstd"``, or empty.
    """

    def __init__(self, source: str | Path) -> None:
        self.path = None if source == STDIN else Path(source)
        self.name = _STDIN_NAME if self.path is None else str(source)
        try:
            raw = sys.stdin.buffer if self.path is None else self.path.open("rb")
            # Standard input may have been replaced by a stream without a look ahead of its own.
            self._wrapped = not isinstance(raw, io.BufferedReader)
            self._file = (
                raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))
            )
            start = self._file.peek(8)[:8]  # opening a directory fails only here on some systems
        except FileNotFoundError as error:
            meant = nearest_file(self.name) or "; a trace is a file, - or builtin:NAME"
            raise TraceError(f"{error.strerror}{meant}", where=self.name) from None
        except OSError as error:
            raise TraceError(error.strerror or str(error), where=self.name) from None
        self.compression, self._stream = self._decompressed(start)
        self._ahead = bytearray()
        self._damage: TraceError | None = None

    def _decompressed(self, start: bytes) -> tuple[str, _Stream]:
        for magic, kind, opener in _COMPRESSIONS:
            if start.startswith(magic):
                return kind, opener(self._file)
        return "", self._file

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only at the end, and none after it.

        Raises:
            TraceError: the stream is damaged or cut; raised once everything before the damage was read.
        """
        self._fill(size)
        if not self._ahead and self._damage is not None:
            raise self._damage
        out = bytes(self._ahead[:size])
        del self._ahead[:size]
        return out

    def peek(self, size: int) -> bytes:
        """Up to ``size`` bytes without consuming them; only those before the damage of a damaged stream."""
        self._fill(size)
        return bytes(self._ahead[:size])

    def _fill(self, size: int) -> None:
        while len(self._ahead) < size and self._damage is None:
            try:
                data = self._stream.read1(size - len(self._ahead))
            except _DAMAGE as error:
                kind = self.compression or "file"
                self._damage = TraceError(
                    f"the {kind} stream is damaged or cut off ({error})", where=self.name
                )
                return
            if not data:
                return
            self._ahead += data

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self.path is not None:
            self._file.close()
        elif self._wrapped:
            self._file.detach()
