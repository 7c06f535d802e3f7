"""The 2014 draft: its medium byte by byte, its limits, and what checking it without a key looks at."""

import errno
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.ext4_2014 import packet
from blkcrypto.fs.ext4_2014.fsck import fsck
from blkcrypto.fs.ext4_2014.layout import BLOCK_BYTES, BLOCKS_PER_INODE, XATTR_ROOM, Inode, Layout, mkfs
from blkcrypto.fs.ext4_2014.packet import UserKey
from blkcrypto.fs.ext4_2014.volume import WRITE_PATH, Volume

ALICE = UserKey("0123456789abcdef", bytes(range(64)))


def new_volume(blocks: int = 64, inodes: int = 32) -> Volume:
    volume = Volume(mkfs(blocks, inodes), np.random.default_rng(5))
    volume.keyring = {ALICE.signature: ALICE}
    return volume


def test_the_pools_of_the_2014_draft_are_those_of_the_prototype() -> None:
    """Reference fscrypt.md section 8.1."""
    reserves = [(take.reserve, take.min_nr) for take in WRITE_PATH]
    assert reserves == [("crypto contexts", 128), ("bounce pages", 32)]


def test_a_medium_of_the_2014_draft_is_laid_out_as_it_says() -> None:
    """Superblock, bitmap, two blocks of 16 inodes each; then directory or xattr, in order of need."""
    volume = new_volume()
    volume.create("name", [ALICE], uid=1000).write(2 * BLOCK_BYTES, bytes(10))
    medium = bytes(volume.layout.medium)

    assert struct.unpack_from("<8sIII", medium) == (b"ext42014", 64, 32, 2)
    # Blocks 0 to 3 hold metadata; xattr, directory and page take one each.
    assert int.from_bytes(medium[4096 : 4096 + 16], "little") == 0b111_1111
    root, file = (struct.unpack_from("<HHQII59I", medium, 8192 + 256 * ino) for ino in (0, 1))
    assert root[:5] == (1, 0, 0, 0, 0)
    directory = root[5]
    assert root[6:] == (0,) * 58
    assert medium[directory * 4096 : directory * 4096 + 14] == struct.pack("<IB", 1, 4) + b"name" + bytes(5)
    flags, uid, size, xattr_block, xattr_bytes, first, second, third = file[:8]
    assert (flags, uid, size, xattr_bytes, first, second) == (1, 1000, 2 * 4096 + 10, 152, 0, 0)
    assert medium[xattr_block * 4096 : xattr_block * 4096 + 9] == bytes(5) + struct.pack(">I", 147)
    assert sorted((xattr_block, directory, third)) == [4, 5, 6]


@pytest.mark.parametrize(
    ("blocks", "inodes", "fits"), [(4, 32, False), (5, 32, True), (5, 33, False), (32769, 16, False)]
)
def test_a_medium_needs_a_block_of_data_and_one_of_bitmap(blocks: int, inodes: int, fits: bool) -> None:
    if fits:
        assert Layout(mkfs(blocks, inodes)).first_data_block == blocks - 1
        return
    with pytest.raises(ValueError, match="blocks do not fit"):
        mkfs(blocks, inodes)


def test_one_bitmap_block_is_for_32768_blocks() -> None:
    layout = Layout(mkfs(32768, 16))
    layout.set_used(32767, used=True)
    assert (layout.is_used(32767), layout.is_used(32766)) == (True, False)


def test_names_may_fill_a_block_of_the_directory_to_its_last_byte() -> None:
    """An entry of 251 bytes takes 256, so 16 of them are a block."""
    volume = new_volume()
    names = [f"{number:02}" + "n" * 249 for number in range(17)]
    for name in names:
        volume.create(name, [ALICE])
        root = volume.layout.load(0)
        assert root is not None
        assert sum(map(bool, root.blocks)) == 1 + (name == names[16])
    assert volume.names() == names
    volume.delete(names[0])
    assert volume.names() == names[1:]
    assert fsck(volume.layout.medium) == []


def test_every_block_is_handed_out_once_and_what_was_freed_again() -> None:
    volume = new_volume(blocks=16)
    taken = [volume.allocate() for _ in range(12)]
    assert sorted(taken) == list(range(4, 16))
    volume.free_blocks([5, 0, 9])
    assert sorted((volume.allocate(), volume.allocate())) == [5, 9]
    with pytest.raises(BlkCryptoError, match="ENOSPC"):
        volume.allocate()


