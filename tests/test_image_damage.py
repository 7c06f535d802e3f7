"""Damaged and hostile images: one error that says where, after bounded work, whatever is wrong."""

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.fs.ext4 import Ext4Volume
from blkcrypto.fs.ext4.extents import Extent
from blkcrypto.fs.ext4.features import Incompat, InodeFlags
from blkcrypto.fs.ext4.store import ImageFile
from blkcrypto.fs.fscrypt.inherit import InconsistentPolicy, InodeKind
from blkcrypto.fs.image import EncryptedImage, ImageKeys, tree
from blkcrypto.fs.image.verify import verify
from tests.fscrypt_world import needs_golden
from tests.image_world import (
    MemoryStore,
    Surgeon,
    golden_case,
    golden_image,
    item_of,
    keys_of,
    layout_image,
    opened,
)

PERFILE = "image-4k/v2-perfile.json"
KEYS = ImageKeys((bytes(range(64)),))
LARGEST_READ_WHOLE = 1 << 22
# Reading everything of the undamaged images takes some 700 reads; directories may come to name more inodes.
MOST_READS = 20_000

Damage = Callable[[Surgeon], None]


def read_everything(store: MemoryStore, keys: ImageKeys | None, *, checksums: bool = False) -> None:
    """All that any command does with an image."""
    image = EncryptedImage(Ext4Volume(store, check_checksums=checksums), keys)
    for node in image.walk(image.root):
        locked = image.is_locked(node)
        if node.inode.kind is InodeKind.SYMLINK:
            image.target(node)
        elif node.inode.kind is InodeKind.REGULAR and not locked:
            contents = image.contents(node)
            if contents.size <= LARGEST_READ_WHOLE:
                list(contents.chunks())


def metadata_bytes(data: bytearray) -> list[int]:
    """Bytes of metadata: superblock, descriptors, inodes in use, directories."""
    surgeon = Surgeon(data)
    spots = [*range(1024, 2048), *range(surgeon.block_size * 2, surgeon.block_size * 2 + 64)]
    image = opened(data)
    for node in image.walk(image.root):
        at = surgeon.inode_at(node.inode.ino)
        spots += range(at, at + surgeon.inode_size)
        if node.inode.kind is InodeKind.DIRECTORY:
            for part in image.volume.extents(node.inode):
                start = part.pblk * surgeon.block_size
                spots += range(start, start + part.count * surgeon.block_size)
    return spots


LAYOUT_SPOTS = {name: metadata_bytes(layout_image(name)) for name in ("blockmap", "trees")}


# (where among the bytes of metadata, new value); small values and powers of two are counts and lengths.
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from([0, 1, 2, 12, 128, 255]) | st.integers(0, 255)
    ),
    min_size=1,
    max_size=12,
)


def damaged(name: str, changes: list[tuple[float, int]]) -> MemoryStore:
    data = layout_image(name)
    spots = LAYOUT_SPOTS[name]
    for place, value in changes:
        data[spots[int(place * len(spots))]] = value
    return MemoryStore(data)


@settings(max_examples=150)
@given(name=st.sampled_from(["blockmap", "trees"]), changes=CHANGES, with_key=st.booleans())
def test_any_damage_to_metadata_ends_in_one_error_of_ours_after_bounded_work(
    name: str, changes: list[tuple[float, int]], with_key: bool
) -> None:
    store = damaged(name, changes)

    with suppress(BadInput, BlkCryptoError):
        read_everything(store, KEYS if with_key else None)

    assert store.reads < MOST_READS


@settings(max_examples=40)
@given(name=st.sampled_from(["blockmap", "trees"]), changes=CHANGES)
def test_verifying_a_damaged_image_never_fails_itself(name: str, changes: list[tuple[float, int]]) -> None:
    store = damaged(name, changes)
    try:
        image = EncryptedImage(Ext4Volume(store, check_checksums=False), KEYS)
    except BadInput:
        return

    verify(image, image.root)

    assert store.reads < MOST_READS


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(place=0.0, bit=0)
def test_with_checksums_a_flipped_bit_of_metadata_is_never_taken_for_good(place: float, bit: int) -> None:
    data = layout_image("trees")
    undamaged = listing(data)
    data[LAYOUT_SPOTS["trees"][int(place * len(LAYOUT_SPOTS["trees"]))]] ^= 1 << bit

    try:
        found = listing(data)
    except BadInput:
        return

    # A bit that no checksum covers, and that nothing depends on: padding, or unused entries of a hash index.
    assert found == undamaged


