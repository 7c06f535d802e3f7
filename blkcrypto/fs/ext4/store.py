"""Where an image's bytes lie."""

import os
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from blkcrypto.base.errors import BadInput


class ByteStore(Protocol):
    """Bytes by offset.

    Attributes:
        name: how errors call it.
        size: bytes.
    """

    name: str
    size: int

    def read(self, offset: int, nbytes: int) -> bytes:
        """``nbytes`` from ``offset``, fewer only past the end."""

    def write(self, offset: int, data: bytes) -> None:
        """Overwrite; never makes the store longer."""

    def flush(self) -> None:
        """Return once everything written is durable."""


class ImageFile:
    """An image file or block device.

    Args:
        path: of the image.
        writable: open for overwriting.

    Raises:
        BadInput: it cannot be opened.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.name = str(path)
        flags = os.O_RDWR if writable else os.O_RDONLY
        if writable and path.is_block_device():
            # Linux then refuses a device that is mounted.
            flags |= os.O_EXCL
        try:
            self._fd = os.open(path, flags)
        except OSError as error:
            raise self._failed("cannot open it", error) from None
        try:
            # Also tells the size of a block device, which stat() does not.
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            os.close(self._fd)
            raise self._failed("is not an image file", error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def read(self, offset: int, nbytes: int) -> bytes:
        """``nbytes`` from ``offset``, fewer only past the end.

        Raises:
            BadInput: the medium fails.
        """
        parts = []
        try:
            while nbytes:
                part = os.pread(self._fd, nbytes, offset)
                if not part:
                    break
                parts.append(part)
                offset += len(part)
                nbytes -= len(part)
        except OSError as error:
            raise self._failed(f"cannot read at byte {offset}", error) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Overwrite bytes that are there already.

        Raises:
            BadInput: the medium fails.
        """
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self._fd, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            raise self._failed(f"cannot write at byte {offset}", error) from None

    def flush(self) -> None:
        """``fsync()``.

        Raises:
            BadInput: the medium fails.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed("cannot make the write durable", error) from None

    def _failed(self, what: str, error: OSError) -> BadInput:
        return BadInput(f"{what}: {error.strerror}", where=self.name)
