"""What a caller may and may not do: keys, sizes, buffers, wiping."""

import errno
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.blockcipher import KeyWiped
from blkcrypto.crypto.buffers import U8Array, WrongBuffer, WrongDataUnitSize
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher, new_name_cipher
from blkcrypto.crypto.dmcrypt import DmCipher
from blkcrypto.crypto.ecryptfs import EcryptfsCipher
from blkcrypto.crypto.modes import CIPHER_MODES, UnknownMode, WrongKeySize
from blkcrypto.crypto.poly1305 import PolyHash
from blkcrypto.crypto.xts import WeakKey

CONTENTS = [mode.name for mode in CIPHER_MODES.values() if mode.contents]
NAMES = [mode.name for mode in CIPHER_MODES.values() if mode.names]


def key_of(mode: str) -> bytes:
    """A key that occurs nowhere else in this process."""
    return bytes((83 * at + len(mode)) % 251 for at in range(CIPHER_MODES[mode].key_bytes))


def units(count: int = 8, size: int = 512) -> U8Array:
    return np.zeros((count, size), dtype=np.uint8)


@pytest.mark.parametrize("mode", CONTENTS)
def test_a_key_of_another_size_is_refused_with_einval(mode: str) -> None:
    with pytest.raises(WrongKeySize, match="byte key") as refusal:
        new_cipher(mode, key_of(mode) + b"\0")

    assert refusal.value.errno == errno.EINVAL


@pytest.mark.parametrize("mode", ["AES-256-XTS", "SM4-XTS"])
def test_an_xts_key_of_two_equal_halves_is_weak_and_refused_with_einval(mode: str) -> None:
    half = CIPHER_MODES[mode].key_bytes // 2

    with pytest.raises(WeakKey, match="must differ") as refusal:
        new_cipher(mode, bytes(range(half)) * 2)

    assert refusal.value.errno == errno.EINVAL


@pytest.mark.parametrize("make", [new_cipher, new_name_cipher])
def test_an_unknown_mode_is_refused_with_enoent_and_the_known_ones(
    make: Callable[[str, bytes], object],
) -> None:
    with pytest.raises(UnknownMode, match="AES-256-XTS") as refusal:
        make("AES-256-GCM", bytes(32))

    assert refusal.value.errno == errno.ENOENT


def test_a_names_mode_does_not_encrypt_contents_nor_the_other_way_round() -> None:
    with pytest.raises(UnknownMode, match="does not encrypt contents"):
        new_cipher("AES-256-CTS-CBC", bytes(32))
    with pytest.raises(UnknownMode, match="does not encrypt names"):
        new_name_cipher("AES-256-XTS", bytes(range(64)))


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("AES-256-XTS", 15),
        ("AES-128-CBC-ESSIV", 520),
        ("SM4-XTS", 520),
        ("Adiantum", 15),
        ("AES-128-CBC-ESSIV", 0),
    ],
)
def test_a_data_unit_the_mode_cannot_take_is_refused_with_einval(mode: str, size: int) -> None:
    with pytest.raises(WrongDataUnitSize) as refusal:
        new_cipher(mode, key_of(mode)).encrypt_run(0, units(8, size))

    assert refusal.value.errno == errno.EINVAL


@pytest.mark.parametrize("mode", NAMES)
def test_a_name_shorter_than_a_block_is_refused_with_einval(mode: str) -> None:
    cipher = new_name_cipher(mode, key_of(mode))

    for crypt in (cipher.encrypt, cipher.decrypt):
        with pytest.raises(WrongDataUnitSize) as refusal:
            crypt(bytes(CIPHER_MODES[mode].iv_bytes), bytes(15))
        assert refusal.value.errno == errno.EINVAL


@pytest.mark.parametrize("mode", CONTENTS)
def test_no_data_units_are_no_data_units(mode: str) -> None:
    cipher = new_cipher(mode, key_of(mode))

    assert cipher.encrypt_run(5, units(0)).shape == (0, 512)


@pytest.fixture(params=CONTENTS)
def cipher(request: pytest.FixtureRequest) -> DataUnitCipher:
    return new_cipher(request.param, key_of(request.param))


def test_src_must_be_rows_of_bytes(cipher: DataUnitCipher) -> None:
    encrypt_run: Any = cipher.encrypt_run
    for src in (units().reshape(-1), np.zeros((2, 512), np.uint16), units(2, 1024)[:, ::2]):
        with pytest.raises(WrongBuffer, match="src"):
            encrypt_run(0, src)