def listing(data: bytearray) -> list[tuple[bytes, int, int, int]]:
    image = opened(data, KEYS)
    return [
        (node.path, node.inode.ino, node.inode.size, len(image.volume.extents(node.inode)))
        for node in image.walk(image.root)
        if node.inode.kind is not InodeKind.SYMLINK
    ]


@settings(max_examples=40)
@given(junk=st.binary(max_size=3000))
def test_junk_is_no_image(junk: bytes) -> None:
    with pytest.raises(BadInput):
        Ext4Volume(MemoryStore(bytearray(junk)))


@settings(max_examples=60)
@given(kept=st.integers(0, 4 << 20))
@example(kept=(4 << 20) - 1)
def test_an_image_that_was_cut_off_is_refused(kept: int) -> None:
    data = layout_image("trees")[: min(kept, (4 << 20) - 1)]

    with pytest.raises(BadInput, match=r"cut off|no superblock"):
        Ext4Volume(MemoryStore(data))


@pytest.mark.parametrize(
    ("offset", "magic", "advice"),
    [
        (0, b"\xfd7zXZ\0", "decompress it first"),
        (0, b"\x1f\x8b\x08", "decompress it first"),
        (0, b"\x28\xb5\x2f\xfd", "decompress it first"),
        (0, b"\x3a\xff\x26\xed", "simg2img"),
        (1024, b"\x10\x20\xf5\xf2", "only ext4 is read"),
        (512, b"EFI PART", "cut the ext4 partition out"),
        (0, b"", "no superblock at byte 1024"),
    ],
)
def test_what_is_no_ext4_image_is_named_if_it_is_known(offset: int, magic: bytes, advice: str) -> None:
    data = bytearray(4096)
    data[offset : offset + len(magic)] = magic

    with pytest.raises(BadInput, match=advice):
        Ext4Volume(MemoryStore(data))


SUPERBLOCK = [
    (0x18, 7, "blocks have 1 to 64 KiB"),
    (0x18, 0xFFFFFFFF, "blocks have 1 to 64 KiB"),
    (0x14, 5, "impossible: first_data_block 5"),
    (0x04, 0xFFFFFFFF, "the image only 8388608: it was cut off"),
    (0x150, 1, "the image only 8388608: it was cut off"),
    (0x04, 0, "impossible: 0 blocks"),
    (0x20, 0, "impossible: no blocks per group"),
    (0x28, 0, "impossible: 0 inodes per group"),
    (0x28, 0xFFFFFFFF, "inodes per group"),
    (0x00, 0, "impossible: 0 inodes"),
    (0x00, 0xFFFFFFFF, "impossible: 4294967295 inodes"),
    (0x58, 0, "impossible: inode size 0"),
    (0x58, 96, "impossible: inode size 96"),
    (0x58, 8192, "impossible: inode size 8192"),
    (0x60, 0x1, "features 0x1 "),
    (0x60, 0x8, "features 0x8 "),
    (0x60, 0x40000, "features 0x40000 "),
    (0xFC, 0x00000001, "descriptor size 0"),
    (0xFC, 0xFFFF0001, "descriptor size 65535"),
]


@needs_golden
@pytest.mark.parametrize(("at", "value", "why"), SUPERBLOCK)
def test_an_impossible_superblock_is_refused(at: int, value: int, why: str) -> None:
    data = golden_image("image-4k")
    Surgeon(data).put32(1024 + at, value)

    with pytest.raises(BadInput, match=why):
        Ext4Volume(MemoryStore(data), check_checksums=False)


def root_entries(*rows: bytes, depth: int = 0) -> bytes:
    return struct.pack("<HHHHI", 0xF30A, len(rows), 4, depth, 0) + b"".join(rows)


def put_root(surgeon: Surgeon, ino: int, *rows: bytes, depth: int = 0) -> None:
    surgeon.put(surgeon.inode_at(ino) + 0x28, root_entries(*rows, depth=depth).ljust(60, b"\0"))


def extent(lblk: int, count: int, pblk: int) -> bytes:
    return struct.pack("<IHHI", lblk, count, 0, pblk)


def index(lblk: int, block: int) -> bytes:
    return struct.pack("<IIHH", lblk, block, 0, 0)


