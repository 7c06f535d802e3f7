"""The encryption context of a bio: a key and the DUN of its first byte.

Rules (block/blk-crypto.c; reference block-layer.md sections 2.3, 3.5 and 3.8 to 3.10):

- A context comes from a pool of 128 and goes back when its bio is freed, merged or taken by the
  read fallback.
- Attaching one checks nothing: not the DUN's range, not whether the key is supported.
- Advancing counts whole data units; the rest of the bytes is dropped.
- Compatible means: the same key *object*, or no context on both sides.  Mergeable means: compatible,
  and the second DUN is exactly the one after the first run, without wrapping past 2**256.
"""

from dataclasses import dataclass

from blkcrypto.base import dun as dun_math
from blkcrypto.block.key import BlkCryptoKey


@dataclass(slots=True, eq=False)
class BioCryptCtx:
    """``struct bio_crypt_ctx``.

    Attributes:
        key: what to encrypt with.
        dun: of the first byte that is left.
        owner: who took it from the pool.
    """

    key: BlkCryptoKey
    dun: int
    owner: str = ""

    def advance(self, nbytes: int) -> None:
        """Move ``nbytes`` on; less than a data unit does not move the DUN."""
        self.dun = dun_math.advance(self.dun, nbytes, self.key.data_unit_size_bits)

    def copy(self, owner: str = "") -> "BioCryptCtx":
        """The same key and DUN in another object."""
        return BioCryptCtx(self.key, self.dun, owner)


def compatible(first: BioCryptCtx | None, second: BioCryptCtx | None) -> bool:
    """Whether two runs of I/O may share a request: ``bio_crypt_ctx_compatible()``."""
    if first is None or second is None:
        return first is second
    return first.key is second.key


def mergeable(first: BioCryptCtx | None, first_bytes: int, second: BioCryptCtx | None) -> bool:
    """Whether ``second`` continues ``first_bytes`` bytes of ``first``: ``bio_crypt_ctx_mergeable()``."""
    if not compatible(first, second):
        return False
    if first is None or second is None:
        return True
    units = first_bytes >> first.key.data_unit_size_bits
    return dun_math.is_contiguous(first.dun, units, second.dun)
