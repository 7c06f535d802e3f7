"""The key-wrapping unit: secure hardware that knows raw keys so that software need not.

Wrapping is private to the hardware.  Ours is AES-256-GCM with a random nonce; what the blob is for
(long-term or ephemeral) is authenticated with it, so one is never taken for the other.  The long-term
wrapping key stays with the device, the ephemeral one lives for one boot.

A blob: magic and kind (8 bytes), nonce (12), wrapped key (32), tag (16), then zeroes up to the device's blob
size, which is the same for both kinds (Qualcomm HWKM: 68 bytes in version 1, 100 in version 2).

What a unit checks is its own: the size of a raw key and the integrity of a blob.  Whether the device has a
unit at all is the profile's question (EOPNOTSUPP), sizes of arguments and room for results the ioctl's
(``blkcrypto.block.profile``, ``blkcrypto.block.ioctl``).

Source: reference block-layer.md sections 5.1 to 5.4; drivers/soc/qcom/ice.c for the sizes.
"""

import errno
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.hwkdf import derive

HW_RAW_KEY_BYTES: Final = 32
HWKM_BLOB_BYTES: Final = {"v1": 68, "v2": 100}
"""Size of a blob by version of Qualcomm's hardware key manager: version 1 is in ICE 3.2.0 only."""

_LONG_TERM: Final = b"BLKC-lt\0"
_EPHEMERAL: Final = b"BLKC-eph"
_NONCE_BYTES: Final = 12
_WRAPPING_KEY_BYTES: Final = 32
_WRAPPED_BYTES: Final = HW_RAW_KEY_BYTES + 16
MIN_BLOB_BYTES: Final = 8 + _NONCE_BYTES + _WRAPPED_BYTES

BlobKind = Literal["long-term", "ephemeral"]
_KINDS: Final[dict[bytes, BlobKind]] = {_LONG_TERM: "long-term", _EPHEMERAL: "ephemeral"}


class BadWrappedKey(BlkCryptoError):
    """The blob is damaged, of the wrong kind, or from another device or boot."""

    errno = errno.EBADMSG


class BadRawKeySize(BlkCryptoError):
    """Hardware keys are 32 bytes of raw material."""

    errno = errno.EINVAL


class RandomBytes(Protocol):
    """Where keys and nonces come from; a ``numpy.random.Generator`` is one."""

    def bytes(self, length: int, /) -> bytes:
        """``length`` random bytes."""


@dataclass(frozen=True, slots=True, repr=False)
class UnitState:
    """What a unit keeps: its two wrapping keys, 32 bytes each.  Whoever has them has every key.

    Raises:
        ValueError: keys of another size.
    """

    long_term: bytes
    ephemeral: bytes

    def __post_init__(self) -> None:
        if {len(self.long_term), len(self.ephemeral)} != {_WRAPPING_KEY_BYTES}:
            raise ValueError(f"wrapping keys have {_WRAPPING_KEY_BYTES} bytes")


