"""Published vectors, through the batch code and through the code for a few data units."""

import numpy as np
import pytest

from blkcrypto.crypto.batch import BatchCipher, Kernel
from blkcrypto.crypto.blockcipher import Algorithm, BlockCipher
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.chacha import hchacha
from blkcrypto.crypto.cipher import new_cipher, new_name_cipher
from blkcrypto.crypto.modes import CIPHER_MODES
from blkcrypto.crypto.polyval import Polyval
from blkcrypto.crypto.xts import XtsKernel
from tests.vectors import Vector, vectors

# Few enough for a context each, and enough for the batch code: the same data unit over again.
COPIES = (1, 300)


def by_name(vector: Vector) -> str:
    return vector["name"]


def rows(data: bytes, copies: int) -> U8Array:
    return np.tile(np.frombuffer(data, dtype=np.uint8), (copies, 1))


def xts(algorithm: Algorithm, key: str) -> BatchCipher:
    kernel: Kernel = XtsKernel(algorithm, bytes.fromhex(key))
    return BatchCipher(CIPHER_MODES["AES-256-XTS"], kernel)


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("vector", vectors("xts_ieee1619"), ids=by_name)
def test_xts_gives_the_ciphertexts_of_ieee_1619(vector: Vector, copies: int) -> None:
    cipher = xts(Algorithm.AES, vector["key"])
    number = int.from_bytes(bytes.fromhex(vector["data_unit_number"]), "little")
    ivs = rows(number.to_bytes(16, "little"), copies)

    ciphertexts = cipher.encrypt(ivs, rows(bytes.fromhex(vector["plaintext"]), copies))

    expected = vector.get("ciphertext") or vector["ciphertext_starts"]
    assert {row.tobytes().hex()[: len(expected)] for row in ciphertexts} == {expected}


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("vector", vectors("xts_nist"), ids=by_name)
def test_xts_gives_the_ciphertexts_of_nist(vector: Vector, copies: int) -> None:
    cipher = new_cipher("AES-256-XTS", bytes.fromhex(vector["key"]))
    ivs = rows(bytes.fromhex(vector["iv"]), copies)

    ciphertexts = cipher.encrypt(ivs, rows(bytes.fromhex(vector["plaintext"]), copies))

    assert {row.tobytes().hex() for row in ciphertexts} == {vector["ciphertext"]}


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("vector", vectors("xts_sm4"), ids=by_name)
def test_sm4_xts_gives_the_published_ciphertexts(vector: Vector, copies: int) -> None:
    cipher = new_cipher("SM4-XTS", bytes.fromhex(vector["key"]))
    ivs = rows(bytes.fromhex(vector["iv"]), copies)

    ciphertexts = cipher.encrypt(ivs, rows(bytes.fromhex(vector["plaintext"]), copies))

    assert {row.tobytes().hex() for row in ciphertexts} == {vector["ciphertext"]}


@pytest.mark.parametrize("vector", vectors("sm4"), ids=by_name)
def test_sm4_blocks_are_those_of_the_standard(vector: Vector) -> None:
    cipher = BlockCipher(Algorithm.SM4, bytes.fromhex(vector["key"]))
    blocks = np.frombuffer(bytes.fromhex(vector["plaintext"]), dtype=np.uint8).copy()

    cipher.encrypt(blocks, blocks)

    assert blocks.tobytes().hex() == vector["ciphertext"]


@pytest.mark.parametrize(("mode", "name"), [("Adiantum", "adiantum"), ("AES-256-HCTR2", "hctr2")])
def test_wide_block_modes_give_their_designers_ciphertexts(mode: str, name: str) -> None:
    found = {
        vector["name"]: new_name_cipher(mode, bytes.fromhex(vector["key"]))
        .encrypt(bytes.fromhex(vector["tweak"]), bytes.fromhex(vector["plaintext"]))
        .hex()
        for vector in vectors(name)
    }

    assert found == {vector["name"]: vector["ciphertext"] for vector in vectors(name)}


@pytest.mark.parametrize("vector", vectors("polyval"), ids=by_name)
def test_polyval_gives_the_digest_of_rfc_8452(vector: Vector) -> None:
    blocks = np.frombuffer(bytes.fromhex(vector["message"]), dtype="<u8").reshape(1, -1, 2)

    digest = Polyval(bytes.fromhex(vector["key"])).digests(np.zeros((1, 2), dtype=np.uint64), blocks)

    assert digest.tobytes().hex() == vector["digest"]


@pytest.mark.parametrize("vector", vectors("hchacha20"), ids=by_name)
def test_hchacha_gives_the_subkey_of_the_draft(vector: Vector) -> None:
    nonces = np.frombuffer(bytes.fromhex(vector["nonce"]), dtype="<u4").reshape(1, -1)

    subkeys = hchacha(bytes.fromhex(vector["key"]), nonces, rounds=20)

    assert subkeys.T.tobytes().hex() == vector["subkey"]
