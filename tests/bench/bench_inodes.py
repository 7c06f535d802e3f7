"""A million encrypted inodes with per-file keys: made in a directory, and their keys alone."""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.smallfs import namei
from tests.fscrypt_world import EXT4, RAW, policy_for
from tests.small_world import add_key, encrypted_dir, new_mount

pytestmark = pytest.mark.bench

INODES = 1_000_000


def create_inodes() -> None:
    mount = new_mount()
    encrypted_dir(mount, "d", add_key(mount))
    for number in range(INODES):
        namei.create(mount, f"d/{number}")


def derive_keys() -> KeySetup:
    key = MasterKey.from_raw(RAW)
    setup = KeySetup(policy_for(key), key, EXT4)
    for ino in range(INODES):
        setup.contents_key(ino, ino.to_bytes(16, "little"))
    return setup


def test_creating_a_million_encrypted_inodes() -> None:
    """In a process of its own, so that the memory is its own."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as b; b.create_inodes(); b.print_memory()"],
        check=True,
        capture_output=True,
        text=True,
    )
    print(
        f"\n{INODES} inodes created: {time.perf_counter() - started:.1f} s, {done.stdout.strip()} MiB at most"
    )


def print_memory() -> None:
    """Largest memory of this process so far, in MiB."""
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def test_a_key_is_found_as_fast_among_a_million_as_among_a_thousand() -> None:
    setup = derive_keys()
    rng = np.random.default_rng(1)
    rates = []
    for among in (1000, INODES):
        inos = rng.integers(0, among, 200_000).tolist()
        started = time.perf_counter()
        for ino in inos:
            setup.contents_key(ino, b"")
        rates.append(len(inos) / (time.perf_counter() - started) / 1e6)
    print(f"\nkeys found among a thousand: {rates[0]:.1f} M/s, among a million: {rates[1]:.1f} M/s")
