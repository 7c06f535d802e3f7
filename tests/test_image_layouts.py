"""Ways ext4 lays things out: trees and maps of blocks, attributes, directories, groups, block sizes."""

import hashlib
import os
import re
import shutil
import stat
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.fs.ext4.blockmap import map_extents
from blkcrypto.fs.ext4.checksum import SEED, crc32c
from blkcrypto.fs.ext4.extents import Extent, tree_extents
from blkcrypto.fs.ext4.features import InodeFlags
from blkcrypto.fs.ext4.groups import descriptor_place, inode_table
from blkcrypto.fs.ext4.inode import parse_inode
from blkcrypto.fs.ext4.store import ImageFile
from blkcrypto.fs.ext4.superblock import Superblock
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.image import EncryptedImage
from blkcrypto.fs.image.unlock import ImageCrypto
from blkcrypto.fs.image.verify import verify
from blkcrypto.fs.smallfs.errors import NoEntry
from tests.fscrypt_world import GOLDEN, needs_golden
from tests.image_world import Surgeon, golden_case, golden_image, item_of, keys_of, opened, read_all
from tests.oracle.image_files import plaintext

PERFILE = "image-4k/v2-perfile.json"
CASEFOLD = ["ext4-4k-casefold/v2-xts.json", "ext4-4k-casefold/v2-hctr2.json"]
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MKE2FS, DUMPE2FS = shutil.which("mke2fs", path=SBIN), shutil.which("dumpe2fs", path=SBIN)
needs_e2fsprogs = pytest.mark.skipif(not (MKE2FS and DUMPE2FS), reason="e2fsprogs is not installed")


def test_the_checksum_is_that_of_rfc_3720() -> None:
    # Appendix B.4: 32 bytes of zeroes, of ones, and 0 to 31; the RFC inverts the result, ext4 does not.
    messages = (bytes(32), b"\xff" * 32, bytes(range(32)))

    assert [crc32c(SEED, data) ^ SEED for data in messages] == [0x8A9136AA, 0x62A8AB43, 0x46DD794E]


# (gap before it, blocks, written)
RUNS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 300), st.booleans()), max_size=60)