def looping_tree(surgeon: Surgeon) -> None:
    block = surgeon.free_block()
    node = struct.pack("<HHHHI", 0xF30A, 1, 340, 1, 0) + index(0, block)
    surgeon.put(block * 4096, node)
    put_root(surgeon, 13, index(0, block), depth=2)


def shared_empty_leaves(surgeon: Surgeon) -> None:
    # 340 entries a node, four levels, and every leaf the same empty block: 13 billion leaves to visit.
    blocks = [surgeon.free_block(nth) for nth in range(4)]
    for depth, block in enumerate(blocks):
        rows = b"".join(index(lblk, blocks[depth - 1]) for lblk in range(340)) if depth else b""
        surgeon.put(block * 4096, struct.pack("<HHHHI", 0xF30A, 340 if depth else 0, 340, depth, 0) + rows)
    put_root(surgeon, 13, index(0, blocks[3]), depth=4)


def one_leaf_twice(surgeon: Surgeon) -> None:
    block = surgeon.free_block()
    surgeon.put(block * 4096, struct.pack("<HHHHI", 0xF30A, 0, 340, 0, 0))
    put_root(surgeon, 13, index(0, block), index(1, block), depth=1)


def looping_block_map(surgeon: Surgeon) -> None:
    block = surgeon.free_block()
    surgeon.put(block * 4096, struct.pack("<1024I", *[block] * 1024))
    surgeon.set_flag(13, InodeFlags.EXTENTS, on=False)
    surgeon.put(surgeon.inode_at(13) + 0x28, struct.pack("<15I", *[0] * 14, block))
    surgeon.put32(surgeon.inode_at(13) + 0x6C, 1 << 7)


def directory_entry(surgeon: Surgeon, at: int, ino: int, length: int, name_bytes: int) -> None:
    block = surgeon.extents(2)[0][2] * 4096
    surgeon.put(block + at, struct.pack("<IHBB", ino, length, name_bytes, 2))


