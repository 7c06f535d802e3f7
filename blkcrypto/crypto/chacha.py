"""XChaCha over a batch: one key stream for each data unit, all in numpy.

``cryptography`` has ChaCha20 only, one stream at a time; Adiantum needs 12 rounds and a nonce per data unit.

Source: RFC 8439 section 2.3; draft-irtf-cfrg-xchacha-03; crypto/chacha.c for the reduced rounds.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.scratch import scratch

U32Array = npt.NDArray[np.uint32]

BLOCK_BYTES: Final = 64
NONCE_BYTES: Final = 24
_WORDS: Final = 16
_CONSTANTS: Final = np.frombuffer(b"expand 32-byte k", dtype="<u4").astype(np.uint32)


def _add(to: U32Array, rows: U32Array, shift: int) -> None:
    """``to[i] += rows[i + shift]``; the rows of a quarter come round again after the fourth."""
    np.add(to[: 4 - shift], rows[shift:], out=to[: 4 - shift])
    if shift:
        np.add(to[4 - shift :], rows[:shift], out=to[4 - shift :])


def _xor_rotate(to: U32Array, rows: U32Array, shift: int, bits: int, spare: U32Array) -> None:
    """``to[i] = rotl(to[i] ^ rows[i + shift], bits)``."""
    np.bitwise_xor(to[: 4 - shift], rows[shift:], out=to[: 4 - shift])
    if shift:
        np.bitwise_xor(to[4 - shift :], rows[:shift], out=to[4 - shift :])
    np.right_shift(to, np.uint32(32 - bits), out=spare)
    np.left_shift(to, np.uint32(bits), out=to)
    np.bitwise_or(to, spare, out=to)


def permute(state: U32Array, rounds: int) -> None:
    """The ChaCha permutation, in place, on ``uint32[16, blocks]``.

    A column round works on whole rows of four words.  In a diagonal round each operand is taken one place
    further on than the word it changes, which spares turning the rows and turning them back.
    """
    a, b, c, d = (state[at : at + 4] for at in range(0, _WORDS, 4))
    spare = scratch("chacha spare", *a.shape, 4).view(np.uint32)[..., 0]
    for _ in range(rounds // 2):
        for turn in (0, 1):
            _add(a, b, turn)
            _xor_rotate(d, a, turn, 16, spare)
            _add(c, d, turn)
            _xor_rotate(b, c, turn, 12, spare)
            _add(a, b, turn)
            _xor_rotate(d, a, turn, 8, spare)
            _add(c, d, turn)
            _xor_rotate(b, c, turn, 7, spare)


def xchacha_streams(key: bytes, nonces: U8Array, nbytes: int, *, rounds: int) -> U8Array:
    """Key streams of ``nbytes`` bytes, one per nonce, from stream position 0.

    Args:
        key: 32 bytes.
        nonces: ``uint8[n, 24]``, C-contiguous.

    Returns:
        ``uint8[n, whole 64-byte blocks]``, good until the next call in this thread.
    """
    units, blocks = len(nonces), -(-nbytes // BLOCK_BYTES)
    words = nonces.view("<u4")
    subkeys = hchacha(key, words[:, :4], rounds=rounds)
    state = scratch("chacha state", _WORDS, units * blocks * 4).view(np.uint32)
    per_unit = state.reshape(_WORDS, units, blocks)
    per_unit[:4] = _CONSTANTS[:, np.newaxis, np.newaxis]
    per_unit[4:12] = subkeys[:, :, np.newaxis]
    per_unit[12] = np.arange(blocks, dtype=np.uint32)
    per_unit[13] = 0
    per_unit[14:] = words[:, 4:].T[:, :, np.newaxis]
    start = scratch("chacha start", *state.shape, 4).view(np.uint32)[..., 0]
    np.copyto(start, state)
    permute(state, rounds)
    np.add(state, start, out=state)
    stream = scratch("chacha stream", units, blocks * BLOCK_BYTES)
    np.copyto(stream.view("<u4").reshape(units, blocks, _WORDS), per_unit.transpose(1, 2, 0))
    return stream


def hchacha(key: bytes, nonce_words: U32Array, *, rounds: int) -> U32Array:
    """HChaCha: a subkey from the first 16 bytes of each nonce; there is no final addition.

    Args:
        nonce_words: ``uint32[n, 4]``.

    Returns:
        ``uint32[8, n]``.
    """
    state = np.empty((_WORDS, len(nonce_words)), dtype=np.uint32)
    state[:4] = _CONSTANTS[:, np.newaxis]
    state[4:12] = np.frombuffer(key, dtype="<u4")[:, np.newaxis]
    state[12:] = nonce_words.T
    permute(state, rounds)
    return np.concatenate((state[:4], state[12:]))
