"""Ciphertexts of the Linux kernel and of the fscrypt maintainers' own tool, from the shared golden data."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cipher import new_cipher, new_name_cipher
from blkcrypto.crypto.dmcrypt import DmCipher
from blkcrypto.crypto.hkdf import HkdfSha512
from blkcrypto.crypto.hwkdf import derive
from blkcrypto.crypto.modes import CIPHER_MODES, CipherMode
from blkcrypto.crypto.siphash import siphash24
from blkcrypto.crypto.v1kdf import derive_v1
from tests.vectors import Vector, vectors

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
VECTORS = GOLDEN / "vectors" / "fscrypt-vectors.json"
DM = GOLDEN / "dm"

Case = dict[str, Any]


def load(path: Path, key: str) -> list[Case]:
    if not path.exists():
        return []
    cases: list[Case] = json.loads(path.read_text())[key]
    return cases


needs_golden = pytest.mark.skipif(
    not VECTORS.exists(), reason="the shared golden data is not beside this checkout"
)


def rows(data: bytes, size: int) -> U8Array:
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, size)


def key_and_iv_tail(case: Case, mode: CipherMode) -> tuple[bytes, int, int]:
    """Key, what is added to the index, and the modulus of the sum, by the rules of fscrypt's policies."""
    master = bytes.fromhex(case["master_key"])
    number = bytes([case["mode_num"]])
    if case.get("enable_hw_kdf"):
        derived = derive(master)
        if case.get("use_inlinecrypt_key"):
            return derived.inline_key, *iv_addition(case, derived.sw_secret)
        master = derived.sw_secret
    if case.get("kdf") is None:
        return master[: mode.key_bytes], *iv_addition(case, master)
    nonce = bytes.fromhex(case.get("file_nonce", ""))
    if case["kdf"] == "AES-128-ECB":
        return derive_v1(master, nonce, mode.key_bytes), 0, 1 << 256
    if case.get("direct_key"):
        info = b"\3" + number
    elif case.get("iv_ino_lblk_64"):
        info = b"\4" + number + bytes.fromhex(case["fs_uuid"])
    elif case.get("iv_ino_lblk_32"):
        info = b"\6" + number + bytes.fromhex(case["fs_uuid"])
    else:
        info = b"\2" + nonce
    key = HkdfSha512(master).expand(b"fscrypt\0" + info, mode.key_bytes)
    return key, *iv_addition(case, master)


def iv_addition(case: Case, ikm: bytes) -> tuple[int, int]:
    inode = case.get("inode_number", 0)
    if case.get("direct_key"):
        return int.from_bytes(bytes(8) + bytes.fromhex(case["file_nonce"]), "little"), 1 << 256
    if case.get("iv_ino_lblk_64"):
        return inode << 32, 1 << 256
    if case.get("iv_ino_lblk_32"):
        hash_key = HkdfSha512(ikm).expand(b"fscrypt\0\7", 16)
        return siphash24(hash_key, inode.to_bytes(8, "little")) & 0xFFFFFFFF, 1 << 32
    return 0, 1 << 256


