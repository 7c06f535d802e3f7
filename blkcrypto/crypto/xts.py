"""AES-XTS and SM4-XTS over batches of data units.

The key is the data key followed by the tweak key; equal halves are refused.  A batch takes one call for all
first tweaks, numpy for the tweaks of all blocks, one call for all blocks, and two XORs.

Source: IEEE 1619; crypto/xts.c.
"""

import errno
import threading
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.batch import Kernel
from blkcrypto.crypto.blockcipher import BLOCK_BYTES, Algorithm, BlockCipher
from blkcrypto.crypto.buffers import U8Array, U64Array, WrongDataUnitSize, word_aligned
from blkcrypto.crypto.ivs import Ivs
from blkcrypto.crypto.scratch import scratch
from blkcrypto.crypto.single import CONTEXT_NS, PerUnit
from blkcrypto.crypto.tweaks import STREAMS, TweakExpander, extend_streams, stream_words

# Data, tweaks and output of a chunk stay in the cache, while numpy's fixed cost per call is spread.  Long
# calls also keep threads from queueing for the interpreter lock.
_CHUNK_BYTES: Final = 1 << 21

# Tweak streams of a batch that are made before it is shared out: with more, numpy's calls are long enough
# for threads to make them side by side.
_MOST_WORDS_AHEAD: Final = 50_000

# Shapes whose expanders each thread keeps: they are views, and cheaper to keep than to make.
_SHAPES: Final = 64

# Units by which the shapes differ that batches under many keys are made in.
_UNITS_STEP: Final = 16

# When a batch pays against a context for each data unit, by measured costs.
_BATCH_NS: Final = 25_000  # numpy's calls, per batch
_BATCH_NS_PER_WORD: Final = 3300  # the same, per word that the tweak streams are extended by
_MASK_NS_PER_KIB: Final = 160  # making and applying tweaks in numpy rather than inside OpenSSL


class WeakKey(BlkCryptoError):
    """XTS with two equal halves: Linux refuses it when the key is set."""

    errno = errno.EINVAL


class _Expanders(threading.local):
    """The tweak expanders of each thread, for the shapes it made last."""

    def __init__(self) -> None:
        self.by_shape: dict[tuple[int, int], TweakExpander] = {}

    def get(self, units: int, blocks: int) -> TweakExpander:
        shape = (units, blocks)
        found = self.by_shape.get(shape)
        if found is None:
            found = self.by_shape[shape] = TweakExpander(units, blocks)
            if len(self.by_shape) > _SHAPES:
                del self.by_shape[next(iter(self.by_shape))]
        return found


_expanders = _Expanders()


class _Streams:
    """IVs of a batch together with the tweak streams made from them."""

    __slots__ = ("_ivs", "_words", "bits")

    def __init__(self, ivs: Ivs, bits: U64Array, words: int) -> None:
        self._ivs = ivs
        self.bits = bits
        self._words = words

    def rows(self, start: int, stop: int) -> U8Array:
        """See ``Ivs.rows``."""
        return self._ivs.rows(start, stop)

    def one(self, unit: int) -> bytes:
        """See ``Ivs.one``."""
        return self._ivs.one(unit)

    def of(self, start: int, stop: int) -> U64Array:
        """What ``extend_streams`` gives for these data units."""
        return self.bits[start * self._words : stop * self._words + 1]


