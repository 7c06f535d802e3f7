"""What a filesystem does with the bios of encrypted files.

Rules (fs/crypto/inline_crypt.c; reference fscrypt.md section 3.6):

- A bio of encrypted contents gets its context right after allocation: key, and DUN of its first byte.
- Before adding a part, the filesystem asks whether it continues the bio: the same key object, and the next
  DUN without wrap.  Files under a shared key may merge when their DUNs happen to follow.
- Moving ciphertext (f2fs garbage collection) uses no context, and merges with nothing that has one.
"""

from blkcrypto.block.crypt_ctx import BioCryptCtx, mergeable
from blkcrypto.fs.fscrypt.keysetup import KeySetup


def crypt_ctx(setup: KeySetup, ino: int, nonce: bytes, pos: int) -> BioCryptCtx:
    """Context of a bio that begins at byte ``pos`` of a file: ``fscrypt_set_bio_crypt_ctx()``.

    Args:
        setup: of the file's policy.
        ino: inode number.
        nonce: the inode's 16 bytes.
        pos: offset in the file, a multiple of the data unit size.
    """
    key = setup.contents_key(ino, nonce)
    return BioCryptCtx(key, setup.first_dun(ino, nonce, pos >> setup.data_unit_bits))


def mergeable_bio(bio_ctx: BioCryptCtx | None, bio_bytes: int, wanted: BioCryptCtx | None) -> bool:
    """Whether what ``wanted`` begins may be added to a bio: ``fscrypt_mergeable_bio()``.

    Args:
        bio_ctx: context of the bio's first byte; None for a bio without encryption.
        bio_bytes: what the bio holds already.
        wanted: ``crypt_ctx`` of the part to add; None for an unencrypted file, or ciphertext that moves.
    """
    return mergeable(bio_ctx, bio_bytes, wanted)
