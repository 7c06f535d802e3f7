"""Packets: how a file's data key lies in its xattr, once for every user.

======  ====  =============================================================================
offset  size  wrapped packet, 147 bytes
======  ====  =============================================================================
0       4     its size, big-endian
4       1     type: 0
5       17    signature of the wrapping key: 16 hex digits and NUL
22      13    nonce: 12 random bytes, and a slot for what is derived, stored as 0
35      16    IV
51      84    wrapped payload: mode (BE32), key area (76), key size (BE32)
135     12    MAC
======  ====  =============================================================================

Rules (July 2014 prototype; reference fscrypt.md section 8.1):

- The root packet is a version byte, four unused bytes, and the wrapped packets.  The prototype has one
  packet and leaves the unused bytes as they come; here there are N, and zeroes.
- From a 64-byte wrapping key and the nonce with ``e`` or ``i`` in its slot, HMAC-SHA512 gives the encryption
  key (32 bytes) and the integrity key (12 bytes).
- The payload is encrypted with AES-256-CTR.  The MAC is HMAC-SHA1 over the 135 bytes before it, with ``i`` in
  the slot, cut to 12 bytes; it is verified before anything is unwrapped.
"""

import errno
import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blkcrypto.base.errors import BlkCryptoError

WRAPPING_KEY_BYTES: Final = 64
SIGNATURE_CHARS: Final = 16
DATA_KEY_BYTES: Final = 64
MODE_XTS: Final = 1
WRAPPED_PACKET_BYTES: Final = 147
ROOT_HEADER_BYTES: Final = 5

_PACKET = struct.Struct(">IB17s13s16s84s12s")
_PAYLOAD = struct.Struct(">I76sI")
_NONCE_BYTES: Final = 12
_IV_BYTES: Final = 16
_MAC_BYTES: Final = 12
_TWEAK_SLOT: Final = 34
_AUTHENTICATED_BYTES: Final = WRAPPED_PACKET_BYTES - _MAC_BYTES
_ENC_KEY_BYTES: Final = 32
_ROOT_VERSION: Final = 0
_PACKET_TYPE: Final = 0


class PacketInvalid(BlkCryptoError):
    """Bytes that are not a packet, or whose MAC does not fit: nothing is unwrapped from them."""

    errno = errno.EINVAL


class NoSuchSignature(BlkCryptoError):
    """No packet is for any of the keys given."""

    errno = errno.ENOENT


class ModeNotImplemented(BlkCryptoError):
    """A packet of a reserved mode (GCM, XTS with HMAC, XTS with random IVs): only XTS is implemented."""

    errno = errno.EOPNOTSUPP


@dataclass(frozen=True, slots=True, repr=False)
class UserKey:
    """A user's wrapping key, as the keyring has it.

    Attributes:
        signature: 16 hex digits.
        key: 64 bytes.
    """

    signature: str
    key: bytes

    def __post_init__(self) -> None:
        if len(self.key) != WRAPPING_KEY_BYTES:
            raise ValueError(f"a wrapping key has {WRAPPING_KEY_BYTES} bytes, not {len(self.key)}")
        if len(self.signature) != SIGNATURE_CHARS or not set(self.signature) <= set("0123456789abcdef"):
            raise ValueError(f"a signature has {SIGNATURE_CHARS} hex digits, not {self.signature!r}")

    def __repr__(self) -> str:
        return f"<UserKey {self.signature}>"


def _derive(wrapping_key: bytes, nonce: bytes, slot: bytes, length: int) -> bytes:
    return hmac.new(wrapping_key, nonce + slot, hashlib.sha512).digest()[:length]


def _mac(wrapping_key: bytes, nonce: bytes, authenticated: bytes) -> bytes:
    filled = authenticated[:_TWEAK_SLOT] + b"i" + authenticated[_TWEAK_SLOT + 1 :]
    int_key = _derive(wrapping_key, nonce, b"i", _MAC_BYTES)
    return hmac.new(int_key, filled, hashlib.sha1).digest()[:_MAC_BYTES]


def _ctr(enc_key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(enc_key), modes.CTR(iv)).encryptor().update(data)