def test_out_must_look_like_src_and_be_writable(cipher: DataUnitCipher) -> None:
    read_only = units()
    read_only.flags.writeable = False

    encrypt_run: Any = cipher.encrypt_run
    for out in (units(7), np.zeros((8, 512), np.int8), units(8, 1024)[:, ::2], read_only):
        with pytest.raises(WrongBuffer, match="out"):
            encrypt_run(0, units(), out)


def test_ivs_must_be_one_row_for_each_data_unit(cipher: DataUnitCipher) -> None:
    iv_bytes = cipher.mode.iv_bytes

    for shape in ((7, iv_bytes), (8, iv_bytes + 1), (8 * iv_bytes,)):
        with pytest.raises(WrongBuffer, match="ivs must be"):
            cipher.encrypt(np.zeros(shape, np.uint8), units())


@given(shift=st.integers(1, 4095))
def test_buffers_that_partly_overlap_are_refused(shift: int) -> None:
    cipher = new_cipher("AES-256-XTS", key_of("AES-256-XTS"))
    memory = np.zeros(8192, dtype=np.uint8)
    low, high = memory[:4096].reshape(8, 512), memory[shift : shift + 4096].reshape(8, 512)

    for src, out in ((low, high), (high, low)):
        with pytest.raises(WrongBuffer, match="partly overlap"):
            cipher.encrypt_run(0, src, out)


def test_rows_between_rows_do_not_overlap(cipher: DataUnitCipher) -> None:
    memory = np.zeros((16, 512), dtype=np.uint8)

    cipher.encrypt_run(0, memory[::2], memory[1::2])

    assert np.array_equal(memory[1::2], cipher.encrypt_run(0, units()))


def test_the_same_place_under_another_name_is_in_place(cipher: DataUnitCipher) -> None:
    memory = units().reshape(-1)

    cipher.encrypt_run(0, memory.reshape(8, 512), memory.reshape(8, 512))

    assert np.array_equal(memory.reshape(8, 512), cipher.encrypt_run(0, units()))


def test_ivs_inside_the_output_are_refused(cipher: DataUnitCipher) -> None:
    out = units()

    with pytest.raises(WrongBuffer, match="ivs and out overlap"):
        cipher.encrypt(out.reshape(-1)[: 8 * cipher.mode.iv_bytes].reshape(8, -1), units(), out)


@pytest.mark.parametrize("dun", [-1, 2**256])
def test_a_number_that_is_no_dun_is_refused(cipher: DataUnitCipher, dun: int) -> None:
    with pytest.raises(ValueError, match=r"below 2\*\*256"):
        cipher.encrypt_run(dun, units())


def held_bytes(root: object) -> list[bytes]:
    """Every byte string and array that ``root`` reaches, modules and types aside."""
    seen: set[int] = set()
    found: list[bytes] = []
    todo: list[object] = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type) or type(thing).__name__ in ("module", "function"):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes | bytearray):
            found.append(bytes(thing))
        elif isinstance(thing, np.ndarray):
            found.append(thing.tobytes())
        todo.extend(gc.get_referents(thing))
    return found


