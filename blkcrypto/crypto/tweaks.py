"""XTS tweaks of a whole batch: first tweak times alpha**j in GF(2**128), for every block j of its data unit.

How it is fast.  Multiplying by alpha**8 moves a tweak up by one byte, except that the byte pushed out at the
top comes back, times 0x87, into the two lowest bytes.  So the tweaks for j = b, 8 + b, 16 + b ... are 16-byte
windows, one byte apart, into one byte stream.  The stream goes on downwards by a linear recurrence, and only
byte 0 of a window differs from the stream (the product has 15 bits; its upper 7 belong one window further).
The eight streams b = 0..7 are one bit stream at eight bit offsets.

    per data unit  extend its 128 bits downwards by one byte for every eight blocks    extend_streams()
    per stream     shift to its bit offset; make the values of byte 0                  TweakExpander
    per block      copy a 16-byte window; copy byte 0                                  TweakExpander
"""

from typing import Final

import numpy as np

from blkcrypto.crypto.buffers import U64Array
from blkcrypto.crypto.scratch import scratch

#: Blocks whose tweaks differ by less than a byte shift; a data unit has a multiple of it.
STREAMS: Final = 8
_TWEAK_BYTES: Final = 16

# x * 0x87 in 64-bit words: the shifts of its lower word, and of the seven bits past bit 63.
_TIMES_0X87: Final = np.array([[0], [1], [2], [7]], dtype=np.uint64)
_CARRY: Final = np.array([[57], [62], [63]], dtype=np.uint64)
# The same for one byte: the part of x * 0x87 past bit 7.
_BYTE_CARRY: Final = np.array([1, 6, 7], dtype=np.uint8).reshape(3, 1, 1, 1)
_UP: Final = np.arange(STREAMS, dtype=np.uint64)[:, np.newaxis]
_DOWN: Final = np.uint64(64) - _UP  # a shift by 64 gives 0 in numpy, as wanted for stream 0


def stream_words(blocks: int) -> int:
    """64-bit words of one data unit's bit stream: its first tweak, and a bit for every block."""
    return 2 + -(-blocks // 64)


def extend_streams(first: U64Array, blocks: int) -> U64Array:
    """Bit streams of a batch.

    Args:
        first: ``uint64[units, 2]``, little-endian halves of the first tweaks.
        blocks: 16-byte blocks in a data unit, a multiple of 8.

    Returns:
        ``uint64[1 + units * stream_words(blocks)]``: each data unit's words, lowest first, and one word in
        front of them all, so that every word has a neighbour below.
    """
    units, count = len(first), stream_words(blocks)
    words = np.empty((count, units), dtype=np.uint64)
    terms = np.empty((len(_TIMES_0X87) + len(_CARRY), units), dtype=np.uint64)
    product, carry = terms[: len(_TIMES_0X87)], terms[len(_TIMES_0X87) :]
    words[-1] = first[:, 1]
    # Past the first window, the top bits that the first step pushes out are already in.
    product[0] = first[:, 0]
    np.right_shift(words[-1], _CARRY, out=product[1:])
    np.bitwise_xor.reduce(product, axis=0, out=words[-2])
    for at in range(count - 3, -1, -1):
        np.left_shift(words[at + 2], _TIMES_0X87, out=product)
        np.right_shift(words[at + 1], _CARRY, out=carry)
        np.bitwise_xor.reduce(terms, axis=0, out=words[at])
    bits = np.zeros(1 + units * count, dtype=np.uint64)
    np.copyto(bits[1:].reshape(units, count), words.T)
    return bits


class TweakExpander:
    """Views of the working memory for batches of one shape; belongs to one thread.

    Args:
        units: data units in a batch.
        blocks: 16-byte blocks in a data unit, a multiple of 8.
    """

    def __init__(self, units: int, blocks: int) -> None:
        windows, words = blocks // STREAMS, stream_words(blocks)
        # Expanders of one thread share memory: what they make is used before the next one runs.
        self._streams = scratch("tweak streams", STREAMS, units * words * 8).view(np.uint64)
        self._shifted_in = scratch("tweak shifts", STREAMS, units * words * 8).view(np.uint64)
        self._top = scratch("tweak tops", STREAMS, units, windows)
        self._terms = scratch("tweak terms", 4, *self._top.shape)
        self._byte0 = scratch("tweak byte 0", *self._top.shape)
        self._tweaks = scratch("tweaks", units, blocks * _TWEAK_BYTES).view(np.uint64)

        lowest, stride = 8 * (words - 2), self._streams.strides[0]
        run, streams, steps = f"V{windows}", (STREAMS, units), (stride, 8 * words)
        self._top_runs = self._top.view(run)[..., 0]
        self._term_runs = self._terms[3].view(run)[..., 0]
        self._stream_tops = np.ndarray(streams, run, self._streams.data, lowest + 16 - windows, steps)
        self._stream_lows = np.ndarray(streams, run, self._streams.data, lowest + 1 - windows, steps)
        shape = (units, windows, STREAMS)
        self._windows = np.ndarray(shape, "V16", self._streams.data, lowest, (8 * words, -1, stride))
        self._byte0_by_block = self._byte0[:, :, ::-1].transpose(1, 2, 0)
        self._blocks = self._tweaks.view("V16").reshape(shape)
        self._blocks_byte0 = self._tweaks.view(np.uint8).reshape(*shape, _TWEAK_BYTES)[..., 0]

    def expand(self, bits: U64Array) -> U64Array:
        """Tweaks of all blocks.

        Args:
            bits: what ``extend_streams`` returned, or a part of it that starts one word before a data unit.

        Returns:
            ``uint64[units, 2 * blocks]``, valid until the next call of any expander of this thread.
        """
        # What a data unit's lowest word takes in from its neighbour's highest lies below every window.
        np.left_shift(bits[1:], _UP, out=self._streams)
        np.right_shift(bits[:-1], _DOWN, out=self._shifted_in)
        np.bitwise_or(self._streams, self._shifted_in, out=self._streams)
        self._make_byte0()
        np.copyto(self._blocks, self._windows)
        np.copyto(self._blocks_byte0, self._byte0_by_block)
        return self._tweaks

    def _make_byte0(self) -> None:
        """Byte 0 of each window: the stream's byte, without the upper bits of top byte * 0x87."""
        np.copyto(self._top_runs, self._stream_tops)
        np.copyto(self._term_runs, self._stream_lows)
        np.right_shift(self._top, _BYTE_CARRY, out=self._terms[:3])
        np.bitwise_xor.reduce(self._terms, axis=0, out=self._byte0)