def wrap(data_key: bytes, user: UserKey, *, nonce: bytes, iv: bytes) -> bytes:
    """A wrapped packet of ``data_key`` for ``user``: 147 bytes.

    Args:
        data_key: 64 bytes of XTS key.
        user: whose wrapping key.
        nonce: 12 random bytes.
        iv: 16 random bytes.
    """
    payload = _PAYLOAD.pack(MODE_XTS, data_key, len(data_key))
    packet = _PACKET.pack(
        WRAPPED_PACKET_BYTES,
        _PACKET_TYPE,
        user.signature.encode(),
        nonce,
        iv,
        _ctr(_derive(user.key, nonce, b"e", _ENC_KEY_BYTES), iv, payload),
        b"",
    )[:_AUTHENTICATED_BYTES]
    return packet + _mac(user.key, nonce, packet)


def wrap_randomly(data_key: bytes, user: UserKey, rng: np.random.Generator) -> bytes:
    """``wrap`` with nonce and IV from ``rng``."""
    return wrap(data_key, user, nonce=rng.bytes(_NONCE_BYTES), iv=rng.bytes(_IV_BYTES))


def signature_of(packet: bytes) -> str:
    """Whose packet it is; needs no key.

    Raises:
        PacketInvalid: not a wrapped packet (EINVAL).
    """
    if len(packet) != WRAPPED_PACKET_BYTES:
        raise PacketInvalid(f"a wrapped packet has {WRAPPED_PACKET_BYTES} bytes, not {len(packet)}")
    size, kind, signature, _, _, _, _ = _PACKET.unpack(packet)
    text = signature[:SIGNATURE_CHARS]
    if size != WRAPPED_PACKET_BYTES or kind != _PACKET_TYPE or signature[SIGNATURE_CHARS:] != b"\0":
        raise PacketInvalid(f"a wrapped packet of size {size} and type {kind}")
    if not set(text) <= set(b"0123456789abcdef"):
        raise PacketInvalid("a signature that is not hex digits")
    return str(text, "ascii")


def unwrap(packet: bytes, user: UserKey) -> bytes:
    """The data key in ``packet``.

    Raises:
        PacketInvalid: malformed, or the MAC does not fit the user's key (EINVAL).
        ModeNotImplemented: EOPNOTSUPP.
    """
    signature_of(packet)
    _, _, _, nonce_and_slot, iv, wrapped, mac = _PACKET.unpack(packet)
    nonce = nonce_and_slot[:_NONCE_BYTES]
    if not hmac.compare_digest(mac, _mac(user.key, nonce, packet[:_AUTHENTICATED_BYTES])):
        raise PacketInvalid(f"the MAC of the packet for {user.signature} does not fit")
    mode, area, size = _PAYLOAD.unpack(_ctr(_derive(user.key, nonce, b"e", _ENC_KEY_BYTES), iv, wrapped))
    if mode != MODE_XTS:
        raise ModeNotImplemented(f"mode {mode}: only XTS ({MODE_XTS}) is implemented")
    if size != DATA_KEY_BYTES:
        raise PacketInvalid(f"an XTS key of {size} bytes")
    key: bytes = area[:size]
    return key


def build_root(packets: Sequence[bytes]) -> bytes:
    """The xattr's value: ``5 + 147 * N`` bytes."""
    return bytes((_ROOT_VERSION, 0, 0, 0, 0)) + b"".join(packets)


def parse_root(value: bytes) -> dict[str, bytes]:
    """Wrapped packets by signature, in order; needs no key.

    Raises:
        PacketInvalid: another version, no whole packets, or two for one signature (EINVAL).
    """
    body = value[ROOT_HEADER_BYTES:]
    if len(value) < ROOT_HEADER_BYTES or value[0] != _ROOT_VERSION or len(body) % WRAPPED_PACKET_BYTES:
        raise PacketInvalid(f"a root packet of {len(value)} bytes")
    packets = [body[at : at + WRAPPED_PACKET_BYTES] for at in range(0, len(body), WRAPPED_PACKET_BYTES)]
    found = {signature_of(packet): packet for packet in packets}
    if len(found) != len(packets):
        raise PacketInvalid("two packets for one signature")
    return found


def unwrap_any(value: bytes, keyring: Mapping[str, UserKey]) -> bytes:
    """The data key, through the first packet whose signature the keyring knows.

    Raises:
        NoSuchSignature: none is (ENOENT).
        PacketInvalid: the packet that is, or the root, is damaged (EINVAL).
        ModeNotImplemented: EOPNOTSUPP.
    """
    for signature, packet in parse_root(value).items():
        user = keyring.get(signature)
        if user is not None:
            return unwrap(packet, user)
    raise NoSuchSignature("the file's key is wrapped for none of the keys here")
