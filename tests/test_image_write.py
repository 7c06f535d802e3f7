"""Overwriting files in a copy of an image: what an independent reader then finds, and what is refused."""

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.fs.ext4 import Ext4Volume
from blkcrypto.fs.ext4.features import Incompat, InodeFlags, RoCompat
from blkcrypto.fs.image import EncryptedImage
from blkcrypto.fs.image import overwrite as overwriting
from blkcrypto.fs.image.overwrite import overwrite
from tests.fscrypt_world import needs_golden
from tests.image_world import (
    CASES,
    MemoryStore,
    Surgeon,
    golden_case,
    golden_image,
    item_of,
    keys_of,
    layout_image,
    opened,
    read_all,
)
from tests.oracle.image_files import plaintext

PERFILE, DU512 = "image-4k/v2-perfile.json", "image-1k/v2-du512.json"
GOLDEN_KEY = bytes(range(64)).hex()
pytestmark = needs_golden


def write(case_path: str, name: str, pos: int, data: bytes) -> tuple[bytes, bytes, dict[str, Any]]:
    """A golden image before and after a write, and its case."""
    case = golden_case(case_path)
    after = golden_image(case_path.split("/")[0])
    before = bytes(after)
    image = opened(after, keys_of(case))
    overwrite(image, image.find(f"/{case['top_dir']}/{name}".encode()), pos, io.BytesIO(data), len(data))
    return before, bytes(after), case


def spliced(old: bytes, pos: int, data: bytes) -> bytes:
    return old[:pos] + data + old[pos + len(data) :]


def changed(before: bytes, after: bytes, unit: int) -> set[int]:
    """Numbers of the units of an image that differ."""
    return {
        at // unit for at in range(0, len(before), unit) if before[at : at + unit] != after[at : at + unit]
    }


@pytest.mark.parametrize("path", CASES)
@pytest.mark.parametrize(("name", "pos", "nbytes"), [("f-5000", 1000, 3500), ("f-17", 0, 17)])
def test_an_independent_reader_finds_the_new_bytes(path: str, name: str, pos: int, nbytes: int) -> None:
    data = bytes(at % 251 for at in range(nbytes))

    before, after, case = write(path, name, pos, data)

    item = item_of(case, name)
    assert plaintext(after, case, item) == spliced(plaintext(before, case, item), pos, data)


@settings(max_examples=30)
@given(pos=st.integers(0, 4999), data=st.binary(min_size=1, max_size=5000))
def test_any_range_below_the_end_is_spliced_in(pos: int, data: bytes) -> None:
    data = data[: 5000 - pos]

    before, after, case = write(DU512, "f-5000", pos, data)

    item = item_of(case, "f-5000")
    assert plaintext(after, case, item) == spliced(plaintext(before, case, item), pos, data)


@pytest.mark.parametrize(("pos", "nbytes"), [(0, 5000), (1000, 1100), (1024, 2048), (2047, 2), (3000, 2000)])
def test_a_write_of_several_chunks_is_one_write(
    pos: int, nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are 1 MiB, and no file of the images has so much."""
    monkeypatch.setattr(overwriting, "CHUNK_BYTES", 1024)
    data = bytes(at % 251 for at in range(nbytes))

    before, after, case = write(DU512, "f-5000", pos, data)

    item = item_of(case, "f-5000")
    assert plaintext(after, case, item) == spliced(plaintext(before, case, item), pos, data)


def test_a_write_counts_its_data_units_over_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes 1000 to 3999 lie in units 1 to 7 of 512 bytes."""
    monkeypatch.setattr(overwriting, "CHUNK_BYTES", 1024)
    image = opened(golden_image("image-1k"), keys_of(golden_case(DU512)))

    assert overwrite(image, image.find(b"/v2-du512/f-5000"), 1000, io.BytesIO(bytes(3000)), 3000) == 7


@pytest.mark.parametrize(
    ("pos", "nbytes", "units"),
    [(0, 1, [0]), (511, 2, [0, 1]), (512, 512, [1]), (1000, 1100, [1, 2, 3, 4]), (4999, 1, [9])],
)
def test_only_the_data_units_of_the_range_change(pos: int, nbytes: int, units: list[int]) -> None:
    # One run, so the file's n-th data unit of 512 bytes lies n units after the run's first.
    case = golden_case(DU512)
    (run,) = item_of(case, "f-5000")["runs"]

    before, after, _ = write(DU512, "f-5000", pos, b"\x5a" * nbytes)

    assert changed(before, after, 512) == {2 * run["pblk"] + unit for unit in units}


def test_writing_the_bytes_that_are_there_changes_nothing() -> None:
    case = golden_case(PERFILE)
    old = plaintext(bytes(golden_image("image-4k")), case, item_of(case, "f-5000"))

    before, after, _ = write(PERFILE, "f-5000", 0, old)

    assert before == after


def test_a_sparse_file_is_written_where_it_has_blocks() -> None:
    data = b"x" * 4096

    before, after, case = write(PERFILE, "f-sparse2", 7 * 4096, data)

    assert changed(before, after, 4096) == {item_of(case, "f-sparse2")["runs"][1]["pblk"]}


@pytest.mark.parametrize(("name", "pos"), [("/dir/indirect", 11_000), ("/dir/sparse", 70000 * 1024 + 100)])
def test_files_with_block_maps_read_back_what_was_written(name: str, pos: int) -> None:
    keys = keys_of({"master_key": GOLDEN_KEY, "policy": {}})
    data = layout_image("blockmap")
    image = opened(data, keys)
    old = image.contents(image.find(name.encode())).read(pos - 50, 127)

    overwrite(image, image.find(name.encode()), pos, io.BytesIO(b"new bytes"), 9)

    again = opened(data, keys)
    assert again.contents(again.find(name.encode())).read(pos - 50, 127) == spliced(old, 50, b"new bytes")


def test_a_file_that_is_not_encrypted_is_written_as_it_is() -> None:
    data = layout_image("blockmap")
    image = opened(data)

    overwrite(image, image.find(b"/plain"), 14_000, io.BytesIO(b"in the clear"), 12)

    assert data.count(b"in the clear") == 1
    assert read_all(image, image.find(b"/plain"))[14_000:14_012] == b"in the clear"


def test_a_write_is_made_durable_once_it_is_whole() -> None:
    case = golden_case(PERFILE)
    store = MemoryStore(golden_image("image-4k"))
    image = EncryptedImage(Ext4Volume(store), keys_of(case))

    units = overwrite(image, image.find(b"/v2-perfile/f-5000"), 4000, io.BytesIO(bytes(200)), 200)

    assert (units, store.flushes) == (2, 1)


def test_no_bytes_are_written_for_no_bytes() -> None:
    before, after, _ = write(PERFILE, "f-5000", 5000, b"")

    assert before == after


def refused(data: bytearray, name: str, pos: int, nbytes: int, *, with_key: bool = True) -> str:
    """The error of a write into ``v2-perfile``; the image must stay as it was."""
    before = bytes(data)
    image = opened(data, keys_of(golden_case(PERFILE)) if with_key else None, checksums=False)
    with pytest.raises((BadInput, BlkCryptoError)) as caught:
        overwrite(image, image.find(name.encode()), pos, io.BytesIO(bytes(nbytes)), nbytes)
    assert bytes(data) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "pos", "nbytes", "why"),
    [
        ("f-5000", 0, 5001, "has 5000 bytes: 5001 from byte 0 would make it longer, and its size stays"),
        ("f-5000", 5000, 1, "has 5000 bytes: 1 from byte 5000 would make it longer, and its size stays"),
        ("f-5000", -1, 1, "has 5000 bytes: 1 from byte -1 would make it longer, and its size stays"),
        ("f-sparse2", 8191, 2, "has a hole at bytes 8192 to 12287: only written blocks are overwritten"),
        (
            "f-sparse2",
            120_000,
            10,
            "has a hole at bytes 118784 to 122879: only written blocks are overwritten",
        ),
    ],
)
def test_what_would_need_metadata_to_change_is_refused(name: str, pos: int, nbytes: int, why: str) -> None:
    message = refused(golden_image("image-4k"), f"/v2-perfile/{name}", pos, nbytes)

    assert message == f"test.img: /v2-perfile/{name}: {why}"