HOSTILE: list[tuple[str, Damage, str]] = [
    ("a tree that is its own child", looping_tree, "inode 13: the extent tree has block 20.. twice"),
    ("shared empty leaves", shared_empty_leaves, "inode 13: extents out of order at logical block 1"),
    ("one leaf twice", one_leaf_twice, "inode 13: the extent tree has block 20.. twice"),
    ("a map that is its own child", looping_block_map, "inode 13: the block map has block 20.. twice"),
    ("too deep", lambda s: put_root(s, 13, depth=6), "inode 13: no extent tree: magic 0xf30a, depth 6"),
    ("no tree", lambda s: s.put(s.inode_at(13) + 0x28, b"\0\0"), "inode 13: no extent tree: magic 0x0000"),
    ("too many entries", lambda s: s.put16(s.inode_at(13) + 0x2A, 5), "inode 13: .* claims 5 of 4 entries"),
    ("too much room", lambda s: s.put16(s.inode_at(13) + 0x2C, 9), "inode 13: .* claims 1 of 9 entries"),
    ("an empty extent", lambda s: put_root(s, 13, extent(0, 0, 60)), "inode 13: an extent of no blocks"),
    (
        "extents that overlap",
        lambda s: put_root(s, 13, extent(0, 5, 60), extent(4, 1, 70)),
        "inode 13: extents out of order at logical block 4",
    ),
    (
        "extents past the last block",
        lambda s: put_root(s, 13, extent(2**32 - 2, 5, 60)),
        "inode 13: extents overlap at logical block 4294967296",
    ),
    (
        "blocks outside the filesystem",
        lambda s: put_root(s, 13, extent(0, 2, 2047)),
        "inode 13: maps 2 blocks at 2047, outside the filesystem",
    ),
    (
        "the superblock as data",
        lambda s: put_root(s, 13, extent(0, 2, 0)),
        "inode 13: maps 2 blocks at 0, outside the filesystem",
    ),
    (
        "more blocks than there are",
        lambda s: put_root(s, 13, extent(0, 2000, 40), extent(3000, 2000, 40)),
        "inode 13: maps more blocks than the filesystem's 2048",
    ),
    (
        "a node elsewhere",
        lambda s: put_root(s, 13, index(0, 10**6), depth=1),
        "block 1000000: the filesystem has",
    ),
    ("no record length", lambda s: directory_entry(s, 24, 12, 0, 5), "inode 2: .* at byte 24 has 0 bytes"),
    (
        "a record of no name",
        lambda s: directory_entry(s, 24, 12, 20, 0),
        "inode 2: .* at byte 24 has no name",
    ),
    ("a name past its record", lambda s: directory_entry(s, 24, 12, 12, 9), "at byte 24 has 12 bytes"),
    ("a record past the block", lambda s: directory_entry(s, 24, 12, 8192, 5), "at byte 24 has 8192 bytes"),
    ("an inode that is not", lambda s: directory_entry(s, 24, 10**6, 20, 5), "inode 1000000: there are 256"),
    (
        "an inode not in use",
        lambda s: directory_entry(s, 24, 200, 20, 5),
        "inode 200: is named, but not in use",
    ),
    (
        "a directory in itself",
        lambda s: directory_entry(s, 24, 2, 20, 5),
        "inode 2: a directory that has two",
    ),
    ("a root that is a file", lambda s: s.put16(s.inode_at(2), 0x81A4), "inode 2: the root is no directory"),
    ("an inode with odd fields", lambda s: s.put16(s.inode_at(13) + 128, 200), "inode 13: i_extra_isize 200"),
    ("a table elsewhere", lambda s: s.put32(4096 + 8, 10**6), "block 1000000: .* has no"),
    (
        "attributes past their end",
        lambda s: s.put16(context_entry(s, 13) + 2, 9999),
        "inode 13: an extended attribute runs past the end",
    ),
    (
        "an attribute longer than what is left",
        lambda s: s.put32(context_entry(s, 13) + 8, 130),
        "inode 13: an extended attribute runs past the end",
    ),
    (
        "an attribute in an inode",
        lambda s: s.put32(context_entry(s, 13) + 4, 7),
        "inode 13: an extended attribute lies in an inode of its own",
    ),
    (
        "no context",
        lambda s: s.put32(context_entry(s, 13) - 4, 0),
        "inode 13: is marked as encrypted and has no encryption context",
    ),
    (
        "a symlink too long",
        lambda s: s.put32(s.inode_at(24) + 4, 5000),
        "inode 24: is a symlink of 5000 bytes",
    ),
    ("a symlink of nothing", lambda s: put_root(s, 24), "inode 24: is a symlink without a block"),
    (
        "a symlink shorter than it says",
        lambda s: s.put16(s.inode_at(23) + 0x28, 60),
        "inode 23: an encrypted symlink of 34 bytes claims 60",
    ),
]


def context_entry(surgeon: Surgeon, ino: int) -> int:
    """Byte of the first attribute's entry in an inode."""
    at = surgeon.inode_at(ino) + 128
    return at + surgeon.u16(at) + 4


