"""Names, symlinks and no-key names."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.fs.dirhash import Ext4HashVersion, ext4_hash
from blkcrypto.fs.fscrypt.derive import MasterKeyTooShort, PolicyForAnotherKey
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.names import (
    CiphertextTooShort,
    NameCipher,
    NameTooLong,
    encode_symlink,
    encrypted_size,
    split_symlink,
    symlink_disk_bytes,
)
from blkcrypto.fs.fscrypt.nokey import NokeyName, NoSuchNokeyName, decode_nokey_name
from blkcrypto.fs.fscrypt.policy import Policy, PolicyFlags
from tests.fscrypt_world import EXT4, INO, KAT, NONCE, RAW, policy_for

KEY = MasterKey.from_raw(RAW)
MODES = [(1, 4), (5, 6), (9, 9), (1, 10), (7, 8)]
name_bytes = st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name)


def cipher(flags: int, modes: tuple[int, int] = (1, 4), ino: int = INO, nonce: bytes = NONCE) -> NameCipher:
    return NameCipher(policy_for(KEY, flags, modes), KEY, EXT4, ino=ino, nonce=nonce)


def test_names_too_need_the_key_that_their_policy_names_and_all_of_it() -> None:
    another, short = MasterKey.from_raw(RAW[::-1]), MasterKey.from_raw(RAW[:31])
    with pytest.raises(PolicyForAnotherKey, match="ENOKEY"):
        NameCipher(policy_for(another, PolicyFlags.PAD_32), KEY, EXT4, ino=INO, nonce=NONCE)
    with pytest.raises(MasterKeyTooShort, match="ENOKEY"):
        NameCipher(policy_for(short, PolicyFlags.PAD_32), short, EXT4, ino=INO, nonce=NONCE)


@pytest.mark.parametrize(
    ("mode", "flags", "name", "ciphertext"), [tuple(row.values()) for row in KAT["names_with_per_file_key"]]
)
def test_names_are_the_known_answers(mode: int, flags: int, name: str, ciphertext: str) -> None:
    names = cipher(flags, (9 if mode == 9 else 1, mode))
    assert names.encrypt(name.encode()).hex() == ciphertext


def test_the_longest_name_is_the_known_answer() -> None:
    digest = hashlib.sha256(cipher(3).encrypt(b"y" * 255)).hexdigest()
    assert digest == "be768ae3fa2f7861d082bd6ff3544c139bea8c69068fd0c9698716390f0f98b6"


@given(name=name_bytes, padding=st.integers(0, 3), modes=st.sampled_from(MODES))
def test_decryption_undoes_encryption_for_every_name(
    name: bytes, padding: int, modes: tuple[int, int]
) -> None:
    names = cipher(padding, modes)
    ciphertext = names.encrypt(name)
    assert names.decrypt(ciphertext) == name
    assert 16 <= len(ciphertext) <= 255
    assert len(ciphertext) == 255 or len(ciphertext) % (4 << padding) == 0


@pytest.mark.parametrize(
    ("flags", "size", "expected"),
    [
        (0, 1, 16),
        (0, 17, 20),
        (1, 17, 24),
        (2, 17, 32),
        (3, 17, 32),
        (3, 254, 255),
        (0, 253, 255),
        (3, 224, 224),
    ],
)
def test_padding_fills_to_its_multiple_but_not_past_the_longest_name(
    flags: int, size: int, expected: int
) -> None:
    assert encrypted_size(Policy(flags=flags, master_key=bytes(16)), size) == expected


def test_a_name_past_255_bytes_is_too_long() -> None:
    with pytest.raises(NameTooLong, match="ENAMETOOLONG"):
        cipher(3).encrypt(b"n" * 256)


@pytest.mark.parametrize("size", [0, 15])
def test_a_short_ciphertext_is_damage(size: int) -> None:
    with pytest.raises(CiphertextTooShort, match="EUCLEAN"):
        cipher(3).decrypt(bytes(size))


@given(st.binary(min_size=16, max_size=40).filter(lambda name: b"\0" not in name))
def test_cbc_shows_common_prefixes_and_wide_block_modes_do_not(prefix: bytes) -> None:
    # The last whole block and the one before trade places, so two more blocks must follow the shared one.
    first, second = prefix[:16] + b"a" * 48, prefix[:16] + b"b" * 48
    shown = [cipher(0, modes) for modes in ((1, 4), (1, 10), (9, 9))]
    same = [names.encrypt(first)[:16] == names.encrypt(second)[:16] for names in shown]
    assert same == [True, False, False]


def test_the_directory_enters_the_key_or_the_iv() -> None:
    per_file, shared = PolicyFlags.PAD_32, PolicyFlags.PAD_32 | PolicyFlags.IV_INO_LBLK_64
    assert cipher(per_file).encrypt(b"a") == cipher(per_file, ino=INO + 1).encrypt(b"a")
    assert cipher(per_file).encrypt(b"a") != cipher(per_file, nonce=bytes(16)).encrypt(b"a")
    assert cipher(shared).encrypt(b"a") != cipher(shared, ino=INO + 1).encrypt(b"a")
    assert cipher(shared).encrypt(b"a") == cipher(shared, nonce=bytes(16)).encrypt(b"a")


@given(st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target))
def test_a_symlink_is_its_length_and_its_ciphertext(target: bytes) -> None:
    names = cipher(3)
    stored = encode_symlink(names, target, 4096)
    assert names.decrypt(split_symlink(stored)) == target
    # Two bytes of length are stored; a NUL that is not there is counted besides.
    assert symlink_disk_bytes(names.policy, len(target), 4096) == len(stored) + 1


@pytest.mark.parametrize("stored", [b"", b"\x10", b"\x00\x00", b"\x11\x00" + bytes(16)])
def test_a_damaged_symlink_is_refused(stored: bytes) -> None:
    with pytest.raises(CiphertextTooShort, match="EUCLEAN"):
        split_symlink(stored)


def test_a_no_key_name_is_the_known_answer() -> None:
    ciphertext = cipher(3).encrypt(b"hello.txt")
    listed = KAT["nokey_name_of_hello_txt_cts_pad_32_with_zero_hashes"]
    assert NokeyName.of(ciphertext).encode() == listed


@given(st.binary(min_size=16, max_size=255), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_no_key_name_finds_its_own_entry(ciphertext: bytes, major: int, minor: int) -> None:
    listed = NokeyName.of(ciphertext, major, minor).encode()
    found = decode_nokey_name(listed)
    assert (found.dir_hash, found.minor_hash) == (major, minor)
    assert found.matches(ciphertext)
    assert len(listed) <= 252


@given(st.binary(min_size=16, max_size=255), st.data())
def test_a_no_key_name_finds_no_other_entry(ciphertext: bytes, data: st.DataObject) -> None:
    found = decode_nokey_name(NokeyName.of(ciphertext).encode())
    at = data.draw(st.integers(0, len(ciphertext) - 1))
    other = bytearray(ciphertext)
    other[at] ^= 1
    assert not found.matches(bytes(other))
    assert not found.matches(ciphertext[:-1])


@pytest.mark.parametrize(
    "name",
    [
        "plain name",
        "",
        "AAAAAAAAAAA",  # the hashes alone
        "A" * 13,  # no base64 has this length
        "AAAAAAAAAAAAAB",  # the last character's unused bits are set
        "A" * 251,  # between the long and the short form
        "AAAAAAAAAAAA+/",
    ],
)
def test_what_is_no_no_key_name_is_not_found(name: str) -> None:
    with pytest.raises(NoSuchNokeyName, match="ENOENT"):
        decode_nokey_name(name)


def test_the_legacy_directory_hash_is_not_used_with_encryption() -> None:
    with pytest.raises(ValueError, match="is not used with encryption"):
        ext4_hash(b"name", Ext4HashVersion.LEGACY, bytes(16), signed=True)


@pytest.mark.parametrize(
    ("name", "half_md4", "tea"),
    [
        ("hello", (0x1746DA32, 0x420013B5), (0x6F5BB1A8, 0x231917C2)),
        (
            "a name of more than thirty-two bytes, as it happens",
            (0xAC8D9FD2, 0x890D2FCD),
            (0x62010DE2, 0xD90B4C88),
        ),
        ("größer als sechzehn Bytes und länger", (0x70910F5E, 0x6FDDD908), (0x597CE0DE, 0x1A58C32D)),
    ],
)
def test_without_a_seed_hashes_of_names_are_those_of_e2fsprogs(
    name: str, half_md4: tuple[int, int], tea: tuple[int, int]
) -> None:
    """As ``debugfs -R 'dx_hash -h half_md4 NAME'`` and ``-h tea`` of e2fsprogs print them."""
    found = [
        ext4_hash(name.encode(), version, bytes(16), signed=True)
        for version in (Ext4HashVersion.HALF_MD4, Ext4HashVersion.TEA)
    ]

    assert found == [half_md4, tea]