class XtsKernel(Kernel):
    """XTS with a fixed key.

    Attributes:
        data: the block cipher of the data key.
        tweak: that of the tweak key.
    """

    __slots__ = ("_single", "data", "tweak")

    part_bytes = 1 << 20

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        half = len(key) // 2
        if key[:half] == key[half:]:
            raise WeakKey("the two halves of an XTS key must differ")
        self.data = BlockCipher(algorithm, key[:half])
        self.tweak = BlockCipher(algorithm, key[half:])
        # OpenSSL's own XTS: for few data units, and for sizes that need ciphertext stealing.
        self._single = (
            PerUnit(algorithms.AES(key), modes.XTS)
            if algorithm is Algorithm.AES and half in (16, 32)
            else None
        )

    def check_data_unit(self, data_unit_size: int) -> None:
        """At least one block; only whole blocks for ciphers that OpenSSL has no XTS of (SM4, AES-192)."""
        if data_unit_size < BLOCK_BYTES:
            raise WrongDataUnitSize(f"XTS takes data units of 16 bytes and more, not {data_unit_size}")
        if self._single is None and data_unit_size % BLOCK_BYTES:
            raise WrongDataUnitSize(f"this cipher takes whole 16-byte blocks, not {data_unit_size} bytes")

    def prepare(self, ivs: Ivs, units: int, data_unit_size: int) -> Ivs:
        """See ``Kernel.prepare``."""
        blocks = _whole_streams(data_unit_size)
        if units * stream_words(blocks) > _MOST_WORDS_AHEAD:
            return ivs
        return self._streams(ivs, 0, units, blocks)

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """See ``Kernel.crypt``."""
        units, size = src.shape
        if self._single is not None and not _batch_pays(units, size):
            self._single.crypt(ivs, first, src, out, encrypt=encrypt)
            return
        blocks = _whole_streams(size)
        if not isinstance(ivs, _Streams):
            ivs, first = self._streams(ivs, first, units, blocks), 0
        step = max(1, _CHUNK_BYTES // size)
        for start in range(0, units, step):
            stop = min(start + step, units)
            mask = _expanders.get(stop - start, blocks).expand(ivs.of(first + start, first + stop))
            self._mask_and_run(mask[:, : size // 8], src[start:stop], out[start:stop], encrypt=encrypt)

    def wipe(self) -> None:
        """Drop both keys and their contexts."""
        self.data.wipe()
        self.tweak.wipe()
        if self._single is not None:
            self._single.wipe()

    def _streams(self, ivs: Ivs, first: int, units: int, blocks: int) -> _Streams:
        tweaks = ivs.rows(first, first + units).copy()
        self.tweak.encrypt(tweaks.reshape(-1), tweaks.reshape(-1))
        return _Streams(ivs, extend_streams(tweaks.view(np.uint64), blocks), stream_words(blocks))

    def _mask_and_run(self, mask: U64Array, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        # numpy XORs 64-bit words quickly only where they are aligned; else the chunk moves to where they are.
        work = out if word_aligned(out) else scratch("xts chunk", *src.shape)
        words = work.view(np.uint64)
        if word_aligned(src):
            np.bitwise_xor(src.view(np.uint64), mask, out=words)
        else:
            np.copyto(work, src)
            np.bitwise_xor(words, mask, out=words)
        flat = work.reshape(-1)
        if encrypt:
            self.data.encrypt(flat, flat)
        else:
            self.data.decrypt(flat, flat)
        np.bitwise_xor(words, mask, out=words)
        if work is not out:
            np.copyto(out, work)


def tweaks_of_blocks(first: U64Array, data_unit_size: int) -> U64Array:
    """Tweaks of all blocks.

    Args:
        first: ``uint64[units, 2]``, each data unit's first.
        data_unit_size: a multiple of 16 bytes.

    Returns:
        ``uint64[units, data_unit_size / 8]``, valid until this thread next asks for tweaks or runs XTS.
    """
    # Batches come in any size; a few shapes for all of them keep their expanders.
    units, blocks = -(-len(first) // _UNITS_STEP) * _UNITS_STEP, _whole_streams(data_unit_size)
    bits = np.empty(1 + units * stream_words(blocks), dtype=np.uint64)
    made = extend_streams(first, blocks)
    bits[: len(made)] = made
    tweaks = _expanders.get(units, blocks).expand(bits)
    return tweaks[: len(first), : data_unit_size // 8]


def _whole_streams(data_unit_size: int) -> int:
    """Blocks of a data unit, and as many more as make all tweak streams equally long."""
    return -(-data_unit_size // (BLOCK_BYTES * STREAMS)) * STREAMS


# Fewer units than this never pay, whatever their size.
_FEWEST_UNITS: Final = _BATCH_NS // CONTEXT_NS


def _batch_pays(units: int, size: int) -> bool:
    if units < _FEWEST_UNITS:
        return False
    if size % BLOCK_BYTES:
        return False  # ciphertext stealing
    saved = units * (CONTEXT_NS - size * _MASK_NS_PER_KIB // 1024)
    return saved > _BATCH_NS + _BATCH_NS_PER_WORD * stream_words(size // BLOCK_BYTES)