def test_a_file_has_room_for_59_pages_and_not_a_byte_more() -> None:
    end = BLOCKS_PER_INODE * BLOCK_BYTES
    volume = new_volume(blocks=80)
    file = volume.create("f", [ALICE])
    file.write(end - 1, b"x")
    assert file.read() == bytes(end - 1) + b"x"
    with pytest.raises(BlkCryptoError, match="EFBIG"):
        file.write(end - 1, b"xy")
    with pytest.raises(BlkCryptoError, match="EFBIG"):
        file.truncate(end + 1)
    file.truncate(end)
    assert volume.stat("f").size == end


CHANGES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20_000), st.binary(min_size=1, max_size=5000)),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(changes=CHANGES)
def test_a_file_that_is_cut_and_grows_again_has_zeroes_where_it_was_cut(
    changes: list[tuple[bool, int, bytes]],
) -> None:
    volume, model = new_volume(), bytearray()
    file = volume.create("f", [ALICE])
    for cuts, pos, data in changes:
        if cuts:
            file.truncate(pos)
            del model[pos:]
            model.extend(bytes(pos - len(model)))
        else:
            file.write(pos, data)
            model.extend(bytes(max(0, pos + len(data) - len(model))))
            model[pos : pos + len(data)] = data
        assert file.read() == volume.open("f").read() == bytes(model)
        pages = -(-len(model) // BLOCK_BYTES)
        assert not any(volume.stat("f").blocks[pages:])
    assert fsck(volume.layout.medium) == []


def test_rotating_keeps_holes_and_gives_a_new_key_to_every_user_who_is_here() -> None:
    volume = new_volume()
    bob = UserKey("b0b" + "0" * 13, bytes(range(64, 128)))
    volume.keyring[bob.signature] = bob
    file = volume.create("f", [ALICE, bob])
    file.write(3 * BLOCK_BYTES, b"x")
    before = packet.unwrap_any(volume.root_packet(volume.stat("f")), volume.keyring)
    assert volume.rotate("f") == BLOCK_BYTES
    value = volume.root_packet(volume.stat("f"))
    keys = {packet.unwrap(one, volume.keyring[sig]) for sig, one in packet.parse_root(value).items()}
    assert len(packet.parse_root(value)) == 2
    assert len(keys) == 1
    assert before not in keys
    assert volume.open("f").read() == bytes(3 * BLOCK_BYTES) + b"x"
    assert volume.stat("f").blocks[:3] == [0, 0, 0]


def test_a_root_packet_of_another_version_is_none() -> None:
    value = packet.build_root([packet.wrap(bytes(64), ALICE, nonce=bytes(12), iv=bytes(16))])
    with pytest.raises(BlkCryptoError) as caught:
        packet.parse_root(b"\1" + value[1:])
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(("at", "value"), [(3, 1), (4, 1), (5, ord("G")), (21, 1)])
def test_a_packet_of_another_size_type_or_signature_is_none(at: int, value: int) -> None:
    made = bytearray(packet.wrap(bytes(64), ALICE, nonce=bytes(12), iv=bytes(16)))
    made[at] = value
    with pytest.raises(BlkCryptoError) as caught:
        packet.signature_of(bytes(made))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("xattr_block", "xattr_bytes", "found"),
    [
        (64, 152, ["inode 1 has no readable xattr", "block 64 is past the end"]),
        (0, 152, ["inode 1 has no readable xattr"]),
        (None, XATTR_ROOM + 1, ["inode 1 has no readable xattr"]),
        (None, 151, ["inode 1: a root packet of 151 bytes [EINVAL]"]),
    ],
)
def test_fsck_looks_at_where_an_xattr_lies_and_how_long_it_is(
    xattr_block: int | None, xattr_bytes: int, found: list[str]
) -> None:
    volume = new_volume()
    inode = volume.create("f", [ALICE]).inode
    old = inode.xattr_block
    block = old if xattr_block is None else xattr_block
    volume.layout.store(Inode(1, xattr_block=block, xattr_bytes=xattr_bytes))
    lost = [] if block == old else [f"block {old} is used in the bitmap only"]
    assert fsck(volume.layout.medium) == [*found, *lost]


def test_fsck_reads_all_four_bytes_of_an_entry_s_inode() -> None:
    volume = new_volume()
    volume._store_entries({"x": 1 << 24})
    assert fsck(volume.layout.medium) == ["'x' names free inode 16777216"]
