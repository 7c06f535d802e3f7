"""Master keys of a filesystem with extents: when the secret goes, and what holds a key back.

Rules (reference fscrypt.md sections 5, 6.1):

- Lightweight and nonce-only: the secret stays until the last unlocked inode goes, so open files can still
  make and load extents; users see what they see with per-file keys.
- Heavyweight: the secret goes at once, as with inodes; every loaded extent is on the key's list and holds it.
  So the filesystem writes back before removal, and is asked to forget extents after it.
- IV-from-filesystem: the secret goes at once; the one contents key stays until the last unlocked inode goes.
"""

from collections.abc import Callable

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.key_entry import MasterKeyEntry
from blkcrypto.fs.fscrypt.keyring import FsKeyring, InodeHost


class ExtentKeyring(FsKeyring):
    """A filesystem's keyring; with ``keeps_secret`` removal wipes when the last active reference goes."""

    def __init__(
        self,
        fs: FileSystem,
        host: InodeHost,
        *,
        evict_key: Callable[[BlkCryptoKey], None],
        keeps_secret: bool,
    ) -> None:
        super().__init__(fs, host, evict_key=evict_key)
        self._keeps_secret = keeps_secret

    def _initiate_removal(self, entry: MasterKeyEntry) -> None:
        entry.present = False
        if not self._keeps_secret:
            entry.secret.wipe_secret()
        if not entry.active_refs:
            self._retire(entry)

    def _retire(self, entry: MasterKeyEntry) -> None:
        entry.secret.wipe_secret()
        super()._retire(entry)
