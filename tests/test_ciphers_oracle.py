"""The batch code equals slow literal twins: any size, key, DUN, alignment and number of data units."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.crypto import blockcipher
from blkcrypto.crypto.adiantum import AdiantumKernel
from blkcrypto.crypto.batch import BatchCipher, Kernel
from blkcrypto.crypto.blockcipher import Algorithm, BlockCipher
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cbc import CbcKernel
from blkcrypto.crypto.cipher import new_cipher, new_name_cipher
from blkcrypto.crypto.hctr2 import Hctr2Kernel
from blkcrypto.crypto.modes import CIPHER_MODES
from blkcrypto.crypto.tweaks import TweakExpander, extend_streams
from blkcrypto.crypto.xts import XtsKernel
from tests.oracle.slow_adiantum import adiantum_unit
from tests.oracle.slow_cbc import cbc_encrypt, cts_encrypt
from tests.oracle.slow_hctr2 import hctr2_unit
from tests.oracle.slow_xts import xts_unit

# Counts on both sides of where a batch pays, and sizes with and without whole groups of eight blocks.
COUNTS = st.sampled_from([1, 2, 9, 40])
SIZES = st.sampled_from([16, 48, 128, 144, 512, 1024])
DUNS = st.one_of(
    *(st.integers(2**bits - 45, 2**bits + 5) for bits in (32, 64, 128)),
    st.integers(2**256 - 45, 2**256 - 1),
    st.integers(0, 2**256 - 1),
)


def random_bytes(seed: int, *shape: int) -> U8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def iv(dun: int, nbytes: int) -> bytes:
    return (dun % 2**256).to_bytes(32, "little")[:nbytes]


def batch(kernel: Kernel, mode: str) -> BatchCipher:
    return BatchCipher(CIPHER_MODES[mode], kernel, threads=1)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32), dun=DUNS, count=COUNTS, size=SIZES, key_bytes=st.sampled_from([32, 48, 64])
)
def test_xts_equals_one_block_at_a_time(seed: int, dun: int, count: int, size: int, key_bytes: int) -> None:
    key = random_bytes(seed, key_bytes).tobytes()
    plaintexts = random_bytes(seed + 1, count, size)
    cipher = batch(XtsKernel(Algorithm.AES, key), "AES-256-XTS")

    ciphertexts = cipher.encrypt_run(dun, plaintexts)

    for at in {0, count // 2, count - 1}:
        assert ciphertexts[at].tobytes() == xts_unit(
            key, iv(dun + at, 16), plaintexts[at].tobytes(), "encrypt"
        )
    assert np.array_equal(cipher.decrypt_run(dun, ciphertexts), plaintexts)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), dun=DUNS, count=COUNTS, size=SIZES)
def test_sm4_xts_equals_one_block_at_a_time(seed: int, dun: int, count: int, size: int) -> None:
    key = random_bytes(seed, 32).tobytes()
    plaintexts = random_bytes(seed + 1, count, size)

    ciphertexts = new_cipher("SM4-XTS", key).encrypt_run(dun, plaintexts)

    expected = xts_unit(key, iv(dun, 16), plaintexts[0].tobytes(), "encrypt", algorithms.SM4)
    assert ciphertexts[0].tobytes() == expected


def test_ten_thousand_data_units_equal_a_context_each() -> None:
    key, dun = random_bytes(1, 64).tobytes(), 2**64 - 5000
    plaintexts = random_bytes(2, 10_000, 512)

    ciphertexts = new_cipher("AES-256-XTS", key).encrypt_run(dun, plaintexts)

    for at, row in enumerate(plaintexts):
        context = Cipher(algorithms.AES(key), modes.XTS(iv(dun + at, 16))).encryptor()
        assert context.update(row.tobytes()) == ciphertexts[at].tobytes()


@given(seed=st.integers(0, 2**32), size=st.integers(16, 600), count=st.integers(1, 12))
def test_xts_steals_ciphertext_where_a_data_unit_is_not_whole_blocks(
    seed: int, size: int, count: int
) -> None:
    key = random_bytes(seed, 64).tobytes()
    plaintexts = random_bytes(seed + 1, count, size)

    ciphertexts = new_cipher("AES-256-XTS", key).encrypt_run(7, plaintexts)

    context = Cipher(algorithms.AES(key), modes.XTS(iv(7 + count - 1, 16))).encryptor()
    assert ciphertexts[-1].tobytes() == context.update(plaintexts[-1].tobytes())


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), units=st.integers(1, 9), groups=st.integers(1, 160))
def test_tweaks_are_the_first_tweak_doubled_for_every_block(seed: int, units: int, groups: int) -> None:
    first = random_bytes(seed, units, 16)

    tweaks = TweakExpander(units, 8 * groups).expand(extend_streams(first.view(np.uint64), 8 * groups))

    for row, start in zip(tweaks, first, strict=True):
        tweak = int.from_bytes(start.tobytes(), "little")
        for low, high in row.reshape(-1, 2).tolist():
            assert tweak == low | high << 64
            tweak = (tweak << 1) % 2**128 ^ (0x87 if tweak >> 127 else 0)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    mode=st.sampled_from(["AES-256-XTS", "AES-128-CBC-ESSIV", "Adiantum"]),
    count=st.sampled_from([1, 3, 40, 200]),
    size=st.sampled_from([512, 1024]),
    src_shift=st.integers(0, 15),
    out_shift=st.integers(0, 15),
    gap=st.sampled_from([0, 3, 64]),
    encrypt=st.booleans(),
)
def test_alignment_and_gaps_between_rows_change_nothing(
    seed: int, mode: str, count: int, size: int, src_shift: int, out_shift: int, gap: int, *, encrypt: bool
) -> None:
    cipher = new_cipher(mode, random_bytes(seed, CIPHER_MODES[mode].key_bytes).tobytes(), threads=1)
    data = random_bytes(seed + 1, count, size)
    crypt = cipher.encrypt_run if encrypt else cipher.decrypt_run

    def placed(shift: int) -> U8Array:
        memory = np.zeros(count * (size + gap) + 16, dtype=np.uint8)
        return np.ndarray((count, size), np.uint8, memory, shift, (size + gap, 1))

    src, out = placed(src_shift), placed(out_shift)
    src[:] = data
    expected = crypt(9, data)

    assert np.array_equal(crypt(9, src, out), expected)
    assert np.array_equal(src, data)
    crypt(9, src, src)
    assert np.array_equal(src, expected)


@pytest.mark.parametrize("mode", ["AES-256-XTS", "AES-128-CBC-ESSIV", "SM4-XTS", "Adiantum"])
@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_does_not_show_in_the_result(mode: str, threads: int) -> None:
    key, plaintexts = random_bytes(3, CIPHER_MODES[mode].key_bytes).tobytes(), random_bytes(4, 3001, 4096)
    dun = 2**64 - 2000

    one = new_cipher(mode, key, threads=1).encrypt_run(dun, plaintexts)
    several = new_cipher(mode, key, threads=threads).encrypt_run(dun, plaintexts)

    assert np.array_equal(one, several)


def test_more_tweaks_than_are_made_ahead_for_all_threads_are_those_of_one_thread() -> None:
    # Three words of tweaks for each data unit of 512 bytes; 50,000 words are the most that are made ahead.
    key, plaintexts = random_bytes(6, 64).tobytes(), random_bytes(7, 17_000, 512)
    dun = 2**64 - 9000

    one = new_cipher("AES-256-XTS", key, threads=1).encrypt_run(dun, plaintexts)
    several = new_cipher("AES-256-XTS", key, threads=2).encrypt_run(dun, plaintexts)

    assert np.array_equal(one, several)
    for at in (0, 8999, 9000, 16_999):
        assert one[at].tobytes() == xts_unit(key, iv(dun + at, 16), plaintexts[at].tobytes(), "encrypt")


@pytest.mark.parametrize("mode", ["AES-256-XTS", "AES-128-CBC-ESSIV", "SM4-XTS", "Adiantum"])
@given(dun=DUNS, count=COUNTS)
@settings(max_examples=15)
def test_a_dun_run_is_the_same_as_its_ivs(mode: str, dun: int, count: int) -> None:
    row = CIPHER_MODES[mode]
    cipher, plaintexts = new_cipher(mode, bytes(range(row.key_bytes))), random_bytes(5, count, 512)
    ivs = np.frombuffer(b"".join(iv(dun + at, row.iv_bytes) for at in range(count)), dtype=np.uint8)

    by_ivs = cipher.encrypt(ivs.reshape(count, -1), plaintexts)

    assert np.array_equal(cipher.encrypt_run(dun, plaintexts), by_ivs)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), dun=DUNS, count=st.sampled_from([1, 20, 70]), size=SIZES)
def test_cbc_essiv_equals_one_block_at_a_time(seed: int, dun: int, count: int, size: int) -> None:
    key = random_bytes(seed, 16).tobytes()
    plaintexts = random_bytes(seed + 1, count, size)
    hashed = Hash(SHA256())
    hashed.update(key)
    essiv = Cipher(algorithms.AES(hashed.finalize()), modes.ECB()).encryptor()
    cipher = new_cipher("AES-128-CBC-ESSIV", key)

    ciphertexts = cipher.encrypt_run(dun, plaintexts)

    for at in {0, count - 1}:
        chain_iv = essiv.update(iv(dun + at, 16))
        assert ciphertexts[at].tobytes() == cbc_encrypt(
            algorithms.AES(key), chain_iv, plaintexts[at].tobytes()
        )
    assert np.array_equal(cipher.decrypt_run(dun, ciphertexts), plaintexts)


def test_cbc_chains_more_data_units_than_it_takes_at_once() -> None:
    key, plaintexts = bytes(range(32)), random_bytes(6, 5000, 64)
    cipher = batch(CbcKernel(Algorithm.AES, key), "AES-128-CBC-ESSIV")

    ciphertexts = cipher.encrypt_run(1, plaintexts)

    for at in (0, 2047, 2048, 4999):
        expected = cbc_encrypt(algorithms.AES(key), iv(1 + at, 16), plaintexts[at].tobytes())
        assert ciphertexts[at].tobytes() == expected


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    dun=DUNS,
    count=st.integers(1, 3),
    size=st.one_of(st.integers(16, 200), st.sampled_from([512, 1040, 1041, 2048, 3088])),
    rounds=st.sampled_from([12, 20]),
)
def test_adiantum_equals_python_integers(seed: int, dun: int, count: int, size: int, rounds: int) -> None:
    key = random_bytes(seed, 32).tobytes()
    plaintexts = random_bytes(seed + 1, count, size)
    cipher = batch(AdiantumKernel(key, rounds=rounds), "Adiantum")

    ciphertexts = cipher.encrypt_run(dun, plaintexts)

    expected = adiantum_unit(key, iv(dun + count - 1, 32), plaintexts[-1].tobytes(), "encrypt", rounds)
    assert ciphertexts[-1].tobytes() == expected
    assert np.array_equal(cipher.decrypt_run(dun, ciphertexts), plaintexts)


def test_adiantum_equals_python_integers_past_a_chunk_and_128_blocks_of_poly1305() -> None:
    key, plaintexts = bytes(range(32)), random_bytes(7, 17, 1 << 17)
    cipher = batch(AdiantumKernel(key), "Adiantum")

    ciphertexts = cipher.encrypt_run(3, plaintexts)

    assert ciphertexts[16].tobytes() == adiantum_unit(key, iv(19, 32), plaintexts[16].tobytes(), "encrypt")


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    dun=DUNS,
    count=st.integers(1, 3),
    size=st.integers(16, 300),
    key_bytes=st.sampled_from([16, 24, 32]),
)
def test_hctr2_equals_bit_by_bit_arithmetic(
    seed: int, dun: int, count: int, size: int, key_bytes: int
) -> None:
    key = random_bytes(seed, key_bytes).tobytes()
    plaintexts = random_bytes(seed + 1, count, size)
    cipher = batch(Hctr2Kernel(key), "AES-256-HCTR2")

    ciphertexts = cipher.encrypt_run(dun, plaintexts)

    expected = hctr2_unit(key, iv(dun + count - 1, 32), plaintexts[-1].tobytes(), "encrypt")
    assert ciphertexts[-1].tobytes() == expected
    assert np.array_equal(cipher.decrypt_run(dun, ciphertexts), plaintexts)


@given(
    key=st.binary(min_size=16, max_size=16),
    chain_iv=st.binary(min_size=16, max_size=16),
    name=st.binary(min_size=16, max_size=255),
    mode=st.sampled_from(["AES-128-CTS-CBC", "SM4-CTS-CBC"]),
)
def test_cts_cbc_equals_its_definition(key: bytes, chain_iv: bytes, name: bytes, mode: str) -> None:
    cipher = new_name_cipher(mode, key)
    algorithm = algorithms.SM4(key) if mode.startswith("SM4") else algorithms.AES(key)

    ciphertext = cipher.encrypt(chain_iv, name)

    assert ciphertext == cts_encrypt(algorithm, chain_iv, name)
    assert cipher.decrypt(chain_iv, ciphertext) == name


@pytest.mark.parametrize("through_xts", [True, False])
@pytest.mark.parametrize("key_bytes", [16, 24, 32])
@pytest.mark.parametrize("blocks", [1, 2, 1000, (1 << 18) + 3])
def test_blocks_are_those_of_ecb_for_every_key_size(
    key_bytes: int, blocks: int, monkeypatch: pytest.MonkeyPatch, *, through_xts: bool
) -> None:
    monkeypatch.setattr(blockcipher, "_xts_can_be_ecb", lambda: through_xts)
    key, data = bytes(range(key_bytes)), random_bytes(8, 16 * blocks)
    cipher, out = BlockCipher(Algorithm.AES, key), np.empty(16 * blocks, dtype=np.uint8)

    cipher.encrypt(data, out)

    assert out.tobytes() == Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data.tobytes())
    cipher.decrypt(out, out)
    assert np.array_equal(out, data)