@needs_golden
@pytest.mark.parametrize(("damage", "why"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_image_is_refused_where_it_is_hostile(damage: Damage, why: str) -> None:
    data = golden_image("image-4k")
    damage(Surgeon(data))
    store = MemoryStore(data)

    with pytest.raises(BadInput, match=f"^test.img: .*{why}") as caught:
        read_everything(store, keys_of(golden_case(PERFILE)))

    assert caught.value.where
    assert store.reads < MOST_READS


@needs_golden
@pytest.mark.parametrize(("most", "fits"), [(3, True), (2, False)])
def test_nothing_lies_deeper_than_a_path_can_reach(
    most: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is 2048 directories; what is in ``/v2-perfile/subdir`` has 3 above it."""
    monkeypatch.setattr(tree, "MAX_DEPTH", most)
    image = opened(golden_image("image-4k"), keys_of(golden_case(PERFILE)))
    if fits:
        assert max(node.depth for node in image.walk(image.root)) == 3
    else:
        with pytest.raises(BadInput, match="lies deeper than 2 directories"):
            list(image.walk(image.root))


@needs_golden
def test_a_path_may_go_up_and_stay() -> None:
    image = opened(golden_image("image-4k"), keys_of(golden_case(PERFILE)))
    assert image.find(b"/v2-perfile/.//subdir/../f-5000/").path == b"/v2-perfile/f-5000"
    assert image.find(b"/../..") is image.root


@needs_golden
def test_a_file_in_a_directory_of_another_policy_is_listed_and_not_opened() -> None:
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    surgeon.data[surgeon.context_at(13) + 3] ^= 1
    image = opened(data, keys_of(case), checksums=False)
    node = image.find(b"/v2-perfile/f-5000")

    with pytest.raises(BlkCryptoError, match="EPERM"):
        image.contents(node)


@needs_golden
def test_a_directory_in_one_of_another_policy_is_not_listed() -> None:
    case = golden_case(PERFILE)
    surgeon = Surgeon(golden_image("image-4k"))
    surgeon.data[surgeon.context_at(16) + 3] ^= 1
    image = opened(surgeon.data, keys_of(case), checksums=False)

    with pytest.raises(BlkCryptoError, match="EPERM"):
        list(image.children(image.find(b"/v2-perfile/subdir")))


@needs_golden
@pytest.mark.parametrize("name", [b"a/b", b""])
def test_a_name_that_no_file_can_have_is_damage_or_the_wrong_key(name: bytes) -> None:
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    image = opened(data, keys_of(case), checksums=False)
    names = image.names(image.find(b"/v2-perfile"))
    stored = bytes.fromhex(item_of(case, "f-17")["disk_name"])
    assert names is not None
    assert data.count(stored) == 1
    at = data.index(stored)
    data[at : at + len(stored)] = names.encrypt(name.ljust(len(stored), b"\0"), len(stored))

    with pytest.raises(BadInput, match="inode 12: a name decrypts to an impossible one"):
        list(image.children(image.find(b"/v2-perfile")))


@needs_golden
def test_a_context_of_another_version_locks_names_and_refuses_contents() -> None:
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    for ino in (12, 13):
        surgeon.data[surgeon.context_at(ino)] = 3
    image = opened(data, keys_of(case), checksums=False)

    listed = {node.name.decode(): node for node in image.children(image.find(b"/v2-perfile"))}

    file = listed[item_of(case, "f-5000")["nokey_name"]]
    with pytest.raises(InconsistentPolicy):
        image.contents(file)
    with pytest.raises(BlkCryptoError, match="give a newer tool: its encryption context is not known"):
        image.find(b"/v2-perfile/f-5000")


@needs_golden
def test_a_directory_of_two_names_is_a_problem_and_is_looked_into_once() -> None:
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    begin = surgeon.extents(2)[0][2] * 4096
    end, ino = begin + 4096, int(opened(data).find(b"/v2-perfile").inode.ino)
    # The last record before the block's checksum takes what is left of the block: split it.
    at = begin
    while at + surgeon.u16(at + 4) < end - 12:
        at += surgeon.u16(at + 4)
    length, used = surgeon.u16(at + 4), (8 + data[at + 6] + 3) & ~3
    surgeon.put16(at + 4, used)
    directory_entry(surgeon, at + used - begin, ino, length - used, 5)
    surgeon.put(at + used + 8, b"again")

    image = opened(data, keys_of(golden_case(PERFILE)), checksums=False)
    report = verify(image, image.root)

    assert sum("a directory that has two names" in problem for problem in report.problems) == 1


@needs_golden
def test_files_that_share_blocks_are_a_problem_and_are_not_read_over_and_over() -> None:
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    for ino in (13, 14, 15):
        put_root(surgeon, ino, extent(0, 2000, 40))
        surgeon.put32(surgeon.inode_at(ino) + 4, 2000 * 4096)
    store = MemoryStore(data)
    image = EncryptedImage(Ext4Volume(store, check_checksums=False), keys_of(case))

    report = verify(image, image.root)

    assert sum("files map more blocks than there are" in problem for problem in report.problems) == 2
    assert store.bytes_read < 2 * len(data)


def test_a_journal_not_replayed_is_known() -> None:
    data = layout_image("trees")
    surgeon = Surgeon(data)
    surgeon.put32(1024 + 0x60, surgeon.u32(1024 + 0x60) | Incompat.RECOVER)

    assert opened(data, checksums=False).volume.superblock.needs_recovery


def test_the_only_way_to_write_refuses_what_is_not_data() -> None:
    volume = opened(layout_image("trees")).volume

    for extent_, start in ((Extent(0, 100, 1, written=False), 0), (Extent(0, 100, 1), 1000)):
        with pytest.raises(ValueError, match="only the data of written extents"):
            volume.write_span(extent_, start, bytes(100))


def test_a_missing_image_is_a_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        ImageFile(tmp_path / "none")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with ImageFile(tmp_path) as store, pytest.raises(BadInput):
        Ext4Volume(store)
