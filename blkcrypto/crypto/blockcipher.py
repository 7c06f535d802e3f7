"""AES and SM4 on arrays of 16-byte blocks, each block by itself (ECB).

An XTS context whose encrypted tweak is zero is ECB: zero stays zero when it is doubled, and masks nothing.
OpenSSL's XTS is faster than its ECB on CPUs with vector AES (14 against 8 GB/s measured), and it writes into
a buffer of exactly the right size, so AES with 128- and 256-bit keys runs that way.  All blocks having the
same (zero) tweak, it does not matter that a second ``update()`` on an XTS context starts over; it must only
be accepted, which is tried once.
"""

import enum
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import numpy as np
from cryptography.exceptions import AlreadyFinalized, InternalError
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from blkcrypto.crypto.buffers import U8Array

BLOCK_BYTES: Final = 16
# Output room that ECB's update_into asks for past the data.
_SLACK: Final = BLOCK_BYTES - 1
#: Bytes; OpenSSL refuses XTS data units of more than 2**20 blocks, and the other path needs as much scratch.
MOST_PER_CALL: Final = 1 << 22


class Algorithm(enum.Enum):
    """The block ciphers."""

    AES = "AES"
    SM4 = "SM4"


class KeyWiped(ValueError):
    """A caller's mistake: the cipher is used after its key was wiped."""


_Run = Callable[[U8Array, U8Array], object]


class _Context(Protocol):
    @property
    def run_short(self) -> _Run:
        """``run`` for at most ``MOST_PER_CALL`` bytes, by the shortest way there is."""

    def run(self, src: U8Array, out: U8Array) -> None: ...


@functools.lru_cache(4)
def _encrypted_to_zero(tweak_key: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(tweak_key), modes.ECB()).decryptor()
    return decryptor.update(bytes(BLOCK_BYTES))


class _ZeroTweakXts:
    """AES-ECB through an XTS context whose tweak is zero."""

    __slots__ = ("run_short",)

    def __init__(self, key: bytes, *, encrypt: bool) -> None:
        # Any other key does for the tweak; OpenSSL refuses two equal halves.
        tweak_key = bytes(len(key) - 1) + bytes([~key[-1] & 1])
        cipher = Cipher(algorithms.AES(key + tweak_key), modes.XTS(_encrypted_to_zero(tweak_key)))
        context: CipherContext = cipher.encryptor() if encrypt else cipher.decryptor()
        # An array is a buffer; the stubs know that only from Python 3.12 on.
        self.run_short: _Run = context.update_into  # type: ignore[assignment]

    def run(self, src: U8Array, out: U8Array) -> None:
        for at in range(0, src.size, MOST_PER_CALL):
            self.run_short(src[at : at + MOST_PER_CALL], out[at : at + MOST_PER_CALL])


class _PlainEcb:
    """ECB as it comes; its output needs slack, hence the copy."""

    __slots__ = ("_context", "_scratch")

    def __init__(self, algorithm: algorithms.AES | algorithms.SM4, *, encrypt: bool) -> None:
        cipher = Cipher(algorithm, modes.ECB())
        self._context: CipherContext = cipher.encryptor() if encrypt else cipher.decryptor()
        self._scratch = np.empty(0, dtype=np.uint8)

    def run(self, src: U8Array, out: U8Array) -> None:
        for at in range(0, src.size, MOST_PER_CALL):
            self.run_short(src[at : at + MOST_PER_CALL], out[at : at + MOST_PER_CALL])

    def run_short(self, src: U8Array, out: U8Array) -> None:
        if self._scratch.size < src.size + _SLACK:
            self._scratch = np.empty(src.size + _SLACK, dtype=np.uint8)
        scratch = self._scratch[: src.size + _SLACK]
        self._context.update_into(src, scratch)  # type: ignore[arg-type]  # as above
        out[:] = scratch[: src.size]


@functools.cache
def _xts_can_be_ecb() -> bool:
    """Whether the installed library takes one ``update()`` after the other, as OpenSSL 1.1 to 4.0 do."""
    key, blocks = bytes(range(32)), np.arange(64, dtype=np.uint8)
    expected = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks.tobytes())
    context, out = _ZeroTweakXts(key, encrypt=True), np.empty_like(blocks)
    try:
        context.run(blocks[:32], out[:32])
        context.run(blocks[32:], out[32:])
    except (ValueError, AlreadyFinalized, InternalError):
        return False
    return out.tobytes() == expected


def _new_context(algorithm: Algorithm, key: bytes, *, encrypt: bool) -> _Context:
    if algorithm is Algorithm.SM4:
        return _PlainEcb(algorithms.SM4(key), encrypt=encrypt)
    if len(key) in (16, 32) and _xts_can_be_ecb():
        return _ZeroTweakXts(key, encrypt=encrypt)
    return _PlainEcb(algorithms.AES(key), encrypt=encrypt)


class BlockCipher:
    """One key of one block cipher.  Threads may share it: each call borrows a context of its own."""

    __slots__ = ("_algorithm", "_idle", "_key")

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        self._algorithm = algorithm
        self._key: bytes | None = key
        self._idle: dict[bool, list[_Context]] = {True: [], False: []}

    def encrypt(self, src: U8Array, out: U8Array) -> None:
        """Encrypt ``uint8[16 * blocks]`` into ``out``, which may be ``src`` itself; both C-contiguous."""
        self.crypt(src, out, encrypt=True)

    def decrypt(self, src: U8Array, out: U8Array) -> None:
        """Inverse of ``encrypt``."""
        self.crypt(src, out, encrypt=False)

    def crypt(self, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """``encrypt`` or ``decrypt``."""
        # As ``borrowed``, in one function: with a key for every 4096 bytes, calls are a third of the cost.
        idle = self._idle[encrypt]
        try:
            context = idle.pop()
        except IndexError:
            context = self._open(encrypt=encrypt)
        if src.size <= MOST_PER_CALL:
            context.run_short(src, out)
        else:
            context.run(src, out)
        if self._key is not None:
            idle.append(context)

    @contextmanager
    def borrowed(self, *, encrypt: bool) -> Iterator[_Run]:
        """``encrypt`` or ``decrypt`` for many calls of ``MOST_PER_CALL`` bytes or less, with one context."""
        idle = self._idle[encrypt]
        try:
            context = idle.pop()
        except IndexError:
            context = self._open(encrypt=encrypt)
        yield context.run_short
        if self._key is not None:
            idle.append(context)

    def _open(self, *, encrypt: bool) -> _Context:
        if self._key is None:
            raise KeyWiped("this cipher's key was wiped")
        return _new_context(self._algorithm, self._key, encrypt=encrypt)

    def wipe(self) -> None:
        """Drop the key and every context made from it."""
        self._key = None
        for contexts in self._idle.values():
            contexts.clear()
