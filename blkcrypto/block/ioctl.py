"""The three ioctls on hardware-wrapped keys, with their errors in Linux's order.

The order (block/blk-crypto.c; reference block-layer.md sections 1.3 and 5.3): framework built (ENOTTY),
profile (EOPNOTSUPP), argument (EFAULT), reserved words (EINVAL), sizes (EINVAL), key (EFAULT), support
(EOPNOTSUPP), the driver's own error, room for the result (EOVERFLOW, nothing written back), copy out
(EFAULT).  So a bad argument wins over "not supported" as soon as there is a profile.

Memory of the caller is modelled by what can be read (bytes, or None for a bad pointer) and whether the
result can be written.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import MAX_HW_WRAPPED_KEY_BYTES, MAX_RAW_KEY_BYTES
from blkcrypto.block.profile import CryptoProfile, WrappedKeysNotSupported

MIN_RAW_KEY_BYTES: Final = 16
BLKCRYPTOIMPORTKEY: Final = 0xC0401289
BLKCRYPTOGENERATEKEY: Final = 0xC030128A
BLKCRYPTOPREPAREKEY: Final = 0xC040128B


class FrameworkNotBuilt(BlkCryptoError):
    """The kernel was built without inline encryption, or predates the ioctls."""

    errno = errno.ENOTTY


class BadPointer(BlkCryptoError):
    """User memory cannot be read or written."""

    errno = errno.EFAULT


class ReservedNotZero(BlkCryptoError):
    """A reserved word of the argument is set."""

    errno = errno.EINVAL


class KeySizeOutOfRange(BlkCryptoError):
    """The size of the key handed in is out of range."""

    errno = errno.EINVAL


class NoRoomForResult(BlkCryptoError):
    """The caller's buffer is smaller than the wrapped key."""

    errno = errno.EOVERFLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyArgument:
    """The argument struct of one of the ioctls.

    Attributes:
        key: bytes at the input pointer (raw or long-term key); None when it cannot be read.
        key_size: size field of the input; the length of ``key`` when None.
        room: size field of the result buffer.
        reserved: the four reserved words.
        readable: the struct itself can be copied in.
        writable: the result and the struct can be copied out.
    """

    key: bytes | None = None
    key_size: int | None = None
    room: int = MAX_HW_WRAPPED_KEY_BYTES
    reserved: tuple[int, int, int, int] = (0, 0, 0, 0)
    readable: bool = True
    writable: bool = True

    @property
    def size(self) -> int:
        """The size field of the input."""
        return self.key_size if self.key_size is not None else len(self.key or b"")


def _start(profile: CryptoProfile | None, argument: KeyArgument, *, built: bool) -> CryptoProfile:
    if not built:
        raise FrameworkNotBuilt("this kernel has no ioctls for hardware-wrapped keys")
    if profile is None:
        raise WrappedKeysNotSupported("the device has no crypto profile")
    if not argument.readable:
        raise BadPointer("the argument cannot be read")
    if any(argument.reserved):
        raise ReservedNotZero("reserved words must be 0")
    return profile


def _key_in(argument: KeyArgument, least: int, most: int) -> bytes:
    if not least <= argument.size <= most:
        raise KeySizeOutOfRange(f"the key has {argument.size} bytes: {least} to {most} are possible")
    if argument.key is None:
        raise BadPointer("the key cannot be read")
    return argument.key[: argument.size]


def _key_out(argument: KeyArgument, blob: bytes) -> bytes:
    if len(blob) > argument.room:
        raise NoRoomForResult(f"the wrapped key has {len(blob)} bytes, the buffer {argument.room}")
    if not argument.writable:
        raise BadPointer("the result cannot be written")
    return blob


def import_key(profile: CryptoProfile | None, argument: KeyArgument, *, built: bool = True) -> bytes:
    """``BLKCRYPTOIMPORTKEY``: the long-term wrapped form of a raw key; errors as in the table above."""
    profile = _start(profile, argument, built=built)
    raw = _key_in(argument, MIN_RAW_KEY_BYTES, MAX_RAW_KEY_BYTES)
    return _key_out(argument, profile.import_key(raw))


def generate_key(profile: CryptoProfile | None, argument: KeyArgument, *, built: bool = True) -> bytes:
    """``BLKCRYPTOGENERATEKEY``: the long-term wrapped form of a new key; no size, no key to read."""
    return _key_out(argument, _start(profile, argument, built=built).generate_key())


def prepare_key(profile: CryptoProfile | None, argument: KeyArgument, *, built: bool = True) -> bytes:
    """``BLKCRYPTOPREPAREKEY``: the ephemerally wrapped form; EBADMSG for a blob the device rejects."""
    profile = _start(profile, argument, built=built)
    return _key_out(argument, profile.prepare_key(_key_in(argument, 0, MAX_HW_WRAPPED_KEY_BYTES)))


KeyIoctl = Callable[[CryptoProfile | None, KeyArgument], bytes]
IOCTLS: Final[dict[int, KeyIoctl]] = {
    BLKCRYPTOIMPORTKEY: import_key,
    BLKCRYPTOGENERATEKEY: generate_key,
    BLKCRYPTOPREPAREKEY: prepare_key,
}
"""By request number; any other number on a block device is not ours."""