@pytest.mark.parametrize("mode", CONTENTS)
def test_after_wiping_no_object_of_the_cipher_holds_the_key(mode: str) -> None:
    key = key_of(mode)
    cipher = new_cipher(mode, key)
    for count in (1, 300):
        cipher.decrypt_run(0, cipher.encrypt_run(0, units(count)))
    half = key[: len(key) // 2]
    assert any(half in held for held in held_bytes(cipher)), "the walk finds no key even before wiping"

    cipher.wipe()

    assert not any(part in held for held in held_bytes(cipher) for part in (half, key[len(key) // 2 :]))


@pytest.mark.parametrize("mode", CONTENTS)
@pytest.mark.parametrize("count", [1, 300])
def test_a_wiped_cipher_refuses_to_work(mode: str, count: int) -> None:
    cipher = new_cipher(mode, key_of(mode))
    cipher.encrypt_run(0, units(count))
    cipher.wipe()

    for crypt in (cipher.encrypt_run, cipher.decrypt_run):
        with pytest.raises(KeyWiped):
            crypt(0, units(count))


@pytest.mark.parametrize("mode", NAMES)
def test_a_wiped_name_cipher_refuses_to_work(mode: str) -> None:
    cipher = new_name_cipher(mode, key_of(mode))
    cipher.wipe()

    with pytest.raises(KeyWiped):
        cipher.encrypt(bytes(CIPHER_MODES[mode].iv_bytes), bytes(40))


@pytest.mark.parametrize("last", [0xFF, 0xFE, 0xFC, 0xFB, 0xFA])
def test_poly1305_reduces_sums_around_its_prime(last: int) -> None:
    # With r = 1 the hash is the sum of the blocks with bit 128 set: here 2**130 - 2 and a little less.
    blocks = b"\xff" * 16 + bytes([last]) + b"\xff" * 15
    total = sum(int.from_bytes(blocks[at : at + 16], "little") + 2**128 for at in (0, 16))

    low, high = PolyHash(b"\1" + bytes(15)).digests(np.frombuffer(blocks, dtype="<u8").reshape(1, 2, 2))

    assert int(low[0]) | int(high[0]) << 64 == total % (2**130 - 5) % 2**128


# Reference fscrypt.md section 8.2: sector 0x123456789, key 00 .. 1f.
@pytest.mark.parametrize(
    ("iv_mode", "iv"),
    [
        ("plain", "89674523000000000000000000000000"),
        ("plain64", "89674523010000000000000000000000"),
        ("plain64be", "00000000000000000000000123456789"),
        ("benbi", "00000000000000000000002468acf121"),
        ("null", "00000000000000000000000000000000"),
        ("essiv:sha256", "402002bc544ff7355a9fb32274bce78f"),
    ],
)
def test_dm_crypt_ivs_are_the_known_ones(iv_mode: str, iv: str) -> None:
    # CBC decryption of a block of zeroes is D(0) ^ IV, and D(0) is what the null IV gives.
    key, zeroes = bytes(range(32)), units(1)
    inverse_of_zero = DmCipher("aes-cbc-null", key).decrypt(0, zeroes)[0, :16]

    plaintext = DmCipher(f"aes-cbc-{iv_mode}", key).decrypt(0x123456789, zeroes)[0, :16]

    assert (plaintext ^ inverse_of_zero).tobytes().hex() == iv


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("aes", "EINVAL"),
        ("aes-xts-random", "EINVAL"),
        ("aes-xts-eboiv", "EINVAL"),
        ("capi:xts(aes)", "EINVAL"),
        ("twofish-xts-plain64", "ENOENT"),
        ("aes-cbc-essiv:md5", "ENOENT"),
    ],
)
def test_dm_crypt_specifications_it_cannot_read_are_refused(spec: str, error: str) -> None:
    with pytest.raises(BlkCryptoError) as refusal:
        DmCipher(spec, bytes(range(64)))

    assert refusal.value.errno_name == error


def test_dm_crypt_takes_rows_of_its_sector_size() -> None:
    with pytest.raises(WrongDataUnitSize, match="4096"):
        DmCipher("aes-xts-plain64", bytes(range(64)), sector_size=4096).encrypt(0, units())


# Reference fscrypt.md section 8.3: file key 00 .. 0f.
@pytest.mark.parametrize(
    ("extent", "iv"),
    [
        (0, "cd096e1db464e9b4c91e51419090606b"),
        (1, "41e2d33e4f39f1b90c7b306fc13cb684"),
        (10, "5ce066bcdaf9ef30ca01ce592e8d196e"),
    ],
)
def test_ecryptfs_extents_have_the_known_ivs(extent: int, iv: str) -> None:
    assert EcryptfsCipher(bytes(range(16))).iv(extent).hex() == iv


def test_ecryptfs_encrypts_each_extent_under_its_own_iv() -> None:
    cipher, plaintexts = EcryptfsCipher(bytes(range(16))), units(3, 4096)

    ciphertexts = cipher.encrypt(9, plaintexts)

    assert np.array_equal(ciphertexts[1:2], cipher.encrypt(10, plaintexts[:1]))
    assert np.array_equal(cipher.decrypt(9, ciphertexts), plaintexts)


def test_ecryptfs_refuses_other_extents_and_keys() -> None:
    with pytest.raises(WrongDataUnitSize, match="4096"):
        EcryptfsCipher(bytes(16)).encrypt(0, units())
    with pytest.raises(WrongKeySize):
        EcryptfsCipher(bytes(15))
