"""Invariants of the reference that no other test claims by itself; docs/fscrypt.md has all of them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.crypto.hkdf import HkdfSha512
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import HkdfContext, MasterKey
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from tests.fscrypt_world import CLASSIC, EXT4, RAW, policy_for
from tests.small_world import add_key, encrypted_dir, new_mount, read, remount, write

SCHEMES = (0, PolicyFlags.IV_INO_LBLK_64, PolicyFlags.IV_INO_LBLK_32)


def nonce_of(ino: int) -> bytes:
    return ino.to_bytes(16, "little")


def setup(flags: int = 0, fs: FileSystem = EXT4, raw: bytes = RAW) -> KeySetup:
    key = MasterKey.from_raw(raw)
    return KeySetup(policy_for(key, flags), key, fs)


def test_i2_every_derivation_of_a_run_has_an_info_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    infos: list[bytes] = []
    expand = HkdfSha512.expand

    def recording(self: HkdfSha512, info: bytes, length: int) -> bytes:
        infos.append(info)
        return expand(self, info, length)

    monkeypatch.setattr(HkdfSha512, "expand", recording)
    key = MasterKey.from_raw(RAW)
    for flags in SCHEMES:
        files = KeySetup(policy_for(key, flags), key, EXT4)
        for ino in (12, 13, 12):
            files.contents_key(ino, nonce_of(ino))
            files.first_dun(ino, nonce_of(ino), 0)
    assert len(infos) == len(set(infos))
    assert {info[8] for info in infos} == {
        HkdfContext.KEY_IDENTIFIER_FOR_RAW_KEY,
        HkdfContext.PER_FILE_ENC_KEY,
        HkdfContext.IV_INO_LBLK_64_KEY,
        HkdfContext.IV_INO_LBLK_32_KEY,
        HkdfContext.INODE_HASH_KEY,
    }


@pytest.mark.parametrize("flags", [0, PolicyFlags.IV_INO_LBLK_64])
@given(places=st.sets(st.tuples(st.integers(12, 40), st.integers(0, 2**32 - 1)), min_size=2, max_size=50))
def test_i6_no_two_data_units_have_one_key_and_one_dun(flags: int, places: set[tuple[int, int]]) -> None:
    files = setup(flags)
    used = {
        (files.contents_key(ino, nonce_of(ino)).raw, files.first_dun(ino, nonce_of(ino), unit))
        for ino, unit in places
    }
    assert len(used) == len(places)


def test_i6_under_lblk_32_files_share_duns_where_their_hashed_runs_overlap() -> None:
    # Two files of n units whose hashes are d apart share n - d DUNs under their one key.
    files = setup(PolicyFlags.IV_INO_LBLK_32)
    hashes = {ino: files.hashed_ino(ino) for ino in range(12, 4000)}
    ordered = sorted(hashes, key=lambda ino: hashes[ino])
    near = min(itertools.pairwise(ordered), key=lambda pair: hashes[pair[1]] - hashes[pair[0]])
    apart = hashes[near[1]] - hashes[near[0]]
    runs = [{files.first_dun(ino, b"", unit) for unit in range(apart + 10)} for ino in near]
    assert len(runs[0] & runs[1]) == 10
    assert files.contents_key(near[0], b"") is files.contents_key(near[1], b"")


OTHERS = {
    "data unit size": lambda: setup(fs=replace(EXT4, block_size=1024)),
    "filesystem": lambda: setup(PolicyFlags.IV_INO_LBLK_64, replace(EXT4, uuid=bytes(16))),
    "master key": lambda: setup(raw=bytes(reversed(RAW))),
}


@pytest.mark.parametrize("what", OTHERS)
def test_i11_reading_with_another_parameter_gives_garbage_and_no_error(what: str) -> None:
    plain = np.arange(4096, dtype=np.int64).astype(np.uint8).reshape(1, 4096)
    other = OTHERS[what]()
    right = setup(PolicyFlags.IV_INO_LBLK_64 if what == "filesystem" else 0)
    stored = new_cipher("AES-256-XTS", right.contents_key(12, nonce_of(12)).raw).encrypt_run(
        right.first_dun(12, nonce_of(12), 0), plain
    )
    units = stored.reshape(-1, other.config.data_unit_size)
    seen = new_cipher("AES-256-XTS", other.contents_key(12, nonce_of(12)).raw).decrypt_run(
        other.first_dun(12, nonce_of(12), 0), units
    )
    # With smaller units only the first one's bytes have the right key and DUN.
    wrong = seen.reshape(-1)[1024 if what == "data unit size" else 0 :]
    same = int((wrong == plain.reshape(-1)[-len(wrong) :]).sum())
    assert same < len(wrong) // 64


@pytest.mark.parametrize("flags", SCHEMES)
def test_i13_remounting_with_or_without_inlinecrypt_reads_the_same_data(flags: int) -> None:
    facts = replace(EXT4, kernel=CLASSIC)
    mount = new_mount(replace(facts, inlinecrypt=True))
    encrypted_dir(mount, "d", add_key(mount), flags=flags)
    write(mount, "d/f", b"the same on disk" * 1000)
    again = remount(mount, replace(facts, inlinecrypt=False))
    add_key(again)
    assert read(again, "d/f") == b"the same on disk" * 1000