class KeyWrapUnit:
    """One device's unit.

    Args:
        rng: makes wrapping keys, nonces and generated keys; a seeded run has seeded secrets.
        blob_bytes: size of every blob, at least ``MIN_BLOB_BYTES``.
        kdf: hardware KDF variant, see ``blkcrypto.crypto.hwkdf``.
        state: wrapping keys of a unit that was there before; new ones when None.

    Attributes:
        blob_bytes: as given.
    """

    def __init__(
        self, rng: RandomBytes, *, blob_bytes: int, kdf: str = "kdf1", state: UnitState | None = None
    ) -> None:
        if blob_bytes < MIN_BLOB_BYTES:
            raise ValueError(f"a blob needs {MIN_BLOB_BYTES} bytes, not {blob_bytes}")
        self._rng = rng
        self.blob_bytes = blob_bytes
        self._kdf = kdf
        if state is None:
            state = UnitState(rng.bytes(_WRAPPING_KEY_BYTES), rng.bytes(_WRAPPING_KEY_BYTES))
        self._state = state

    @property
    def state(self) -> UnitState:
        """The wrapping keys, for an emulated unit that outlives a process; hardware never tells them."""
        return self._state

    def import_key(self, raw: bytes) -> bytes:
        """Long-term blob of ``raw`` (32 bytes).

        Raises:
            BadRawKeySize: another size (EINVAL).
        """
        if len(raw) != HW_RAW_KEY_BYTES:
            raise BadRawKeySize(f"the key has {len(raw)} bytes: this hardware imports {HW_RAW_KEY_BYTES}")
        return self._wrap(_LONG_TERM, raw)

    def generate_key(self) -> bytes:
        """Long-term blob of a new key that software never saw."""
        return self._wrap(_LONG_TERM, self._rng.bytes(HW_RAW_KEY_BYTES))

    def prepare_key(self, lt_key: bytes) -> bytes:
        """Ephemeral blob, good until the next boot.

        Raises:
            BadWrappedKey: not an intact long-term blob of this device (EBADMSG).
        """
        return self._wrap(_EPHEMERAL, self._unwrap(_LONG_TERM, lt_key))

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """The 32-byte software secret.

        Raises:
            BadWrappedKey: not an intact ephemeral blob of this boot (EBADMSG).
        """
        return derive(self._unwrap(_EPHEMERAL, eph_key), self._kdf).sw_secret

    def inline_key(self, eph_key: bytes) -> bytes:
        """The 64-byte AES-256-XTS key for a keyslot: unwrapped and derived inside the hardware.

        Raises:
            BadWrappedKey: not an intact ephemeral blob of this boot (EBADMSG).
        """
        return derive(self._unwrap(_EPHEMERAL, eph_key), self._kdf).inline_key

    def inspect(self, blob: bytes) -> BlobKind:
        """What an intact blob of this device, and for an ephemeral one of this boot, is.

        Raises:
            BadWrappedKey: it is none (EBADMSG).
        """
        kind = blob_kind(blob)
        self._unwrap(_LONG_TERM if kind == "long-term" else _EPHEMERAL, blob)
        return kind

    def reboot(self) -> None:
        """A new boot: every ephemeral blob is worthless from here on."""
        self._state = UnitState(self._state.long_term, self._rng.bytes(_WRAPPING_KEY_BYTES))

    def factory_reset(self) -> None:
        """A new device: every blob is worthless from here on."""
        self._state = UnitState(self._rng.bytes(_WRAPPING_KEY_BYTES), self._state.ephemeral)
        self.reboot()

    def _wrapper(self, kind: bytes) -> AESGCM:
        return AESGCM(self._state.long_term if kind == _LONG_TERM else self._state.ephemeral)

    def _wrap(self, kind: bytes, raw: bytes) -> bytes:
        nonce = self._rng.bytes(_NONCE_BYTES)
        blob = kind + nonce + self._wrapper(kind).encrypt(nonce, raw, kind)
        return blob.ljust(self.blob_bytes, b"\0")

    def _unwrap(self, kind: bytes, blob: bytes) -> bytes:
        nonce, wrapped = blob[8 : 8 + _NONCE_BYTES], blob[8 + _NONCE_BYTES : MIN_BLOB_BYTES]
        padding = blob[MIN_BLOB_BYTES:]
        if len(blob) != self.blob_bytes or blob[:8] != kind or padding.strip(b"\0"):
            what = f"not {'a' if kind == _LONG_TERM else 'an'} {_KINDS[kind]} key blob of this device"
            raise BadWrappedKey(what)
        try:
            return self._wrapper(kind).decrypt(nonce, wrapped, kind)
        except InvalidTag:
            raise BadWrappedKey("the key blob is damaged, or from another device or boot") from None


def blob_kind(blob: bytes) -> BlobKind:
    """What a blob says it is, whether intact or not.

    Raises:
        BadWrappedKey: it says neither (EBADMSG).
    """
    kind = _KINDS.get(bytes(blob[:8]))
    if kind is None:
        raise BadWrappedKey("not a key blob")
    return kind
