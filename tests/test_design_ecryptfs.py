"""eCryptfs: a stacked filesystem whose lower files are the medium."""

import errno
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.ecryptfs import EcryptfsCipher
from blkcrypto.fs.stacked import ecryptfs_file
from blkcrypto.fs.stacked.ecryptfs_file import StackedMount
from blkcrypto.fs.stacked.ecryptfs_header import HEADER_BYTES, build_header, parse_header, session_key
from blkcrypto.fs.stacked.ecryptfs_subject import EcryptfsSubject
from tests.oracle import design_stacked as oracle

SIG, OTHER_SIG = bytes.fromhex("d395309aaad4de06"), bytes(range(8))
KEY, OTHER_KEY = bytes(range(64)), bytes(range(100, 164))
TEXT = b"some text that is long enough " * 400


def new_mount(lower: dict[str, bytearray] | None = None, **keyring: bytes) -> StackedMount:
    keys = {bytes.fromhex(sig): key for sig, key in keyring.items()} or {SIG: KEY}
    return StackedMount({} if lower is None else lower, keys, np.random.default_rng(3))


def test_known_answers_of_ivs() -> None:
    """File key 00..0f: reference fscrypt.md section 8.3."""
    cipher = EcryptfsCipher(bytes(range(16)))
    assert [cipher.iv(extent).hex() for extent in (0, 1, 10)] == [
        "cd096e1db464e9b4c91e51419090606b",
        "41e2d33e4f39f1b90c7b306fc13cb684",
        "5ce066bcdaf9ef30ca01ce592e8d196e",
    ]


def test_the_lower_file_is_a_header_and_extents_as_the_oracle_says() -> None:
    mount = new_mount()
    mount.create("f").write(0, TEXT)
    lower = bytes(mount.lower["f"])
    assert (len(lower), lower[:8]) == (HEADER_BYTES + 3 * 4096, len(TEXT).to_bytes(8, "big"))
    assert int.from_bytes(lower[8:12]) ^ int.from_bytes(lower[12:16]) == 0x3C81B7F5
    assert lower[16:26].hex() == "03000002" + "00001000" + "0002"
    key = oracle.ecryptfs_session_key(lower, KEY, SIG)
    padded = TEXT.ljust(3 * 4096, b"\0")
    for extent in range(3):
        at = HEADER_BYTES + extent * 4096
        plain = padded[extent * 4096 : extent * 4096 + 4096]
        assert lower[at : at + 4096] == oracle.ecryptfs_extent(key, extent, plain)


def test_known_layout_of_the_packets() -> None:
    header = build_header(bytes(range(16)), {SIG: KEY}, size=5, marker=b"mark", salt=b"saltsalt")
    tag3, tag11 = header[26:57], header[57:81]
    assert tag3[:15].hex() == "8c1d" + "04070301" + b"saltsalt".hex() + "60"
    assert tag11 == b"\xed\x16\x62\x08_CONSOLE\0\0\0\0" + SIG
    assert header[81:] == bytes(HEADER_BYTES - 81)


@pytest.mark.parametrize("sig", [SIG, OTHER_SIG])
def test_any_wrapping_key_of_the_header_opens_the_file(sig: bytes) -> None:
    lower: dict[str, bytearray] = {}
    new_mount(lower, **{SIG.hex(): KEY, OTHER_SIG.hex(): OTHER_KEY}).create("f").write(0, TEXT)
    key = KEY if sig == SIG else OTHER_KEY
    assert new_mount(lower, **{sig.hex(): key}).open("f").read(0, 10**6) == TEXT


def test_without_a_key_opening_is_enokey_and_deleting_works() -> None:
    mount = new_mount()
    mount.create("f").write(0, TEXT)
    stranger = new_mount(mount.lower, **{OTHER_SIG.hex(): OTHER_KEY})
    with pytest.raises(BlkCryptoError) as caught:
        stranger.open("f")
    assert caught.value.errno == errno.ENOKEY
    stranger.delete("f")
    assert mount.lower == {}


