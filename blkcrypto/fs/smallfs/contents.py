"""Contents that the filesystem encrypts itself, page by page, before and after its bios.

Rules (``fscrypt_encrypt_pagecache_blocks()``, ``fscrypt_decrypt_pagecache_blocks()``, fs/crypto/crypto.c, up
to 7.2; reference fscrypt.md sections 0, 3.5):

- The same key and the same IVs as blk-crypto would use, so the same ciphertext.
- Writes go out from bounce pages; reads are decrypted where they came in.
- The cipher belongs to the key, and goes when the key does.
"""

from collections.abc import Iterator, Sequence

from blkcrypto.block.bvec import U8
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.modes import MODES
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.fs.smallfs.bios import BioBuilder, consecutive
from blkcrypto.fs.smallfs.incore import Incore


class FsLayerContents:
    """The contents ciphers of one filesystem.

    Args:
        bios: knows key and DUN of a block.
        block_size: of the filesystem.
    """

    def __init__(self, bios: BioBuilder, block_size: int) -> None:
        self._bios = bios
        self._size = block_size
        self._ciphers: dict[BlkCryptoKey, DataUnitCipher] = {}

    def encrypted(self, inode: Incore, lblks: Sequence[int], data: U8) -> U8:
        """Bounce pages with the ciphertext of blocks ``lblks``."""
        bounce = data.copy()
        self._crypt(inode, lblks, bounce, encrypt=True)
        return bounce

    def decrypt(self, inode: Incore, lblks: Sequence[int], data: U8) -> None:
        """Decrypt blocks ``lblks`` in place."""
        self._crypt(inode, lblks, data, encrypt=False)

    def forget(self, key: BlkCryptoKey) -> None:
        """Wipe the cipher of a key that goes."""
        cipher = self._ciphers.pop(key, None)
        if cipher is not None:
            cipher.wipe()

    @property
    def keys_held(self) -> frozenset[BlkCryptoKey]:
        """Keys whose ciphers are set up."""
        return frozenset(self._ciphers)

    def _crypt(self, inode: Incore, lblks: Sequence[int], data: U8, *, encrypt: bool) -> None:
        for part in _runs(inode, lblks):
            ctx = self._bios.file_ctx(inode, lblks[part.start])
            assert ctx is not None, "only an encrypted file comes here"
            units = data[part.start * self._size : part.stop * self._size]
            units = units.reshape(-1, ctx.key.crypto_cfg.data_unit_size)
            cipher = self._cipher(ctx.key)
            units[:] = (cipher.encrypt_run if encrypt else cipher.decrypt_run)(ctx.dun, units)

    def _cipher(self, key: BlkCryptoKey) -> DataUnitCipher:
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = new_cipher(MODES[key.crypto_cfg.crypto_mode].name, key.raw)
        return cipher


def _runs(inode: Incore, lblks: Sequence[int]) -> Iterator[range]:
    """Index ranges of blocks whose DUNs follow each other."""
    assert inode.info is not None
    assert inode.info.setup is not None
    start = 0
    while start < len(lblks):
        count = consecutive(lblks, start)
        count = inode.info.setup.limit_io_blocks(inode.disk.ino, lblks[start], count)
        yield range(start, start + count)
        start += count
