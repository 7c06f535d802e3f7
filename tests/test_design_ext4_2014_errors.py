"""The 2014 draft: what is malformed, full or not there."""

import errno
import hmac
from collections.abc import Callable

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.ext4_2014 import packet
from blkcrypto.fs.ext4_2014.fsck import fsck
from blkcrypto.fs.ext4_2014.layout import BLOCK_BYTES, Inode, Layout, LayoutInvalid, mkfs
from blkcrypto.fs.ext4_2014.packet import UserKey
from blkcrypto.fs.ext4_2014.volume import MAX_USERS, Volume
from tests.oracle import design_ext4_2014 as oracle

ALICE = UserKey("0123456789abcdef", bytes(range(64)))
BOB = UserKey("b0b" + "0" * 13, bytes(range(64, 128)))
NONCE, IV, DATA_KEY = bytes(12), bytes(16), bytes(range(64))


def new_volume(blocks: int = 64, inodes: int = 32) -> Volume:
    volume = Volume(mkfs(blocks, inodes), np.random.default_rng(5))
    volume.keyring = {ALICE.signature: ALICE}
    return volume


def wrapped(user: UserKey = ALICE) -> bytes:
    return packet.wrap(DATA_KEY, user, nonce=NONCE, iv=IV)


def users(count: int) -> list[UserKey]:
    return [UserKey(f"{number:016x}", bytes(64)) for number in range(count)]


def fill(volume: Volume) -> None:
    for number in range(1000):
        volume.create(f"file {number}", [ALICE])


CASES: dict[str, tuple[int, Callable[[], object]]] = {
    "a packet that is cut off": (errno.EINVAL, lambda: packet.unwrap(wrapped()[:-1], ALICE)),
    "two packets of one user": (errno.EINVAL, lambda: packet.parse_root(packet.build_root([wrapped()] * 2))),
    "a root of half a packet": (errno.EINVAL, lambda: packet.parse_root(packet.build_root([b"x"]))),
    "a name twice": (
        errno.EEXIST,
        lambda: (v := new_volume(), v.create("f", [ALICE]), v.create("f", [ALICE])),
    ),
    "no such file": (errno.ENOENT, lambda: new_volume().open("f")),
    "more users than fit": (errno.ENOSPC, lambda: new_volume().create("f", users(MAX_USERS + 1))),
    "no free inode": (errno.ENOSPC, lambda: fill(new_volume(blocks=4096, inodes=32))),
    "no free block": (errno.ENOSPC, lambda: fill(new_volume(blocks=16, inodes=32))),
    "a user that has no packet": (errno.ENOENT, lambda: revoked(BOB)),
    "the last user": (errno.EINVAL, lambda: revoked(ALICE)),
    "past the last block": (errno.EFBIG, lambda: new_volume().create("f", [ALICE]).write(1 << 40, b"x")),
}


def revoked(user: UserKey) -> None:
    volume = new_volume()
    volume.create("f", [ALICE])
    volume.revoke_user("f", user.signature)


@pytest.mark.parametrize("case", CASES)
def test_the_cause_has_its_errno(case: str) -> None:
    number, call = CASES[case]
    with pytest.raises(BlkCryptoError) as caught:
        call()
    assert caught.value.errno == number


@pytest.mark.parametrize(
    ("at", "number"), [(54, errno.EOPNOTSUPP), (134, errno.EINVAL)], ids=["mode", "key size"]
)
def test_a_payload_of_another_mode_or_key_size_is_refused_though_its_mac_fits(at: int, number: int) -> None:
    """Bytes 51 to 134 are the payload in counter mode: a bit flipped there is flipped in the clear.  The mode
    is its first four bytes, the key's size its last four.
    """
    made = bytearray(wrapped())
    made[at] ^= 2
    _, integrity = oracle.keys(ALICE.key, NONCE)
    made[135:] = hmac.digest(integrity, bytes(made[:34]) + b"i" + bytes(made[35:135]), "sha1")[:12]
    with pytest.raises(BlkCryptoError) as caught:
        packet.unwrap(bytes(made), ALICE)
    assert caught.value.errno == number


@pytest.mark.parametrize(
    ("signature", "key"), [("0" * 16, bytes(63)), ("0" * 15, bytes(64)), ("X" * 16, bytes(64))]
)
def test_a_user_key_has_a_signature_of_hex_digits_and_64_bytes(signature: str, key: bytes) -> None:
    with pytest.raises(ValueError, match=r"a (wrapping key|signature) has"):
        UserKey(signature, key)


def test_a_user_key_does_not_show_its_bytes() -> None:
    assert ALICE.key.hex() not in repr(ALICE)
    assert ALICE.signature in repr(ALICE)


def test_a_file_is_for_somebody() -> None:
    with pytest.raises(ValueError, match="at least one user"):
        new_volume().create("f", [])


@pytest.mark.parametrize(("blocks", "inodes"), [(3, 32), (40_000, 32)])
def test_a_medium_holds_its_tables_and_fits_its_bitmap(blocks: int, inodes: int) -> None:
    with pytest.raises(ValueError, match="blocks do not fit"):
        mkfs(blocks, inodes)


def test_a_medium_of_another_kind_is_refused() -> None:
    medium = mkfs(64, 32)
    for damaged in (bytes(len(medium)), medium[:-BLOCK_BYTES]):
        with pytest.raises(LayoutInvalid):
            Layout(bytearray(damaged))
    at = bytes(medium).index((32).to_bytes(4, "little"))  # inodes: the table would have another size
    medium[at : at + 4] = (4096).to_bytes(4, "little")
    with pytest.raises(LayoutInvalid, match="inode table"):
        Layout(medium)


def test_there_is_no_inode_past_the_table_and_none_without_a_root() -> None:
    layout = Layout(mkfs(64, 32))
    with pytest.raises(LayoutInvalid, match="no inode 32"):
        layout.load(32)
    layout.free_inode(0)
    with pytest.raises(LayoutInvalid, match="no root"):
        layout.entries()


def test_a_root_directory_may_have_more_than_one_block() -> None:
    """A name of 200 bytes takes 205: 19 of them fit a block of 4096 bytes, and 25 take two."""
    volume = new_volume()
    names = [f"{number:02}" + "n" * 198 for number in range(25)]
    for name in names:
        volume.create(name, [ALICE])
    assert volume.names() == names
    root = volume.layout.load(0)
    assert root is not None
    assert len(list(filter(None, root.blocks))) == 2
    assert fsck(volume.layout.medium) == []


def test_fsck_names_an_xattr_and_a_block_that_are_past_the_end() -> None:
    volume = new_volume()
    volume.create("f", [ALICE]).write(0, b"x")
    inode = volume.stat("f")
    inode.blocks[3] = 70
    volume.layout.store(inode)
    assert fsck(volume.layout.medium) == ["block 70 is past the end"]
    volume.layout.store(Inode(inode.ino, xattr_block=70))
    assert any(f"inode {inode.ino} has no readable xattr" in line for line in fsck(volume.layout.medium))
