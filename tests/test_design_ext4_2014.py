"""The 2014 draft: one file, many users, and what works without any key."""

import contextlib
import errno

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.ext4_2014 import packet
from blkcrypto.fs.ext4_2014.designs import DESIGNS, on_disk_bytes_per_file
from blkcrypto.fs.ext4_2014.fsck import fsck
from blkcrypto.fs.ext4_2014.layout import BLOCK_BYTES, INODE_BYTES, LayoutInvalid, mkfs
from blkcrypto.fs.ext4_2014.packet import UserKey
from blkcrypto.fs.ext4_2014.volume import MAX_USERS, WRITE_PATH, Volume
from blkcrypto.fs.keysetup_io.progress import obstacle
from tests.oracle import design_ext4_2014 as oracle

SIGNATURE = "0123456789abcdef"
ALICE = UserKey(SIGNATURE, bytes(range(0x40)))
BOB = UserKey("b0b" + "0" * 13, bytes(range(0x80, 0xC0)))
CAROL = UserKey("ca401" + "0" * 11, bytes(range(0xC0, 0x100)))
NONCE, IV = bytes(range(0x10, 0x1C)), bytes(range(0x20, 0x30))
DATA_KEY = bytes(range(0x40, 0x80))
SECRET = b"the quick brown fox" * 500


def new_volume(*users: UserKey, blocks: int = 64) -> Volume:
    volume = Volume(mkfs(blocks, 32), np.random.default_rng(5))
    volume.keyring = {user.signature: user for user in users}
    return volume


def with_file(*users: UserKey) -> Volume:
    volume = new_volume(*users)
    volume.create("f", users).write(0, SECRET)
    return volume


def mounted(medium: bytes | bytearray, *users: UserKey) -> Volume:
    volume = Volume(bytearray(medium), np.random.default_rng(6))
    volume.keyring = {user.signature: user for user in users}
    return volume


def test_known_answer_of_a_wrapped_packet() -> None:
    """Reference fscrypt.md section 8.1."""
    made = packet.wrap(DATA_KEY, ALICE, nonce=NONCE, iv=IV)
    assert made[135:].hex() == "66c10bd327ef5edf58ca10d6"
    enc, integrity = oracle.keys(ALICE.key, NONCE)
    assert enc.hex() == "78d07c29ef4328b98927bd8d90a2cd6867d371998c55f46640f535c926abfbe2"
    assert integrity.hex() == "8755fd3633f278aa604df7b3"


@given(
    data_key=st.binary(min_size=64, max_size=64),
    wrapping=st.binary(min_size=64, max_size=64),
    nonce=st.binary(min_size=12, max_size=12),
    iv=st.binary(min_size=16, max_size=16),
)
def test_packets_are_what_the_oracle_builds_and_unwrap(
    data_key: bytes, wrapping: bytes, nonce: bytes, iv: bytes
) -> None:
    user = UserKey(SIGNATURE, wrapping)
    made = packet.wrap(data_key, user, nonce=nonce, iv=iv)
    assert made == oracle.packet(data_key, wrapping, SIGNATURE, nonce, iv)
    assert packet.unwrap(made, user) == data_key


@pytest.mark.parametrize(("users", "size"), [(1, 152), (2, 299), (3, 446), (27, 3974)])
def test_xattr_bytes_for_n_users(users: int, size: int) -> None:
    made = [UserKey(f"{number:016x}", bytes([number]) + bytes(range(63))) for number in range(users)]
    volume = new_volume()
    inode = volume.create("f", made).inode
    assert (inode.xattr_bytes, on_disk_bytes_per_file(users)) == (size, size)


def test_27_users_fill_an_xattr_block_and_the_28th_is_enospc() -> None:
    made = [UserKey(f"{number:016x}", bytes([number]) + bytes(range(63))) for number in range(28)]
    volume = new_volume(made[0])
    volume.create("f", made[:27])
    with pytest.raises(BlkCryptoError, match="ENOSPC"):
        volume.add_user("f", made[27])
    assert (MAX_USERS, fsck(volume.layout.medium)) == (27, [])


def test_not_even_one_users_packet_fits_the_256_byte_inode_beside_its_fixed_part() -> None:
    assert on_disk_bytes_per_file(1) > INODE_BYTES - 128 - 32  # ext4: 128 bytes and an i_extra_isize of 32