def encrypted(case: Case, plaintext: bytes) -> bytes:
    mode = CIPHER_MODES[case["cipher"]]
    key, added, modulus = key_and_iv_tail(case, mode)
    size = case["data_unit_size"]
    out = b""
    for at in range(0, len(plaintext), size):
        number = (case.get("data_unit_index", 0) + at // size + added) % modulus
        iv = number.to_bytes(32, "little")[: mode.iv_bytes]
        unit = plaintext[at : at + size]
        if mode.contents:
            out += (
                new_cipher(mode.name, key).encrypt(rows(iv, mode.iv_bytes), rows(unit, len(unit))).tobytes()
            )
        else:
            out += new_name_cipher(mode.name, key).encrypt(iv, unit)
    return out


@needs_golden
@pytest.mark.parametrize("case", load(VECTORS, "vectors"), ids=lambda case: case["plaintext"]["seed"])
def test_a_vector_of_the_fscrypt_tool_is_reproduced(case: Case) -> None:
    seed = case["plaintext"]
    plaintext = hashlib.shake_128(seed["seed"].encode()).digest(seed["length"])

    ciphertext = encrypted(case, plaintext)

    if "ciphertext" in case:
        assert ciphertext.hex() == case["ciphertext"]
    else:
        assert hashlib.sha256(ciphertext).hexdigest() == case["ciphertext_sha256"]


@needs_golden
def test_key_identifiers_are_those_of_the_fscrypt_tool() -> None:
    cases = load(VECTORS, "key_identifiers")

    found = []
    for case in cases:
        key = bytes.fromhex(case["key"])
        ikm, context = (derive(key).sw_secret, b"\x08") if case["hw_wrapped"] else (key, b"\1")
        found.append(HkdfSha512(ikm).expand(b"fscrypt\0" + context, 16).hex())

    assert found == [case["key_identifier"] for case in cases]


def dm_cipher(case: Case) -> DmCipher:
    sizes = [int(option.split(":")[1]) for option in case["opts"] if option.startswith("sector_size:")]
    return DmCipher(
        case["cipher"],
        bytes.fromhex(case["key"]),
        sector_size=sizes[0] if sizes else 512,
        iv_large_sectors="iv_large_sectors" in case["opts"],
    )


def dm_cases(result: str) -> list[Case]:
    return [case for case in load(DM / "dm.json", "cases") if (case["result"] == "OK") == (result == "OK")]


@needs_golden
@pytest.mark.parametrize("case", dm_cases("OK"), ids=lambda case: case["table"].replace(case["key"], "KEY"))
def test_dm_crypt_wrote_these_sectors(case: Case) -> None:
    cipher, recorded = dm_cipher(case), (DM / "dm.bin").read_bytes()

    for segment in case["segments"]:
        nbytes = 512 * segment["sectors"]
        plaintext = hashlib.shake_128(segment["seed"].encode()).digest(nbytes)
        ciphertext = recorded[segment["bin_offset"] :][:nbytes]
        sector = case["iv_offset"] + segment["sector"]
        assert cipher.encrypt(sector, rows(plaintext, cipher.sector_size)).tobytes() == ciphertext
        assert cipher.decrypt(sector, rows(ciphertext, cipher.sector_size)).tobytes() == plaintext


ERRNO = {"Invalid argument": "EINVAL", "No such file or directory": "ENOENT"}
# The other refusals concern the table, not the cipher.
REFUSED_CIPHERS = [
    case
    for case in dm_cases("refused")
    if case["target"] == "crypt" and "nonsense" not in case["opts"] and case["iv_offset"] != 3
]


@needs_golden
@pytest.mark.parametrize("case", REFUSED_CIPHERS, ids=lambda case: case["table"].replace(case["key"], "KEY"))
def test_dm_crypt_refuses_these_ciphers_with_the_same_errno(case: Case) -> None:
    with pytest.raises(BlkCryptoError) as refusal:
        dm_cipher(case)

    assert refusal.value.errno_name == ERRNO[case["result"]]


def zeroes_encrypted(vector: Vector) -> bytes:
    cipher = new_cipher(vector["mode"], bytes.fromhex(vector["key"]))
    dun = int.from_bytes(bytes.fromhex(vector["iv"]), "little")
    return cipher.encrypt_run(dun, rows(bytes(4096), int(vector["data_unit_size"]))).tobytes()


KNOWN = vectors("known_ciphertexts")


@pytest.mark.parametrize("vector", KNOWN, ids=lambda vector: vector["name"])
def test_zeroes_encrypt_to_the_known_first_block(vector: Vector) -> None:
    assert zeroes_encrypted(vector)[:16].hex() == vector["starts"]


@pytest.mark.parametrize(
    "vector", [vector for vector in KNOWN if "sha256" in vector], ids=lambda vector: vector["name"]
)
def test_zeroes_encrypt_to_the_known_digest(vector: Vector) -> None:
    assert hashlib.sha256(zeroes_encrypted(vector)).hexdigest() == vector["sha256"]
