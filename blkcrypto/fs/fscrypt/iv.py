"""IVs and DUNs of file contents.

The IV of a data unit is 32 little-endian bytes, of which a mode uses the first ``iv_bytes``; the DUN is
the same number.  ``index`` is the data unit's index in its file.

=================  ==============================  ==================  =========
scheme             bytes 0 to 7                    bytes 8 to 23       dun_bytes
=================  ==============================  ==================  =========
per-file key       index                           0                   by s_maxbytes
DIRECT_KEY         index                           file nonce          24
IV_INO_LBLK_64     index | inode number << 32      0                   8
IV_INO_LBLK_32     (hashed ino + index) % 2**32    0                   4
=================  ==============================  ==================  =========

Sources: ``fscrypt_generate_iv()``, fs/crypto/crypto.c; ``fscrypt_get_dun_bytes()``, fs/crypto/inline_crypt.c;
reference fscrypt.md sections 3.1, 3.7.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.policy import IvScheme

_U32: Final = (1 << 32) - 1
_NONCE_SHIFT: Final = 64
_DUN_BYTES: Final = {IvScheme.DIRECT_KEY: 24, IvScheme.IV_INO_LBLK_64: 8, IvScheme.IV_INO_LBLK_32: 4}


def max_file_dun_bits(fs: FileSystem, data_unit_bits: int) -> int:
    """Bits that the data unit index of the largest file needs: ``fscrypt_max_file_dun_bits()``."""
    return (fs.s_maxbytes - 1).bit_length() - data_unit_bits


def dun_bytes(scheme: IvScheme, fs: FileSystem, data_unit_bits: int) -> int:
    """Bytes of DUN a key promises to need: what ``blk_crypto_config.dun_bytes`` is set to."""
    if scheme is IvScheme.PER_FILE_KEY:
        return -(-max_file_dun_bits(fs, data_unit_bits) // 8)
    return _DUN_BYTES[scheme]


def first_dun(scheme: IvScheme, index: int, *, ino: int = 0, hashed_ino: int = 0, nonce: bytes = b"") -> int:
    """DUN of data unit ``index``; ``ino``, ``hashed_ino`` and ``nonce`` matter to the schemes that use them.

    Raises:
        ValueError: IV_INO_LBLK_64 with an index or inode number past 32 bits; a supported policy has none.
    """
    if scheme is IvScheme.PER_FILE_KEY:
        return index
    if scheme is IvScheme.IV_INO_LBLK_64:
        if index > _U32 or ino > _U32:
            raise ValueError(f"IV_INO_LBLK_64 has 32 bits each for index {index} and inode {ino}")
        return index | ino << 32
    if scheme is IvScheme.IV_INO_LBLK_32:
        return (hashed_ino + index) & _U32
    return index | int.from_bytes(nonce, "little") << _NONCE_SHIFT


def low_limbs(
    scheme: IvScheme,
    indices: npt.NDArray[np.int64],
    *,
    inos: npt.NDArray[np.int64],
    hashed_inos: npt.NDArray[np.uint64] | None = None,
) -> npt.NDArray[np.uint64]:
    """Lowest 64 bits of many DUNs.

    Args:
        scheme: of the policy.
        indices: data unit index of each, ``int64[n]``.
        inos: inode number of each, ``int64[n]`` or one that broadcasts.
        hashed_inos: for IV_INO_LBLK_32, ``uint64[n]`` below 2**32.

    Returns:
        ``uint64[n]``.  The higher limbs are 0, except for DIRECT_KEY, where they hold the file's nonce.
    """
    index = indices.astype(np.uint64)
    if scheme is IvScheme.IV_INO_LBLK_64:
        return index | inos.astype(np.uint64) << np.uint64(32)
    if scheme is IvScheme.IV_INO_LBLK_32:
        if hashed_inos is None:
            raise ValueError("IV_INO_LBLK_32 needs the hashed inode numbers")
        return (hashed_inos + index) & np.uint64(_U32)
    return index


def ivs_from_low_limbs(
    limbs: npt.NDArray[np.uint64], *, nonce: bytes = b"", iv_bytes: int
) -> npt.NDArray[np.uint8]:
    """IVs of data units of one file, whose DUNs need not be consecutive.

    Args:
        limbs: lowest limb of each DUN, ``uint64[n]``.
        nonce: the file's nonce under DIRECT_KEY, else empty.
        iv_bytes: IV size of the mode, at least 8.

    Returns:
        ``uint8[n, iv_bytes]``, C-contiguous.
    """
    ivs = np.zeros((len(limbs), iv_bytes), dtype=np.uint8)
    ivs[:, :8] = limbs.astype("<u8").view(np.uint8).reshape(-1, 8)
    if nonce:
        ivs[:, 8 : 8 + len(nonce)] = np.frombuffer(nonce, dtype=np.uint8)
    return ivs


def limit_io_blocks(scheme: IvScheme, hashed_ino: int, lblk: int, nr_blocks: int) -> int:
    """How many of ``nr_blocks`` from ``lblk`` one bio may hold: an IV_INO_LBLK_32 bio never crosses the wrap.

    The block layer would go on to DUN 2**32 where the filesystem wants 0.

    Source: ``fscrypt_limit_io_blocks()``, fs/crypto/inline_crypt.c.
    """
    if scheme is not IvScheme.IV_INO_LBLK_32 or nr_blocks <= 1:
        return nr_blocks
    return min(nr_blocks, (1 << 32) - ((hashed_ino + lblk) & _U32))
