"""What is stored, and that it comes back: every data unit really encrypted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.crypto.blockcipher import KeyWiped
from blkcrypto.crypto.cipher import new_cipher
from hwmodel.controller import Where
from hwmodel.dataplane import BATCH_BYTES, Corruption, UnitCipher, VerifyingPlane
from hwmodel.payload import plaintext
from tests.machines import READ, US, WRITE, Records, device, keys, machine

UNIT = 4096


def xts(key: BlkCryptoKey) -> UnitCipher:
    return new_cipher("AES-256-XTS", key.raw[:32] + b"\xff" * 32)


def random_ios(seed: int, count: int = 2000) -> list[tuple[int, ...]]:
    """Reads and writes of 4 to 64 KiB in 4 MiB, so that most overlap; file = key = megabyte."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, ...]] = []
    for row in range(count):
        first = int(rng.integers(0, 1008))
        units = min(int(rng.integers(1, 17)), 256 - first % 256)
        key, dun = first // 256, first % 256
        rows.append((row * 20 * US, row, int(rng.integers(0, 2)), first * 8, units * UNIT, key, dun, row % 4))
    return rows


def stored(
    where: Where, ios: Sequence[tuple[int, ...]], batch_bytes: int = BATCH_BYTES, **corrupt: int
) -> VerifyingPlane:
    corruptions = [Corruption(**corrupt)] if corrupt else []
    plane = VerifyingPlane(UNIT, seed=3, cipher_of=xts, corruptions=corruptions, batch_bytes=batch_bytes)
    machine(device(slots=2, cpus=2), keys(4), Records(), where=where, plane=plane).run(iter(ios))
    plane.process()
    return plane


@pytest.mark.parametrize("where", ["inline", "fallback", "fs-layer"])
def test_everything_read_compares_equal(where: Where) -> None:
    plane = stored(where, random_ios(1))
    assert plane.verified.bytes > 0
    assert plane.verified.mismatches == 0


def serial(where: Where) -> str:
    """Digest of the medium after I/Os far enough apart that every path completes them in the same order."""
    ios = [(row * 10_000 * US, *rest) for row, (_, *rest) in enumerate(random_ios(2))]
    return stored(where, ios).medium.sha256()


def test_inline_hardware_the_fallback_and_the_filesystem_write_the_same_bytes() -> None:
    assert serial("inline") == serial("fallback") == serial("fs-layer")


def test_the_medium_holds_the_ciphertext_of_each_unit_under_its_key_and_dun() -> None:
    ios = [(0, 0, WRITE, 8 * 700, 3 * UNIT, 2, 188, 0)]
    plane = stored("inline", ios)
    units = np.arange(700, 703)
    plain = plaintext(3, units, np.ones(3, dtype=np.uint32), UNIT)
    expected = xts(keys(4)[2]).encrypt_run(188, plain)  # type: ignore[attr-defined]  # a DataUnitCipher
    assert (plane.medium.load(plane.medium.places(units)) == expected).all()


def test_batching_changes_no_byte() -> None:
    ios = random_ios(4)
    batched, single = stored("inline", ios), stored("inline", ios, batch_bytes=0)
    assert batched.medium.sha256() == single.medium.sha256()
    assert batched.verified == single.verified


def test_a_corrupted_byte_on_the_medium_is_a_mismatch_at_its_unit() -> None:
    ios = [(0, 0, WRITE, 0, 2 * UNIT, 0, 0, 0), (1000 * US, 1, READ, 0, 2 * UNIT, 0, 0, 0)]
    plane = stored("inline", ios, byte=UNIT + 5, mask=1, after_bios=1)
    assert plane.verified.mismatches == 1
    assert plane.verified.where == [UNIT]


def test_data_laid_out_before_the_run_can_be_corrupted_before_its_first_read() -> None:
    ios = [(0, 0, READ, 0, UNIT, 0, 0, 0)]
    assert stored("inline", ios, byte=5, mask=1, after_bios=0).verified.mismatches == 1


def test_writing_a_corrupted_unit_again_heals_it() -> None:
    ios = [
        (0, 0, WRITE, 0, UNIT, 0, 0, 0),
        (1000 * US, 1, WRITE, 0, UNIT, 0, 0, 0),
        (2000 * US, 2, READ, 0, UNIT, 0, 0, 0),
    ]
    assert stored("inline", ios, byte=5, mask=1, after_bios=1).verified.mismatches == 0


def test_data_encrypted_with_the_wrong_slot_is_found() -> None:
    records, objects = Records(), keys(4)
    plane = VerifyingPlane(UNIT, seed=3, cipher_of=xts)
    run = machine(device(slots=2), objects, records, plane=plane)
    run.run(iter([(0, 0, WRITE, 0, UNIT, 0, 0, 0)]))
    assert run.keyslots is not None
    run.keyslots.hardware[0] = objects[1]  # as after a reset that reprogrammed the slot wrongly
    now = run.clock.now
    run.run(iter([(now, 1, READ, 0, UNIT, 0, 0, 0)]))
    plane.process()
    assert plane.verified.mismatches == 1


def test_an_evicted_key_leaves_no_cipher_behind() -> None:
    made: list[UnitCipher] = []

    def cipher_of(key: BlkCryptoKey) -> UnitCipher:
        made.append(xts(key))
        return made[-1]

    objects = keys(2)
    plane = VerifyingPlane(UNIT, seed=3, cipher_of=cipher_of)
    run = machine(device(slots=2), objects, Records(), plane=plane)
    run.run(iter([(0, 0, WRITE, 0, UNIT, 0, 0, 0)]))
    assert run.keyslots is not None
    run.clock.process(run.keyslots.evict(objects[0], 5 * US))
    run.clock.run_until_empty()
    (cipher,) = made
    with pytest.raises(KeyWiped):
        cipher.encrypt(np.zeros((1, 16), dtype=np.uint8), np.zeros((1, UNIT), dtype=np.uint8))
    # A later bio gets a cipher made anew.
    run.run(iter([(run.clock.now, 1, READ, 0, UNIT, 0, 0, 0)]))
    plane.process()
    assert plane.verified.mismatches == 0
    assert len(made) == 2


def test_the_exported_image_has_the_units_at_their_addresses(tmp_path: Path) -> None:
    path = tmp_path / "medium.img"
    plane = stored("inline", [(0, 0, WRITE, 8 * 5, UNIT, 0, 5, 0)])
    plane.medium.export(path)
    image = path.read_bytes()
    assert image[: 5 * UNIT] == bytes(5 * UNIT)
    assert image[5 * UNIT :] == plane.medium.load(plane.medium.places(np.array([5]))).tobytes()