def test_space_reserved_but_never_written_is_refused() -> None:
    image = opened(layout_image("trees"), keys_of({"master_key": GOLDEN_KEY, "policy": {}}))

    with pytest.raises(BadInput, match="space reserved but never written at bytes 0 to 4095"):
        overwrite(image, image.find(b"/dir/reserved"), 0, io.BytesIO(bytes(4097)), 4097)


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        (InodeFlags.VERITY, "it is protected by fs-verity: a change would make it unreadable"),
        (InodeFlags.IMMUTABLE, "it is immutable"),
        (InodeFlags.APPEND, "it is append-only"),
        (InodeFlags.COMPR, "it is compressed"),
        (InodeFlags.INLINE_DATA, "its data lies in the inode, which is metadata"),
    ],
)
def test_files_that_linux_would_not_overwrite_are_refused(flag: InodeFlags, why: str) -> None:
    data = golden_image("image-4k")
    Surgeon(data).set_flag(item_of(golden_case(PERFILE), "f-5000")["ino"], flag)

    message = refused(data, "/v2-perfile/f-5000", 0, 10)

    assert message == f"test.img: /v2-perfile/f-5000: is not overwritten: {why}"


@pytest.mark.parametrize(
    ("at", "bit", "why"),
    [
        (0x60, Incompat.RECOVER, "its journal holds changes not yet made"),
        (0x64, RoCompat.SHARED_BLOCKS, "has features for readers only (ro_compat 0x4000)"),
        (0x64, RoCompat.READONLY, "has features for readers only (ro_compat 0x1000)"),
        (0x64, 0x80000000, "has features for readers only (ro_compat 0x80000000)"),
    ],
)
def test_filesystems_that_must_not_be_written_are_refused(at: int, bit: int, why: str) -> None:
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    surgeon.put32(1024 + at, surgeon.u32(1024 + at) | bit)

    assert refused(data, "/v2-perfile/f-5000", 0, 10).startswith(f"test.img: {why}")


def test_writing_without_the_key_is_refused_with_the_key_that_is_missing() -> None:
    locked = item_of(golden_case(PERFILE), "f-5000")["nokey_name"]

    message = refused(golden_image("image-4k"), f"/v2-perfile/{locked}", 0, 10, with_key=False)

    assert message.endswith("needs the key of identifier 8699c2c53707405da5aba5ae4d8583c0 [ENOKEY]")


@pytest.mark.parametrize(("name", "why"), [("subdir", "EISDIR"), ("link-5", "only regular files")])
def test_only_regular_files_are_written(name: str, why: str) -> None:
    assert why in refused(golden_image("image-4k"), f"/v2-perfile/{name}", 0, 1)


def test_new_data_that_ends_early_is_refused() -> None:
    image = opened(golden_image("image-4k"), keys_of(golden_case(PERFILE)))

    with pytest.raises(BadInput, match=r"^test.img: /v2-perfile/f-5000: the new data ended after 3 of 10"):
        overwrite(image, image.find(b"/v2-perfile/f-5000"), 0, io.BytesIO(b"abc"), 10)
