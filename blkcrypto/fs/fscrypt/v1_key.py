"""Master keys of v1 policies.

Rules (fs/crypto/keysetup_v1.c; reference fscrypt.md section 2.2):

- A file's key is the master key, encrypted with AES-128-ECB under the file's nonce; bytes past the mode's
  key size are ignored, and a key shorter than that does not work.
- Under DIRECT_KEY the master key itself is the key, one object per mode.
- The descriptor is chosen by user space and proves nothing: a wrong key goes unnoticed.
"""

from collections.abc import Callable

from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.fs.fscrypt.policy import DESCRIPTOR_BYTES


class MasterKeyV1:
    """A master key named by a descriptor.

    Attributes:
        raw: the key's bytes, which v1 has to keep.
        descriptor: 8 bytes.
        derivations: file keys derived so far.
    """

    __slots__ = ("_shared", "derivations", "descriptor", "raw")

    key_type = KeyType.RAW

    def __init__(self, raw: bytes, descriptor: bytes) -> None:
        if len(descriptor) != DESCRIPTOR_BYTES:
            raise ValueError(f"a key descriptor has {DESCRIPTOR_BYTES} bytes, not {len(descriptor)}")
        self.raw = raw
        self.descriptor = descriptor
        self.derivations = 0
        self._shared: dict[tuple[object, ...], BlkCryptoKey] = {}

    def __repr__(self) -> str:
        return f"<MasterKeyV1 {self.descriptor.hex()}>"

    @property
    def size(self) -> int:
        """Bytes of the raw key."""
        return len(self.raw)

    def shared_key(self, identity: tuple[object, ...], prepare: Callable[[], BlkCryptoKey]) -> BlkCryptoKey:
        """The one key object of ``identity``: Linux's table of direct keys."""
        key = self._shared.get(identity)
        if key is None:
            key = self._shared[identity] = prepare()
        return key

    def wipe_secret(self) -> None:
        """Forget the raw key; keys already made stay until ``drop_shared_keys``."""
        self.raw = b""

    def put_back(self, again: object) -> None:
        """The key was added again while files still used it.

        A descriptor proves nothing: ``again`` may be another key, which files unlocked from now on use.
        """
        if not isinstance(again, MasterKeyV1) or again.descriptor != self.descriptor:
            raise ValueError("only a key of the same descriptor can be put back")
        self.raw = again.raw

    def drop_shared_keys(self) -> tuple[BlkCryptoKey, ...]:
        """Forget direct keys; returns them, and every device must then evict them."""
        keys = self.shared_keys
        self._shared.clear()
        return keys

    @property
    def shared_keys(self) -> tuple[BlkCryptoKey, ...]:
        """Direct keys made so far, oldest first."""
        return tuple(self._shared.values())
