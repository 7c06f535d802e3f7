"""Key derivation and SipHash against published vectors and the reference's known answers."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.crypto.hkdf import HkdfSha512
from blkcrypto.crypto.hwkdf import KDF_VARIANTS, derive
from blkcrypto.crypto.siphash import siphash24, siphash24_u64
from blkcrypto.crypto.v1kdf import derive_v1
from tests.vectors import Vector, vectors


def by_name(vector: Vector) -> str:
    return vector["name"]


@pytest.mark.parametrize("vector", vectors("hkdf_sha512"), ids=by_name)
def test_hkdf_gives_the_published_keys(vector: Vector) -> None:
    hkdf = HkdfSha512(bytes.fromhex(vector["ikm"]), salt=bytes.fromhex(vector["salt"]))

    assert hkdf.expand(bytes.fromhex(vector["info"]), int(vector["size"])).hex() == vector["okm"]


@given(ikm=st.binary(max_size=80), info=st.binary(max_size=80), length=st.integers(1, 255 * 64))
def test_hkdf_agrees_with_another_implementation_at_every_length(
    ikm: bytes, info: bytes, length: int
) -> None:
    expected = HKDF(algorithm=SHA512(), length=length, salt=None, info=info).derive(ikm)

    assert HkdfSha512(ikm).expand(info, length) == expected


def test_hkdf_refuses_more_than_255_blocks() -> None:
    with pytest.raises(ValueError, match="0 to 16320 bytes"):
        HkdfSha512(b"key").expand(b"", 255 * 64 + 1)


def test_a_wiped_hkdf_derives_nothing_rather_than_from_a_zero_key() -> None:
    hkdf = HkdfSha512(b"key")
    hkdf.wipe()

    with pytest.raises(ValueError, match="wiped"):
        hkdf.expand(b"info", 16)


def test_a_shorter_key_is_the_beginning_of_a_longer_one() -> None:
    hkdf = HkdfSha512(bytes(range(1, 65)))

    assert hkdf.expand(b"info", 200).startswith(hkdf.expand(b"info", 16))


@pytest.mark.parametrize("vector", vectors("hw_kdf"), ids=by_name)
def test_hardware_derives_the_known_keys(vector: Vector) -> None:
    derived = derive(bytes.fromhex(vector["key"]), vector["name"])

    assert derived.inline_key.hex().startswith(vector["inline_key_starts"])
    assert derived.sw_secret.hex().startswith(vector["sw_secret_starts"])


@given(key=st.binary(min_size=32, max_size=32), variant=st.sampled_from(sorted(KDF_VARIANTS)))
def test_inline_key_and_software_secret_differ_in_every_variant(key: bytes, variant: str) -> None:
    derived = derive(key, variant)

    assert (len(derived.inline_key), len(derived.sw_secret)) == (64, 32)
    assert derived.sw_secret not in derived.inline_key


def test_hardware_refuses_an_unknown_variant_and_a_short_key() -> None:
    with pytest.raises(ValueError, match="one of kdf1"):
        derive(bytes(32), "kdf9")
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        derive(bytes(16))


def test_a_v1_key_is_the_known_answer() -> None:
    # Reference fscrypt.md section 2.6, "v1 AES-ECB, 64 B".
    key = derive_v1(bytes(range(1, 65)), bytes(range(0xA0, 0xB0)), 64)

    assert key.hex() == (
        "bd84bfea0c7459bcaac18262adfb68af78be523740e0b0a131a2ae6e21216fce"
        "fab0aafb000654ceb6674674737b787f9d9588e003f38820a1f74d1f317e6220"
    )


def test_a_v1_key_needs_a_whole_nonce_whole_blocks_and_enough_master_key() -> None:
    for master, nonce, length in (
        (bytes(64), bytes(15), 64),
        (bytes(64), bytes(16), 20),
        (bytes(32), bytes(16), 64),
    ):
        with pytest.raises(ValueError, match="not"):
            derive_v1(master, nonce, length)


@pytest.mark.parametrize("vector", vectors("siphash24"), ids=by_name)
def test_siphash_gives_the_digests_of_its_designers(vector: Vector) -> None:
    digest = siphash24(bytes.fromhex(vector["key"]), bytes.fromhex(vector["message"]))

    assert digest.to_bytes(8, "little").hex() == vector["digest"]


@given(
    key=st.binary(min_size=16, max_size=16),
    values=st.lists(st.integers(0, 2**64 - 1), max_size=20),
)
def test_siphash_of_many_values_is_that_of_each(key: bytes, values: list[int]) -> None:
    digests = siphash24_u64(key, np.array(values, dtype=np.uint64))

    assert digests.tolist() == [siphash24(key, value.to_bytes(8, "little")) for value in values]


@pytest.mark.parametrize(
    ("inode", "hashed"),
    [(12345, 0x3747AF47), (1, 0xE2F70369), (2, 0x28BDAEA2), (3, 0xCEB799C9), (24209004, 0xFFFFFFC7)],
)
def test_inodes_hash_to_the_known_answers(inode: int, hashed: int) -> None:
    # Reference fscrypt.md section 2.6, ctx 7 of M.
    key = bytes.fromhex("47646c0b607504d327bc9a6569f9a372")

    assert int(siphash24_u64(key, np.array([inode], dtype=np.uint64))[0]) & 0xFFFFFFFF == hashed
