"""Whoever lets a cipher go wipes it first: the key's bytes do not wait for the garbage collector."""

from collections.abc import Iterable

import numpy as np
import pytest

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.crypto.blockcipher import KeyWiped
from blkcrypto.crypto.cipher import DataUnitCipher
from blkcrypto.crypto.dmcrypt import DmCipher
from blkcrypto.fs.dm_table import DmInlinecrypt, parse_table
from blkcrypto.fs.store import SoftwareStore
from tests.fscrypt_world import INO
from tests.small_world import Watched
from tests.test_design_inline_data import World
from tests.test_file_bios import FS_LAYER

UNIT = np.zeros((1, 4096), np.uint8)
KEY = bytes(range(64)).hex()


def is_wiped(cipher: DataUnitCipher) -> bool:
    try:
        cipher.encrypt_run(0, UNIT)
    except KeyWiped:
        return True
    return False


def in_use(ciphers: Iterable[DataUnitCipher]) -> DataUnitCipher:
    """The only cipher there is."""
    (cipher,) = ciphers
    assert not is_wiped(cipher)
    return cipher


def with_a_file(world: Watched) -> Watched:
    file = world.open()
    file.write(0, b"x")
    file.fsync()
    return world


def test_a_drive_wipes_the_cipher_of_a_slot_that_is_evicted() -> None:
    world = with_a_file(Watched())
    cipher = in_use(world.device.drive._slots.values())
    world.mount.unmount()
    assert is_wiped(cipher)


def test_a_filesystem_that_encrypts_itself_wipes_the_cipher_of_a_key_that_goes() -> None:
    world = with_a_file(Watched(FS_LAYER))
    cipher = in_use(world.mount.blocks.contents._ciphers.values())
    world.mount.unmount()
    assert is_wiped(cipher)


def test_a_region_s_cipher_is_wiped_when_its_inode_leaves_the_cache() -> None:
    world = World("A2")
    world.mount.close(world.written())
    cipher = in_use(world.mount.region._ciphers.values())
    world.mount.evict_unlocked([INO])
    assert is_wiped(cipher)


def test_a_store_wipes_the_cipher_of_an_evicted_key() -> None:
    target = DmInlinecrypt(parse_table(f"0 2048 inlinecrypt aes-xts-plain64 {KEY} 0 8:0 0"))
    store = SoftwareStore(4096)
    store.write(BioCryptCtx(target.key, 0), 0, bytes(4096))
    cipher = in_use(store._ciphers.values())
    store.evict_key(target.key)
    assert (is_wiped(cipher), store.keys_held, store.evicted) == (True, frozenset(), [target.key])


def test_a_dm_cipher_wipes_what_encrypts_its_ivs_too() -> None:
    cipher = DmCipher("aes-cbc-eboiv", bytes(range(32)), sector_size=512)
    generator = cipher._eboiv
    assert generator is not None
    assert generator(np.zeros(1, np.uint64), 16).shape == (1, 16)
    cipher.wipe()
    with pytest.raises(KeyWiped):
        generator(np.zeros(1, np.uint64), 16)
