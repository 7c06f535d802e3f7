"""The table of reference fscrypt.md section 6.5, row by row: the lowest context each operation is allowed in.

The last row is not in that table: a filesystem decrypts in a worker, but nothing in it needs one.
"""

LOWEST = {
    "crypto_alloc_skcipher": "KERNEL",
    "blk_crypto_start_using_key, first use of the mode": "KERNEL",
    "blk_crypto_start_using_key, mode in use": "NOIO",
    "blk_crypto_init_key": "ATOMIC",
    "kmalloc of a key object": "KERNEL",
    "HKDF-Expand": "NOIO",
    "crypto_skcipher_setkey": "NOIO",
    "take a transform from its pool": "NOIO",
    "take a key object from its pool": "NOIO",
    "blk_crypto_get_keyslot": "NOIO",
    "blk_crypto_evict_key": "NOIO",
    "master-key semaphore": "KERNEL",
    "encrypt or decrypt on the CPU": "ATOMIC",
}
ORDER = ["ATOMIC", "NOIO", "NOFS", "KERNEL"]


def allowed(name: str, ctx: str) -> bool:
    """Whether the table allows ``name`` in ``ctx``, without a memalloc scope."""
    return ORDER.index(ctx) >= ORDER.index(LOWEST[name])