def test_an_open_file_outlives_its_key_and_is_readable_again_when_it_is_back() -> None:
    mount = new_mount()
    file = mount.create("f")
    mount.keyring.clear()
    file.write(0, TEXT)
    file.close()
    with pytest.raises(BlkCryptoError, match="ENOKEY"):
        mount.open("f")
    mount.keyring[SIG] = KEY
    assert mount.open("f").read(0, 10**6) == TEXT


def test_a_wrong_key_under_the_right_signature_is_not_noticed() -> None:
    mount = new_mount()
    mount.create("f").write(0, TEXT)
    wrong = new_mount(mount.lower, **{SIG.hex(): OTHER_KEY})
    assert len(wrong.open("f").read(0, 10**6)) == len(TEXT)
    assert wrong.open("f").read(0, 10**6) != TEXT


def test_a_lower_file_moves_and_is_copied_as_ciphertext() -> None:
    mount = new_mount()
    mount.create("f").write(0, TEXT)
    mount.lower["copy"] = bytearray(mount.lower["f"])
    mount.lower["moved"] = mount.lower.pop("f")
    assert mount.open("copy").read(0, 10**6) == mount.open("moved").read(0, 10**6) == TEXT


def test_there_are_no_holes_a_gap_is_written_as_encrypted_zeroes() -> None:
    mount = new_mount()
    file = mount.create("f")
    file.write(5 * 4096, b"x")
    key = oracle.ecryptfs_session_key(bytes(mount.lower["f"]), KEY, SIG)
    at = HEADER_BYTES + 2 * 4096
    assert bytes(mount.lower["f"][at : at + 4096]) == oracle.ecryptfs_extent(key, 2, bytes(4096))
    assert file.lower_writes == 6 * 4096 + 2 * 8  # extents; the size after the gap and after the byte


def test_truncating_leaves_nothing_of_the_tail_even_encrypted() -> None:
    mount = new_mount()
    file = mount.create("f")
    file.write(0, TEXT)
    file.truncate(5000)
    key = oracle.ecryptfs_session_key(bytes(mount.lower["f"]), KEY, SIG)
    last = TEXT[4096:5000].ljust(4096, b"\0")
    assert bytes(mount.lower["f"][HEADER_BYTES + 4096 :]) == oracle.ecryptfs_extent(key, 1, last)


@pytest.mark.parametrize(
    "act",
    [
        lambda subject: subject.write("new", 0, b"y"),
        lambda subject: subject.write("f", 0, b"y"),
        lambda subject: subject.read("f"),
        lambda subject: subject.truncate("f", 100),
    ],
    ids=["create", "write", "read", "truncate"],
)
def test_a_subject_wipes_the_session_key_of_every_file_that_it_opens(
    act: Callable[[EcryptfsSubject], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = EcryptfsSubject({SIG: KEY}, np.random.default_rng(3))
    subject.add_key()
    subject.write("f", 0, TEXT)
    made, wiped = list[EcryptfsCipher](), list[EcryptfsCipher]()

    class Recorded(EcryptfsCipher):
        def __init__(self, key: bytes) -> None:
            super().__init__(key)
            made.append(self)

        def wipe(self) -> None:
            super().wipe()
            wiped.append(self)

    monkeypatch.setattr(ecryptfs_file, "EcryptfsCipher", Recorded)
    act(subject)
    assert len(made) == 1
    assert wiped == made


def test_every_page_is_cached_twice() -> None:
    mount = new_mount()
    mount.create("f").write(0, bytes(10 * 4096))
    file = mount.open("f")
    file.read(0, 10 * 4096)
    assert file.cached_bytes == 2 * 10 * 4096


def test_names_that_would_be_encrypted_have_up_to_143_bytes() -> None:
    mount = StackedMount({}, {SIG: KEY}, np.random.default_rng(1), encrypted_names=True)
    mount.create("n" * 143)
    with pytest.raises(BlkCryptoError, match="ENAMETOOLONG"):
        mount.create("n" * 144)


def test_no_plaintext_and_no_key_is_in_the_lower_file_but_sizes_and_signatures_are() -> None:
    mount = new_mount()
    mount.create("f").write(0, TEXT)
    lower = bytes(mount.lower["f"])
    key = oracle.ecryptfs_session_key(lower, KEY, SIG)
    assert not any(run in lower for run in [TEXT[at : at + 16] for at in range(30)] + [key, KEY[:16]])
    assert SIG in lower


def test_equal_files_share_no_block() -> None:
    mount = new_mount()
    for name in "ab":
        mount.create(name).write(0, bytes(4 * 4096))
    blocks = [
        bytes(lower[at : at + 16])
        for lower in mount.lower.values()
        for at in range(HEADER_BYTES, len(lower), 16)
    ]
    assert len(set(blocks)) == len(blocks)


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 30_000), st.binary(min_size=1, max_size=6000)),
        st.tuples(st.just("truncate"), st.integers(0, 30_000), st.just(b"")),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(ops=OPS)
