"""The master key as extents see it: one derivation, of the proposed context 9.

Source: the btrfs series (posted, not merged); reference fscrypt.md sections 2.1, 6.1.
"""

from typing import Final

from blkcrypto.fs.fscrypt.master_key import HkdfContext, MasterKey

EXTENT_NONCE_BYTES: Final = 16


class ExtentMasterKey:
    """A raw master key that extents derive from.

    Attributes:
        identifier: 16 bytes.
        derivations: per-extent keys derived so far.
    """

    def __init__(self, raw: bytes) -> None:
        self._key = MasterKey.from_raw(raw)
        self.identifier = self._key.identifier
        self.derivations = 0

    def extent_key(self, nonce: bytes, length: int) -> bytes:
        """Key of the extent with ``nonce``.

        Raises:
            SecretWiped: the master key was removed (ENOKEY).
        """
        key = self._key.derive(HkdfContext.PER_EXTENT_ENC_KEY, nonce, length)
        self.derivations += 1
        return key

    def wipe_secret(self) -> None:
        """Forget what derives keys."""
        self._key.wipe_secret()
