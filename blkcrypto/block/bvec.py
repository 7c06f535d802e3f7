"""Memory of a bio: vectors of it, and an iterator that only ever moves.

A vector is a run of physically contiguous memory.  Its address matters to the block layer only modulo
the page and for contiguity; its bytes matter only to ciphers, so a model without payload leaves them out.

Rules (include/linux/bvec.h, block/bio.c; reference block-layer.md sections 3.10 and 4.4):

- Splitting, cloning and advancing never touch the vectors, only the iterator.
- A copy of the iterator stays valid: the read fallback decrypts over the copy it took at submission.
- A single-page segment ends at a page boundary; a multi-page vector ends where the vector ends.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT

U8: TypeAlias = npt.NDArray[np.uint8]
PAGE_BYTES: Final = 4096
"""Page size where nothing else is said; kernels exist with 4, 16 and 64 KiB."""
BIO_MAX_VECS: Final = 256


class BioVec(NamedTuple):
    """``struct bio_vec``.

    Attributes:
        address: physical address of the first byte; its low bits are the offset in the page.
        length: bytes, at least 1.
        data: ``uint8[length]``, a view of the memory; None in a model without payload.
    """

    address: int
    length: int
    data: U8 | None = None

    def part(self, offset: int, length: int) -> "BioVec":
        """``length`` bytes from ``offset`` on, sharing the memory."""
        if not offset and length == self.length:
            return self
        data = None if self.data is None else self.data[offset : offset + length]
        return BioVec(self.address + offset, length, data)


class BvecIter(NamedTuple):
    """``struct bvec_iter``: where a bio stands.

    Attributes:
        sector: on the device, in 512-byte sectors.
        size: bytes left.
        vec: index of the vector it stands in.
        done: bytes of that vector already passed.
    """

    sector: int
    size: int
    vec: int = 0
    done: int = 0


def advance(vecs: Sequence[BioVec], at: BvecIter, nbytes: int) -> BvecIter:
    """The iterator ``nbytes`` further on.  A bio without vectors (discard) moves only sector and size."""
    if nbytes > at.size:
        raise ValueError(f"advancing by {nbytes} bytes, but only {at.size} are left")
    index, done = at.vec, at.done + nbytes
    while index < len(vecs) and done >= vecs[index].length:
        done -= vecs[index].length
        index += 1
    return BvecIter(at.sector + (nbytes >> SECTOR_SHIFT), at.size - nbytes, index, done if vecs else 0)


def bvecs(vecs: Sequence[BioVec], at: BvecIter) -> Iterator[BioVec]:
    """Multi-page vectors still ahead: ``bio_for_each_bvec()``."""
    left, done = at.size, at.done
    for index in range(at.vec, len(vecs)):
        if not left:
            return
        vec = vecs[index]
        length = min(vec.length - done, left)
        yield vec.part(done, length)
        left -= length
        done = 0


def segments(vecs: Sequence[BioVec], at: BvecIter, page_bytes: int = PAGE_BYTES) -> Iterator[BioVec]:
    """The same memory cut at page boundaries: ``bio_for_each_segment()``."""
    if len(vecs) == 1 and not at.done and at.size == vecs[0].length:  # most bios
        vec = vecs[0]
        if vec.address % page_bytes + vec.length <= page_bytes:
            yield vec
            return
    for vec in bvecs(vecs, at):
        offset = 0
        while offset < vec.length:
            length = min(page_bytes - (vec.address + offset) % page_bytes, vec.length - offset)
            yield vec.part(offset, length)
            offset += length