def test_a_file_is_the_bytes_written_to_it_also_after_a_remount(ops: list[tuple[str, int, bytes]]) -> None:
    mount, model = new_mount(), bytearray()
    file = mount.create("f")
    for what, at, data in ops:
        if what == "write":
            file.write(at, data)
            model.extend(bytes(max(0, at + len(data) - len(model))))
            model[at : at + len(data)] = data
        else:
            file.truncate(at)
            model[at:] = b""
            model.extend(bytes(at - len(model)))
    assert file.read(0, 10**6) == bytes(model)
    assert new_mount(mount.lower).open("f").read(0, 10**6) == bytes(model)
    assert len(mount.lower["f"]) == HEADER_BYTES + -(-len(model) // 4096) * 4096


@settings(deadline=None, max_examples=60)
@given(hits=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_header_gives_our_errors_or_a_key_of_the_right_size(hits: list[tuple[int, int]]) -> None:
    header = bytearray(build_header(bytes(16), {SIG: KEY}, size=5, marker=b"mark", salt=bytes(8)))
    for at, value in hits:
        header[at] = value
    try:
        key = session_key(bytes(header), {SIG: KEY})
    except BlkCryptoError:
        return
    assert len(key) in (16, 32)


@pytest.mark.parametrize("data", [b"", bytes(100), bytes(HEADER_BYTES)])
def test_bytes_without_a_marker_are_einval(data: bytes) -> None:
    with pytest.raises(BlkCryptoError, match="EINVAL"):
        parse_header(data)


def test_deleting_what_is_not_there_is_enoent() -> None:
    with pytest.raises(BlkCryptoError, match="ENOENT"):
        new_mount().delete("f")


def test_a_header_has_room_for_as_many_packets_as_fit_8192_bytes() -> None:
    # 26 bytes, then 2 + 29 and 2 + 22 bytes for each key: 148 of 55 bytes leave room, 149 would not.
    keys = {number.to_bytes(8, "big"): KEY for number in range(149)}
    fitting = dict(list(keys.items())[:148])
    header = build_header(bytes(16), fitting, size=0, marker=bytes(4), salt=bytes(8))
    assert (len(header), list(parse_header(header).tokens)) == (HEADER_BYTES, list(fitting))
    with pytest.raises(BlkCryptoError, match="149 wrapping keys do not fit") as caught:
        build_header(bytes(16), keys, size=0, marker=bytes(4), salt=bytes(8))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (25, 1, "a header of 4096 bytes"),
        (26, 0, "no authentication token"),
        (27, 3, "a packet of tag 0x8c with 3 bytes"),
        (27, 12, "a packet of tag 0x8c with 12 bytes"),  # 13 come before the wrapped key
        (27, 192, "a packet of tag 0x8c with 192 bytes"),
        (58, 21, "a packet of tag 0xed with 21 bytes"),
        (57, 0xEE, "no packet of tag 0xed"),
        (28, 5, "another version, cipher or size"),
        (29, 9, "another version, cipher or size"),
        (60, 9, "other contents"),
    ],
)
def test_each_fault_of_a_header_is_einval_for_its_own_reason(at: int, value: int, why: str) -> None:
    header = bytearray(build_header(bytes(16), {SIG: KEY}, size=5, marker=b"mark", salt=bytes(8)))
    header[at] = value
    with pytest.raises(BlkCryptoError, match=why) as caught:
        parse_header(bytes(header))
    assert caught.value.errno == errno.EINVAL
