"""Master keys for images: as options and files give them, and which policies they find."""

from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.image import ImageKeys
from blkcrypto.fs.image.keys import convention_descriptor
from tests.fscrypt_world import needs_golden
from tests.image_world import (
    Surgeon,
    golden_case,
    golden_image,
    item_of,
    keys_of,
    opened,
    opened_case,
    read_all,
)
from tests.oracle.image_files import plaintext

KEY = bytes(range(64))
OTHER = bytes(range(64, 96))
V1 = "image-4k/v1-fskey.json"


def test_the_conventional_descriptor_is_that_of_the_reference() -> None:
    # reference fscrypt.md section 2.6: of the bytes 01 to 40 (hex).
    assert convention_descriptor(bytes(range(1, 65))).hex() == "433c48721c7f03c2"


def test_keys_are_given_in_hex_and_more_than_once() -> None:
    assert ImageKeys.parse([KEY.hex(), OTHER.hex().upper()]) == ImageKeys((KEY, OTHER))


def test_a_descriptor_is_said_with_its_key() -> None:
    keys = ImageKeys.parse(descriptors=[f"0011223344556677={KEY.hex()}"])

    assert keys == ImageKeys((), ((bytes.fromhex("0011223344556677"), KEY),))


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (KEY, ImageKeys((KEY,))),
        (OTHER, ImageKeys((OTHER,))),
        (KEY.hex().encode(), ImageKeys((KEY,))),
        (f"# two keys\n{KEY.hex()}\n\n  {OTHER.hex()}\r\n".encode(), ImageKeys((KEY, OTHER))),
        (
            f"{OTHER.hex()}\n0011223344556677={KEY.hex()}\n".encode(),
            ImageKeys((OTHER,), ((bytes.fromhex("0011223344556677"), KEY),)),
        ),
        # 32 characters of hex are text, a key of 16 bytes, not 32 raw bytes.
        (KEY[:16].hex().encode(), ImageKeys((KEY[:16],))),
    ],
)
def test_a_key_file_holds_raw_bytes_or_lines_of_hex(tmp_path: Path, content: bytes, keys: ImageKeys) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)

    assert ImageKeys.parse(files=[path]) == keys


@pytest.mark.parametrize(("nbytes", "fits"), [(15, False), (16, True), (64, True), (65, False)])
def test_a_master_key_has_16_to_64_bytes(nbytes: int, fits: bool, tmp_path: Path) -> None:
    raw = bytes(range(128, 128 + nbytes))  # no text
    path = tmp_path / "key"
    path.write_bytes(raw)
    if fits:
        assert ImageKeys.parse([raw.hex()]) == ImageKeys.parse(files=[path]) == ImageKeys((raw,))
        return
    for given in ({"keys": [raw.hex()]}, {"files": [path]}):
        with pytest.raises(BadInput, match=r"master key of|not hex digits"):
            ImageKeys.parse(**given)


@pytest.mark.parametrize("nbytes", [1 << 20, (1 << 20) + 1])
def test_a_key_file_has_1_mib_at_most(nbytes: int, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\n" * nbytes)
    if nbytes == 1 << 20:
        assert ImageKeys.parse(files=[path]) == ImageKeys()
    else:
        with pytest.raises(BadInput, match="too large"):
            ImageKeys.parse(files=[path])


@pytest.mark.parametrize(
    ("keys", "descriptors", "why"),
    [
        (["00"], [], "--key: a master key of 1 bytes: they have 16 to 64"),
        (["00" * 65], [], "--key: a master key of 65 bytes"),
        (["xy" * 32], [], "--key: 64 characters that are not hex digits in pairs"),
        (["123"], [], "--key: 3 characters that are not hex"),
        ([], ["00" * 32], "--descriptor: write 16 hex digits"),
        ([], [f"0011={'00' * 32}"], "--descriptor: write 16 hex digits"),
        ([], ["0011223344556677="], "--descriptor: a master key of 0 bytes"),
    ],
)
def test_what_is_no_key_is_refused(keys: list[str], descriptors: list[str], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        ImageKeys.parse(keys, (), descriptors)


def test_an_error_never_shows_what_may_be_a_secret() -> None:
    with pytest.raises(BadInput) as caught:
        ImageKeys.parse(["secret" * 8])

    assert "secret" not in str(caught.value)


def test_keys_are_not_shown() -> None:
    text = repr(ImageKeys((OTHER,), ((bytes(8), KEY),)))

    assert repr(KEY) not in text
    assert repr(OTHER) not in text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no key\n", r"keys:1: 6 characters that are not hex"),
        (b"\n" * (1 << 21), "too large for a file of keys"),
    ],
)
def test_what_is_no_key_file_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)

    with pytest.raises(BadInput, match=why):
        ImageKeys.parse(files=[path])


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        ImageKeys.parse(files=[tmp_path / "none"])


@needs_golden
def test_a_v1_key_is_found_by_its_conventional_descriptor() -> None:
    case = golden_case(V1)
    item = item_of(case, "f-5000")
    data = golden_image("image-4k")
    raw = bytes.fromhex(case["master_key"])
    surgeon = Surgeon(data)
    for ino in (row["ino"] for row in case["objects"]):
        surgeon.put(surgeon.context_at(ino) + 4, convention_descriptor(raw))

    image = opened(data, ImageKeys((raw,)), checksums=False)

    assert read_all(image, image.find(b"/v1-fskey/f-5000")) == plaintext(bytes(data), case, item)


@needs_golden
def test_a_said_descriptor_wins_over_the_convention() -> None:
    case = golden_case(V1)
    (described,) = keys_of(case).described
    # The other key claims the same descriptor only by convention, which is broken here on purpose.
    image = opened(golden_image("image-4k"), ImageKeys((OTHER,), (described,)))

    assert image.find(b"/v1-fskey/f-5000").inode.ino == item_of(case, "f-5000")["ino"]


@needs_golden
@pytest.mark.parametrize("path", [V1, "image-4k/v2-lblk64.json"])
def test_a_key_opens_nothing_but_its_own_policies(path: str) -> None:
    image = opened_case(path, with_key=True)

    open_ones = {node.name.decode() for node in image.children(image.root) if not image.is_locked(node)}

    assert open_ones == {"lost+found", golden_case(path)["top_dir"]}