def test_contents_on_the_medium_are_what_the_oracle_says() -> None:
    volume = with_file(ALICE)
    inode = volume.stat("f")
    key = oracle.data_key(volume.root_packet(inode), ALICE.key, SIGNATURE)
    padded = SECRET.ljust(3 * BLOCK_BYTES, b"\0")
    for index in range(3):
        plain = padded[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        assert bytes(volume.layout.block(inode.blocks[index])) == oracle.page(key, index, plain)


@pytest.mark.parametrize("user", [ALICE, BOB, CAROL])
def test_i29_any_one_of_the_users_reads_the_file_after_a_remount(user: UserKey) -> None:
    medium = with_file(ALICE, BOB, CAROL).layout.medium
    assert mounted(medium, user).open("f").read() == SECRET


def test_i29_without_a_key_opening_is_enoent_and_the_rest_works() -> None:
    volume = mounted(with_file(ALICE).layout.medium, BOB)
    with pytest.raises(BlkCryptoError) as caught:
        volume.open("f")
    assert caught.value.errno == errno.ENOENT
    assert (volume.names(), volume.stat("f").size) == (["f"], len(SECRET))


def test_i29_deleting_needs_no_key_and_frees_everything() -> None:
    volume = mounted(with_file(ALICE).layout.medium)
    volume.delete("f")
    assert (volume.names(), fsck(volume.layout.medium)) == ([], [])
    volume.keyring = {ALICE.signature: ALICE}
    volume.create("big", [ALICE]).write(0, bytes(50 * BLOCK_BYTES))
    assert fsck(volume.layout.medium) == []


def test_deleting_leaves_the_ciphertext_and_packets_on_the_medium() -> None:
    volume = with_file(ALICE)
    root = volume.root_packet(volume.stat("f"))
    volume.delete("f")
    assert root in bytes(volume.layout.medium)


def test_an_open_file_outlives_every_key() -> None:
    volume = with_file(ALICE)
    file = volume.open("f")
    volume.keyring.clear()
    file.write(3, b"XYZ")
    assert file.read() == SECRET[:3] + b"XYZ" + SECRET[6:]


def test_a_user_who_was_added_reads_without_the_first() -> None:
    volume = with_file(ALICE)
    volume.add_user("f", BOB)
    assert mounted(volume.layout.medium, BOB).open("f").read() == SECRET


def test_adding_a_user_writes_packets_only() -> None:
    volume = with_file(ALICE)
    before = volume.bytes_written_for_keys
    volume.add_user("f", BOB)
    assert volume.bytes_written_for_keys - before == 5 + 2 * 147


def test_adding_a_user_needs_a_key_that_unwraps() -> None:
    volume = mounted(with_file(ALICE).layout.medium, BOB)
    with pytest.raises(BlkCryptoError, match="ENOENT"):
        volume.add_user("f", BOB)


def test_a_revoked_user_cannot_open_and_no_packet_stays_behind() -> None:
    volume = with_file(ALICE, BOB)
    bobs = packet.parse_root(volume.root_packet(volume.stat("f")))[BOB.signature]
    volume.revoke_user("f", BOB.signature)
    with pytest.raises(BlkCryptoError, match="ENOENT"):
        mounted(volume.layout.medium, BOB).open("f")
    assert bobs not in bytes(volume.layout.medium)


def test_revoking_is_not_cryptographic_an_older_copy_still_opens_the_new_contents() -> None:
    volume = with_file(ALICE, BOB)
    old_root = volume.root_packet(volume.stat("f"))
    volume.revoke_user("f", BOB.signature)
    volume.open("f").write(0, b"written after Bob was revoked")
    bob = mounted(volume.layout.medium, BOB)
    bob._store_root_packet(bob.stat("f"), old_root)
    assert bob.open("f").read().startswith(b"written after Bob was revoked")


def test_rotating_after_revoking_is_and_costs_the_whole_file() -> None:
    volume = with_file(ALICE, BOB)
    old_root = volume.root_packet(volume.stat("f"))
    volume.revoke_user("f", BOB.signature)
    assert volume.rotate("f") == 3 * BLOCK_BYTES
    bob = mounted(volume.layout.medium, BOB)
    bob._store_root_packet(bob.stat("f"), old_root)
    assert volume.open("f").read() == SECRET != bob.open("f").read()


def test_rotating_loses_users_whose_keys_are_not_here() -> None:
    volume = mounted(with_file(ALICE, BOB).layout.medium, ALICE)
    volume.rotate("f")
    with pytest.raises(BlkCryptoError, match="ENOENT"):
        mounted(volume.layout.medium, BOB).open("f")


def test_the_last_user_cannot_be_revoked() -> None:
    with pytest.raises(BlkCryptoError, match="EINVAL"):
        with_file(ALICE).revoke_user("f", ALICE.signature)


def test_a_block_moves_as_ciphertext_without_any_key() -> None:
    volume = mounted(with_file(ALICE).layout.medium)
    inode = volume.stat("f")
    old, new = inode.blocks[1], volume.allocate()
    volume.layout.block(new)[:] = volume.layout.block(old)
    inode.blocks[1] = new
    volume.layout.store(inode)
    volume.free_blocks([old])
    assert fsck(volume.layout.medium) == []
    assert mounted(volume.layout.medium, ALICE).open("f").read() == SECRET


def test_i29_crypto_erase_writes_the_packets_only_and_no_user_opens_the_file_again() -> None:
    volume = with_file(ALICE, BOB)
    before = bytes(volume.layout.medium)
    assert volume.crypto_erase("f") == 5 + 2 * 147
    changed = sum(a != b for a, b in zip(before, volume.layout.medium, strict=True))
    assert 0 < changed <= 5 + 2 * 147
    for user in (ALICE, BOB):
        with pytest.raises(BlkCryptoError):
            mounted(volume.layout.medium, user).open("f")


def test_crypto_erase_does_not_reach_a_snapshot() -> None:
    volume = with_file(ALICE)
    snapshot = bytes(volume.layout.medium)
    volume.crypto_erase("f")
    assert mounted(snapshot, ALICE).open("f").read() == SECRET


@given(at=st.integers(0, 146), bit=st.integers(0, 7))
def test_i29_a_packet_with_any_bit_flipped_never_yields_a_key(at: int, bit: int) -> None:
    damaged = bytearray(packet.wrap(DATA_KEY, ALICE, nonce=NONCE, iv=IV))
    damaged[at] ^= 1 << bit
    if at == 34:  # the slot: not authenticated, as the MAC is over what replaces it
        assert packet.unwrap(bytes(damaged), ALICE) == DATA_KEY
        return
    with pytest.raises(BlkCryptoError) as caught:
        packet.unwrap_any(packet.build_root([bytes(damaged)]), {SIGNATURE: ALICE})
    assert caught.value.errno in (errno.EINVAL, errno.ENOENT)


@given(value=st.binary(max_size=400).filter(lambda value: value[:1] != b"\0" or len(value) != 5))
def test_bytes_that_are_no_root_packet_are_einval(value: bytes) -> None:
    with pytest.raises(BlkCryptoError, match="EINVAL"):
        packet.parse_root(value)


def test_truncating_and_extending_reads_zeroes() -> None:
    volume = with_file(ALICE)
    file = volume.open("f")
    file.truncate(5000)
    file.truncate(9000)
    assert volume.open("f").read() == SECRET[:5000] + bytes(4000)
    assert fsck(volume.layout.medium) == []


WRITES = st.lists(
    st.tuples(st.integers(0, 40_000), st.binary(min_size=1, max_size=5000)), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=30)
@given(writes=WRITES)
def test_a_file_is_the_bytes_written_to_it_and_the_filesystem_stays_whole(
    writes: list[tuple[int, bytes]],
) -> None:
    volume, model = new_volume(ALICE), bytearray()
    file = volume.create("f", [ALICE])
    for pos, data in writes:
        file.write(pos, data)
        model.extend(bytes(max(0, pos + len(data) - len(model))))
        model[pos : pos + len(data)] = data
    again = mounted(volume.layout.medium, ALICE)
    assert again.open("f").read() == bytes(model)
    assert fsck(again.layout.medium) == []


def test_no_plaintext_and_no_key_is_on_the_medium_but_names_are() -> None:
    volume = new_volume(ALICE)
    volume.create("a name in clear", [ALICE]).write(0, SECRET)
    image = bytes(volume.layout.medium)
    key = oracle.data_key(volume.root_packet(volume.stat("a name in clear")), ALICE.key, SIGNATURE)
    runs = [SECRET[at : at + 16] for at in range(64)]
    assert not any(run in image for run in [*runs, key[:16], key[32:48], ALICE.key[:16]])
    assert b"a name in clear" in image
    assert SIGNATURE.encode() in image


def test_two_files_with_the_same_contents_share_no_block() -> None:
    volume = with_file(ALICE)
    volume.create("g", [ALICE]).write(0, SECRET)
    blocks = [
        bytes(volume.layout.block(block)) for name in "fg" for block in volume.stat(name).blocks if block
    ]
    assert len(set(blocks)) == len(blocks) == 6


def claim_first_block_twice(volume: Volume) -> None:
    inode = volume.stat("f")
    inode.blocks[5] = inode.blocks[0]
    volume.layout.store(inode)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda volume: volume.layout.set_used(60, used=True), "block 60 is used in the bitmap only"),
        (lambda volume: volume.layout.set_used(3, used=False), "block 3 is free in the bitmap"),
        (lambda volume: claim_first_block_twice(volume), "is claimed 2 times"),
        (lambda volume: volume.layout.free_inode(1), "'f' names free inode 1"),
        (lambda volume: volume._store_entries({}), "inode 1 has no name"),
        (lambda volume: volume.crypto_erase("f"), "inode 1: a root packet"),
    ],
)  # fmt: skip
def test_fsck_finds_damage_without_a_key(damage: object, found: str) -> None:
    volume = with_file(ALICE)
    assert callable(damage)
    damage(volume)
    assert any(found in line for line in fsck(volume.layout.medium))


@settings(deadline=None, max_examples=60)
@given(
    hits=st.lists(
        st.tuples(st.integers(0, 8 * BLOCK_BYTES - 1), st.integers(0, 255)), min_size=1, max_size=40
    )
)
def test_fsck_survives_any_damage_to_metadata(hits: list[tuple[int, int]]) -> None:
    medium = with_file(ALICE).layout.medium
    for at, value in hits:
        medium[at] = value
    with contextlib.suppress(LayoutInvalid):
        assert isinstance(fsck(medium), list)


def test_the_preallocated_pools_are_enough_for_progress() -> None:
    assert obstacle(WRITE_PATH) == ""


def test_the_design_has_a_row() -> None:
    assert [row.name for row in DESIGNS] == ["ext4-2014-multi-user"]