def build_tree(runs: list[Extent], fanout: int) -> tuple[bytes, dict[int, bytes]]:
    """An extent tree bottom-up: the root's 60 bytes, and nodes of 1024 bytes by their block."""
    nodes: dict[int, bytes] = {}

    def node(rows: list[bytes], depth: int, size: int) -> bytes:
        head = struct.pack("<HHHHI", 0xF30A, len(rows), (size - 12) // 12, depth, 0)
        return (head + b"".join(rows)).ljust(size, b"\0")

    lengths = [run.count if run.written else run.count + 0x8000 for run in runs]
    rows = [
        struct.pack("<IHHI", run.lblk, length, run.pblk >> 32, run.pblk & 0xFFFFFFFF)
        for run, length in zip(runs, lengths, strict=True)
    ]
    firsts = [run.lblk for run in runs]
    depth = 0
    while len(rows) > 4:
        parents, parent_firsts = [], []
        for at in range(0, len(rows), fanout):
            block = 5000 + len(nodes)
            nodes[block] = node(rows[at : at + fanout], depth, 1024)
            parents.append(struct.pack("<IIHH", firsts[at], block, 0, 0))
            parent_firsts.append(firsts[at])
        rows, firsts, depth = parents, parent_firsts, depth + 1
    return node(rows, depth, 60), nodes


@given(runs=RUNS, fanout=st.integers(3, 84))
def test_an_extent_tree_of_any_shape_gives_its_extents_in_order(
    runs: list[tuple[int, int, bool]], fanout: int
) -> None:
    lblk, extents = 0, []
    for number, (gap, count, written) in enumerate(runs):
        extents.append(Extent(lblk + gap, (number << 33) + 7, count, written))
        lblk += gap + count
    root, nodes = build_tree(extents, fanout)

    assert list(tree_extents(root, nodes.__getitem__)) == extents


@settings(max_examples=50)
@given(
    mapped=st.dictionaries(st.integers(0, 4379), st.integers(1, 2**32 - 1), max_size=40),
    size=st.integers(0, 4380),
)
def test_a_block_map_gives_every_block_below_the_end_of_the_file(mapped: dict[int, int], size: int) -> None:
    # Nodes of 64 bytes have 16 pointers: 12 direct blocks, then 16, 256 and 4096.
    nodes: dict[int, list[int]] = {}
    pointers = [0] * 15

    def place(holder: list[int], slot: int, rest: int, level: int, pblk: int) -> None:
        if not level:
            holder[slot] = pblk
            return
        if not holder[slot]:
            holder[slot] = 2**31 + len(nodes)
            nodes[holder[slot]] = [0] * 16
        span = 16 ** (level - 1)
        place(nodes[holder[slot]], rest // span, rest % span, level - 1, pblk)

    for lblk, pblk in mapped.items():
        first, level = next(
            (first, level) for first, level in ((284, 3), (28, 2), (12, 1), (0, 0)) if lblk >= first
        )
        slot = lblk if not level else 11 + level
        place(pointers, slot, lblk - first, level, pblk)
    i_block = struct.pack("<15I", *pointers)

    found = map_extents(i_block, 64, size, lambda block: struct.pack("<16I", *nodes[block]))

    assert [(part.lblk, part.pblk) for part in found] == sorted(
        (lblk, pblk) for lblk, pblk in mapped.items() if lblk < size
    )


@needs_golden
def test_an_extent_tree_may_be_deeper_than_it_needs_to_be() -> None:
    case = golden_case(PERFILE)
    item = item_of(case, "f-sparse2")
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    leaf, root = surgeon.free_block(), surgeon.inode_at(item["ino"]) + 0x28
    surgeon.put(leaf * 4096, bytes(data[root : root + 60]))
    surgeon.put16(leaf * 4096 + 4, 340)
    surgeon.put(root, struct.pack("<HHHHIIIHH", 0xF30A, 1, 4, 1, 0, 0, leaf, 0, 0))

    image = opened(data, keys_of(case), checksums=False)

    assert read_all(image, image.find(b"/v2-perfile/f-sparse2")) == plaintext(bytes(data), case, item)


@needs_golden
def test_an_encrypted_file_may_have_a_block_map() -> None:
    case = golden_case(PERFILE)
    item = item_of(case, "f-sparse2")
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    pointers = [0] * 15
    for lblk, count, pblk in surgeon.extents(item["ino"]):
        pointers[lblk : lblk + count] = range(pblk, pblk + count)
    surgeon.set_flag(item["ino"], InodeFlags.EXTENTS, on=False)
    surgeon.put(surgeon.inode_at(item["ino"]) + 0x28, struct.pack("<15I", *pointers))

    image = opened(data, keys_of(case), checksums=False)

    assert read_all(image, image.find(b"/v2-perfile/f-sparse2")) == plaintext(bytes(data), case, item)


@needs_golden
def test_the_context_may_lie_in_a_block_of_attributes() -> None:
    case = golden_case(PERFILE)
    item = item_of(case, "f-5000")
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    at, block = surgeon.context_at(item["ino"]), surgeon.free_block()
    context = bytes(data[at : at + 40])
    entry = struct.pack("<BBHIII", 1, 9, 4096 - 40, 0, 40, 0) + b"c\0\0\0"
    surgeon.put(block * 4096, struct.pack("<IIIII12x", 0xEA020000, 1, 1, 0, 0) + entry)
    surgeon.put((block + 1) * 4096 - 40, context)
    inode = surgeon.inode_at(item["ino"])
    surgeon.put32(inode + 0x68, block)
    surgeon.put32(inode + 128 + surgeon.u16(inode + 128), 0)

    image = opened(data, keys_of(case), checksums=False)

    assert read_all(image, image.find(b"/v2-perfile/f-5000")) == plaintext(bytes(data), case, item)


def casefolded(case: dict[str, Any]) -> bytearray:
    """A golden image whose first encrypted directory is made the casefolded top directory of ``case``."""
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    top, child = 12, 17
    objects = {item["ino"]: item for item in case["objects"]}
    top_item = case["objects"][0]
    surgeon.put(surgeon.context_at(top), bytes.fromhex(top_item["context"]))
    surgeon.put(surgeon.context_at(child), bytes.fromhex(top_item["context"])[:24] + bytes(16))
    surgeon.set_flag(top, InodeFlags.CASEFOLD)
    block = struct.pack("<IHBB4s", top, 12, 1, 2, b".") + struct.pack("<IHBB4s", 2, 12, 2, 2, b"..")
    for item in objects.values():
        if item.get("parent_ino") == top_item["ino"] and "disk_name" in item:
            name = bytes.fromhex(item["disk_name"])
            padded = name.ljust(-(-len(name) // 4) * 4, b"\0") + bytes.fromhex(item["dirent_hash"])
            block += struct.pack("<IHBB", child, 8 + len(padded), len(name), 1) + padded
    block += struct.pack("<IHBB", 0, 4096 - len(block), 0, 0)
    surgeon.put(surgeon.extents(top)[0][2] * 4096, block.ljust(4096, b"\0"))
    return data


def casefold_names(case: dict[str, Any], what: str) -> list[str]:
    top = case["objects"][0]["ino"]
    inside = [item for item in case["objects"] if item.get("parent_ino") == top and "disk_name" in item]
    return sorted(item[what] for item in inside)


@needs_golden
@pytest.mark.parametrize("path", CASEFOLD)
@pytest.mark.parametrize(("with_key", "what"), [(True, "name"), (False, "nokey_name")])
def test_a_casefolded_directory_lists_the_names_that_linux_listed(
    path: str, with_key: bool, what: str
) -> None:
    case = golden_case(path)
    image = opened(casefolded(case), keys_of(case) if with_key else None, checksums=False)

    got = sorted(node.name.decode() for node in image.children(image.find(b"/v2-perfile")))

    assert got == casefold_names(case, what)


@needs_golden
@pytest.mark.parametrize("path", CASEFOLD)
def test_a_casefolded_directory_finds_names_without_regard_to_case(path: str) -> None:
    case = golden_case(path)
    image = opened(casefolded(case), keys_of(case), checksums=False)
    names = casefold_names(case, "name")

    found = [image.find(f"/v2-perfile/{name.swapcase()}".encode()).name.decode() for name in names]

    assert found == names


@needs_golden
def test_a_no_key_name_has_case() -> None:
    case = golden_case(CASEFOLD[0])
    image = opened(casefolded(case), checksums=False)
    name = casefold_names(case, "nokey_name")[0]

    with pytest.raises(NoEntry):
        image.find(f"/v2-perfile/{name.swapcase()}".encode())


@needs_golden
@pytest.mark.parametrize("path", CASEFOLD)
def test_hashes_that_linux_stored_beside_casefolded_names_verify(path: str) -> None:
    case = golden_case(path)
    image = opened(casefolded(case), keys_of(case), checksums=False)

    report = verify(image, image.find(b"/v2-perfile"))

    assert (report.problems, report.checked["names"]) == ([], len(casefold_names(case, "name")))


@needs_golden
def test_a_wrong_hash_beside_a_casefolded_name_is_a_problem() -> None:
    case = golden_case(CASEFOLD[0])
    data = casefolded(case)
    stored = bytes.fromhex(item_of(case, "f-5000")["dirent_hash"])
    data[data.index(stored)] ^= 1
    image = opened(data, keys_of(case), checksums=False)

    (problem,) = verify(image, image.find(b"/v2-perfile")).problems

    assert problem == "/v2-perfile: 'f-5000': the stored hash is not that of the name"


@needs_golden
def test_data_units_decrypt_on_both_sides_of_the_wrap_of_iv_ino_lblk_32() -> None:
    path = "ext4-4k/v2-lblk32.json"
    case = golden_case(path)
    blob = (GOLDEN / path).with_suffix(".bin").read_bytes()
    wrapping = item_of(case, "f-wrap")
    inode = replace(
        parse_inode(wrapping["ino"], bytes(128)), mode=stat.S_IFREG | 0o644, flags=InodeFlags.ENCRYPT
    )
    superblock = replace(
        opened(golden_image("image-4k")).volume.superblock, uuid=bytes.fromhex(case["fs"]["uuid"])
    )
    units = ImageCrypto(superblock, keys_of(case)).contents(inode, bytes.fromhex(wrapping["context"]))
    assert units is not None

    runs = [
        units.decrypt(run["lblk"], blob[run["bin_offset"] : run["bin_offset"] + 4096 * run["count"]])
        for run in wrapping["runs"]
    ]

    assert hashlib.sha256(b"".join(runs)).hexdigest() == wrapping["plain_sha256"]


def a_tree(folder: Path) -> dict[str, bytes]:
    """Files, holes, symlinks and many names; by path what each holds."""
    made: dict[str, bytes] = {}
    (folder / "many").mkdir(parents=True)
    for number in range(120):
        name = f"many/{'name ' * (number % 9)}{number}"
        (folder / name).write_bytes(b"")
        made[name] = b""
    for name, size in (("tiny", 50), ("small", 140), ("block", 4096), ("indirect", 300_000)):
        made[name] = bytes((at * 7 + size) % 256 for at in range(size))
        (folder / name).write_bytes(made[name])
    with (folder / "sparse").open("wb") as file:
        for pos in (5000, 70_000, 900_000):
            file.seek(pos)
            file.write(b"data")
    made["sparse"] = (folder / "sparse").read_bytes()
    for name, length in (("fast", 59), ("slow", 60), ("long", 900)):
        (folder / name).symlink_to("t" * length)
        made[name] = b"t" * length
    return made


def listed(image: EncryptedImage) -> dict[str, bytes]:
    found = {}
    for node in image.walk(image.root):
        if node.inode.kind is InodeKind.REGULAR:
            found[node.path.decode()[1:]] = read_all(image, node)
        elif node.inode.kind is InodeKind.SYMLINK:
            found[node.path.decode()[1:]] = image.target(node)
    return found


@needs_e2fsprogs
@pytest.mark.parametrize(
    "options",
    [
        "-t ext2 -b 1024 -I 128",
        "-t ext3 -b 1024",
        "-t ext4 -b 1024",
        "-t ext4 -b 2048 -O ^metadata_csum,^64bit",
        "-t ext4 -b 4096 -I 1024 -O inline_data",
        "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode",
        "-t ext4 -b 1024 -O bigalloc,^resize_inode -C 16384",
        "-t ext4 -b 4096 -O casefold,metadata_csum_seed -E encoding=utf8",
        "-t ext4 -b 65536 -O ^has_journal",
        "-t ext4 -b 1024 -r 0 -O none",
    ],
)
def test_images_of_e2fsprogs_read_back_what_went_in(tmp_path: Path, options: str) -> None:
    made = a_tree(tmp_path / "tree")
    path = tmp_path / "image"
    command = [str(MKE2FS), "-q", "-F", *options.split(), "-d", str(tmp_path / "tree"), str(path), "24M"]
    subprocess.run(command, check=True, capture_output=True)

    assert listed(opened(bytearray(path.read_bytes()))) == made


@needs_e2fsprogs
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ("-b 1024 -g 512", "20M"),
        ("-b 1024 -g 512 -O meta_bg,^resize_inode", "80M"),
        ("-b 1024 -g 512 -O meta_bg,^resize_inode,^64bit,^sparse_super", "40M"),
        ("-b 4096 -g 1024 -O meta_bg,^resize_inode", "600M"),
        ("-b 1024 -g 4096 -O meta_bg,bigalloc,^resize_inode -C 4096", "100M"),
    ],
)
def test_every_inode_table_is_where_e2fsprogs_says(tmp_path: Path, options: str, size: str) -> None:
    path = tmp_path / "image"
    command = [str(MKE2FS), "-q", "-F", "-t", "ext4", *options.split(), str(path), size]
    subprocess.run(command, check=True, capture_output=True)
    told = subprocess.run([str(DUMPE2FS), str(path)], check=True, capture_output=True, text=True).stdout
    tables = re.findall(r"^Group \d+:.*?Inode table at (\d+)", told, re.MULTILINE | re.DOTALL)

    with ImageFile(path) as store:
        sb = Superblock.read(store, check_checksums=True)
        found = []
        for group in range(sb.groups_count):
            block, at = descriptor_place(sb, group)
            found.append(inode_table(store.read(block * sb.block_size + at, sb.desc_size)))

    assert found == [int(table) for table in tables]
