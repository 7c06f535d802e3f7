"""Working memory that is kept between calls: fresh memory costs a page fault for every 4 KiB.

Each thread has its own.  A buffer holds plaintext, ciphertext or tweaks of the last batch until it is used
again, never a key.
"""

import math
import threading

import numpy as np

from blkcrypto.crypto.buffers import U8Array


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.by_name: dict[str, U8Array] = {}


_buffers = _Buffers()


def scratch(name: str, *shape: int) -> U8Array:
    """``uint8[shape]``, C-contiguous and word-aligned, with anything in it.

    Args:
        name: a second call with the same name in the same thread gives the same memory.
    """
    nbytes = math.prod(shape)
    buffer = _buffers.by_name.get(name)
    if buffer is None or buffer.size < nbytes:
        buffer = _buffers.by_name[name] = np.empty(nbytes, dtype=np.uint8)
    return buffer[:nbytes].reshape(shape)
