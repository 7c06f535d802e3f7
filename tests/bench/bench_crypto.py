"""Ciphers against the plain way: one ``cryptography`` context for each data unit.

Every figure of a row is measured in the same rounds, one after the other, and the best round counts: on a
shared machine only the ratios mean something.  Run with ``make bench``.
"""

import time
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.crypto.parallel import cores
from tests.oracle.slow_adiantum import adiantum_unit

pytestmark = pytest.mark.bench

KEY = bytes(range(64))
FIRST_DUN = 2**32 - 100
ROUND_BYTES = 1 << 21
ROUNDS = 7


def data(count: int, size: int) -> U8Array:
    return np.random.default_rng(1).integers(0, 256, (count, size), dtype=np.uint8)


def megabytes_per_second(nbytes: int, ways: list[Callable[[], object]]) -> list[float]:
    """Best rate of each way, the ways taking turns."""
    repeat = max(1, ROUND_BYTES // nbytes)
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for number, way in enumerate(ways):
            start = time.perf_counter()
            for _ in range(repeat):
                way()
            best[number] = min(best[number], (time.perf_counter() - start) / repeat)
    return [nbytes / seconds / 1e6 for seconds in best]


def xts_contexts(src: U8Array, out: U8Array) -> None:
    """The baseline: what one would write without this package."""
    key = algorithms.AES(KEY)
    for at in range(len(src)):
        iv = (FIRST_DUN + at).to_bytes(16, "little")
        Cipher(key, modes.XTS(iv)).encryptor().update_into(src[at], out[at])


@pytest.mark.parametrize("size", [512, 1024, 4096, 16384])
@pytest.mark.parametrize("count", [1, 16, 256, 4096])
def test_aes_256_xts(size: int, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    src = data(count, size)
    out, flat = np.empty_like(src), src.reshape(-1)
    slack = np.empty(src.size + 15, dtype=np.uint8)
    one, every = (new_cipher("AES-256-XTS", KEY, threads=threads) for threads in (1, None))
    ecb = Cipher(algorithms.AES(KEY[:32]), modes.ECB()).encryptor()
    giant = Cipher(algorithms.AES(KEY), modes.XTS(bytes(16)))
    limit = flat[: 1 << 24]  # the longest data unit OpenSSL takes

    base, single, threads, bulk = megabytes_per_second(
        src.nbytes,
        [
            lambda: xts_contexts(src, out),
            lambda: one.encrypt_run(FIRST_DUN, src, out),
            lambda: every.encrypt_run(FIRST_DUN, src, out),
            lambda: ecb.update_into(flat, slack),  # type: ignore[arg-type]  # an array is a buffer
        ],
    )
    (most,) = megabytes_per_second(
        limit.nbytes,
        [lambda: giant.encryptor().update_into(limit, out.reshape(-1))],  # type: ignore[arg-type]  # as above
    )

    with capsys.disabled():
        print(
            f"\nXTS {size:5} x {count:4}: contexts {base:6.0f}, ours {single:6.0f} MB/s "
            f"({single / base:5.2f} x), {cores()} cores {threads:6.0f} ({threads / single:4.2f} x); "
            f"ECB {bulk:6.0f}, one XTS {most:6.0f}",
            end="",
        )


def essiv_contexts(src: U8Array, out: U8Array) -> None:
    hashed = Hash(SHA256())
    hashed.update(KEY[:16])
    key, essiv = algorithms.AES(KEY[:16]), Cipher(algorithms.AES(hashed.finalize()), modes.ECB()).encryptor()
    for at, row in enumerate(src):
        iv = essiv.update((FIRST_DUN + at).to_bytes(16, "little"))
        out[at] = np.frombuffer(Cipher(key, modes.CBC(iv)).encryptor().update(row.tobytes()), dtype=np.uint8)


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("count", [16, 256, 4096])
def test_aes_128_cbc_essiv(size: int, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    src = data(count, size)
    out, cipher = np.empty_like(src), new_cipher("AES-128-CBC-ESSIV", KEY[:16], threads=1)

    base, encrypt, decrypt = megabytes_per_second(
        src.nbytes,
        [
            lambda: essiv_contexts(src, out),
            lambda: cipher.encrypt_run(FIRST_DUN, src, out),
            lambda: cipher.decrypt_run(FIRST_DUN, src, out),
        ],
    )

    with capsys.disabled():
        print(
            f"\nCBC-ESSIV {size:5} x {count:4}: contexts {base:6.0f}, encrypt {encrypt:6.0f} MB/s "
            f"({encrypt / base:5.2f} x), decrypt {decrypt:6.0f} ({decrypt / base:5.2f} x)",
            end="",
        )


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("count", [16, 256, 4096])
def test_adiantum(size: int, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    src, few = data(count, size), data(2, size)
    out, cipher = np.empty_like(src), new_cipher("Adiantum", KEY[:32], threads=1)

    def oracle() -> None:
        for at, row in enumerate(few):
            adiantum_unit(KEY[:32], (FIRST_DUN + at).to_bytes(32, "little"), row.tobytes(), "encrypt")

    (ours,) = megabytes_per_second(src.nbytes, [lambda: cipher.encrypt_run(FIRST_DUN, src, out)])
    start = time.perf_counter()
    oracle()
    python = few.nbytes / (time.perf_counter() - start) / 1e6

    with capsys.disabled():
        print(
            f"\nAdiantum {size:5} x {count:4}: Python integers {python:5.2f}, "
            f"ours {ours:6.1f} MB/s ({ours / python:.0f} x)",
            end="",
        )


@pytest.mark.parametrize("mode", ["SM4-XTS"])
def test_other_modes(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    src = data(1024, 4096)
    out, cipher = np.empty_like(src), new_cipher(mode, KEY[:32], threads=1)

    (rate,) = megabytes_per_second(src.nbytes, [lambda: cipher.encrypt_run(FIRST_DUN, src, out)])

    with capsys.disabled():
        print(f"\n{mode} 4096 x 1024: {rate:6.0f} MB/s", end="")
