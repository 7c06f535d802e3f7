"""Images that hold more than data units: refused when they are something else, and whole after a kill."""

import os
from pathlib import Path

import numpy as np
import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from scenarios.serve.devices import WITH_METADATA, open_device
from scenarios.serve.disk import Transfer
from tests.nbd_world import IMAGE_BYTES, a_scenario, served
from tests.oracle.nbd_client import NbdClient, NbdError
from tests.test_serve import noise

UNIT = 4096
ONE_OF_EACH = ("extents-lightweight", "aead-integrity", "aead-tree-unit", "inline-data-a1")
# The files of a0 are blocks like any other: noise until they are written.
NEVER_WRITTEN = [name for name in WITH_METADATA if not name.startswith("aead") and name != "inline-data-a0"]
SEALED = ("aead-table", "aead-integrity", "aead-tree-unit")


@pytest.mark.parametrize("design", ONE_OF_EACH)
def test_an_image_of_one_design_is_not_served_as_another_s(design: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    open_device(a_scenario(design=design), path, IMAGE_BYTES).close()
    for other in ("fscrypt-per-file", "extents-nonce-only", "aead-table", "inline-data-a2"):
        with pytest.raises(BadInput, match=f"made for {design}"):
            open_device(a_scenario(design=other), path, None)


@pytest.mark.parametrize("design", ONE_OF_EACH)
def test_data_units_alone_are_no_image_of_a_design_with_metadata(design: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(noise(IMAGE_BYTES))
    with pytest.raises(BadInput, match="no image of"):
        open_device(a_scenario(design=design), path, IMAGE_BYTES)
    assert path.read_bytes() == noise(IMAGE_BYTES)


@pytest.mark.parametrize("design", ONE_OF_EACH)
def test_the_size_is_asked_for_once_and_then_kept(design: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    with pytest.raises(BadInput, match="give --size"):
        open_device(a_scenario(design=design), path, None)
    open_device(a_scenario(design=design), path, IMAGE_BYTES).close()
    with pytest.raises(BadInput, match="leave --size out"):
        open_device(a_scenario(design=design), path, 2 * IMAGE_BYTES)
    device = open_device(a_scenario(design=design), path, None)
    device.close()
    assert device.size == IMAGE_BYTES


@pytest.mark.parametrize("design", NEVER_WRITTEN)
def test_what_was_never_written_reads_as_zeroes(design: str, tmp_path: Path) -> None:
    with served(a_scenario(design=design), tmp_path / "image") as world, world.client() as client:
        client.write(8 * UNIT, noise(UNIT))
        assert client.read(0, 17 * UNIT) == bytes(8 * UNIT) + noise(UNIT) + bytes(8 * UNIT)


@pytest.mark.parametrize("design", ["aead-table", "aead-integrity"])
def test_tables_of_tags_are_made_with_the_image(design: str, tmp_path: Path) -> None:
    with served(a_scenario(design=design), tmp_path / "image") as world, world.client() as client:
        assert client.read(0, IMAGE_BYTES) == bytes(IMAGE_BYTES)


def read_or_none(client: NbdClient, unit: int) -> bytes | None:
    try:
        return client.read(unit * UNIT, UNIT)
    except NbdError:
        return None


@pytest.mark.parametrize("design", SEALED)
def test_a_changed_bit_of_a_sealed_unit_is_an_io_error_and_no_other_unit_s(
    design: str, tmp_path: Path
) -> None:
    path, scenario = tmp_path / "image", a_scenario(design=design)
    with served(scenario, path) as world, world.client() as client:
        client.write(0, noise(4 * UNIT))
        before = path.read_bytes()
        client.write(2 * UNIT, noise(UNIT, seed=7))
    after = bytearray(path.read_bytes())
    changed = [at for at in range(UNIT, len(after), UNIT) if before[at : at + UNIT] != after[at : at + UNIT]]
    refused = 0  # by blocks whose damage makes this one unit unreadable: its ciphertext alone
    for at in changed:
        damaged = bytearray(after)
        damaged[at + 2000] ^= 1
        path.write_bytes(damaged)
        with served(scenario, path, None) as world, world.client() as client:
            got = {unit: read_or_none(client, unit) for unit in range(4)}
        expected = {unit: noise(4 * UNIT)[unit * UNIT : unit * UNIT + UNIT] for unit in (0, 1, 3)}
        expected[2] = noise(UNIT, seed=7)
        assert all(data in (None, expected[unit]) for unit, data in got.items())
        refused += [unit for unit, data in got.items() if data is None] == [2]
    assert refused == 1


@pytest.mark.parametrize("design", SEALED)
def test_the_same_plaintext_at_the_same_place_is_never_the_same_ciphertext_after_a_restart(
    design: str, tmp_path: Path
) -> None:
    path, scenario, seen = tmp_path / "image", a_scenario(design=design), []
    for size in (IMAGE_BYTES, None):
        with served(scenario, path, size) as world, world.client() as client:
            client.write(0, noise(UNIT))
        blocks = path.read_bytes()
        seen.append({blocks[at : at + UNIT] for at in range(UNIT, len(blocks), UNIT)} - {bytes(UNIT)})
    assert seen[0] != seen[1]
    assert len(seen[1] - seen[0]) >= 2  # ciphertext and its entry


def test_another_seed_is_another_key_and_the_tree_says_so(tmp_path: Path) -> None:
    path = tmp_path / "image"
    open_device(a_scenario("run.seed=1", design="aead-tree-unit"), path, IMAGE_BYTES).close()
    with pytest.raises(BadInput, match="another seed"):
        open_device(a_scenario("run.seed=2", design="aead-tree-unit"), path, None)


@pytest.mark.parametrize("design", ["extents-heavyweight", "extents-iv-from-fs", "key-setup-v6"])
def test_a_unit_written_twice_lies_elsewhere_under_another_key_and_the_old_key_is_forgotten(
    design: str, tmp_path: Path
) -> None:
    with served(a_scenario(design=design), tmp_path / "image") as world, world.client() as client:
        before = (tmp_path / "image").read_bytes()
        ciphertexts = set()
        for _ in range(50):
            client.write(0, noise(UNIT))
            after = (tmp_path / "image").read_bytes()
            changed = [
                after[at : at + UNIT]
                for at in range(0, len(after), UNIT)
                if after[at : at + UNIT] != before[at : at + UNIT]
            ]
            ciphertexts.add(max(changed, key=lambda block: len(set(block))))
            before = after
        device = world.exported.device
        assert client.read(0, UNIT) == noise(UNIT)
        assert len(device._started) <= 2  # type: ignore[attr-defined]  # the one kind that has keys by extent
    assert len(ciphertexts) == 50


@pytest.mark.parametrize("design", ONE_OF_EACH)
def test_a_write_whose_metadata_finds_no_room_is_an_error_and_the_old_data_stays(
    design: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(a_scenario(design=design), tmp_path / "image") as world, world.client() as client:
        client.write(0, noise(UNIT), fua=True)
        real, left = os.pwrite, [1 if design.startswith("extents") else 0]

        def full(fd: int, data: memoryview, offset: int) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return real(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(NbdError, match=r" 28$"):
            client.write(0, noise(UNIT, seed=9))
        monkeypatch.undo()
    with served(a_scenario(design=design), tmp_path / "image", None) as world, world.client() as client:
        assert client.read(0, UNIT) == noise(UNIT)


class Killed(BaseException):
    """Nothing after this happens."""


@pytest.mark.parametrize("design", sorted(WITH_METADATA))
def test_a_kill_between_any_two_writes_to_the_image_leaves_the_old_data_or_the_new(
    design: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    sets = ("design.key_extent_bytes=16k",)
    old, new = noise(4 * UNIT, seed=1), noise(4 * UNIT, seed=2)
    real = os.pwrite
    for budget in range(100):
        path = tmp_path / f"image{budget}"
        device = open_device(a_scenario(*sets, design=design), path, 16 * UNIT)
        device.submit([Transfer(ReqOp.WRITE, 0, len(old), np.frombuffer(old, dtype=np.uint8))])
        left = [budget]

        def limited(fd: int, data: memoryview, offset: int, left: list[int] = left) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", limited)
        finished = True
        try:
            device.submit([Transfer(ReqOp.WRITE, 0, len(new), np.frombuffer(new, dtype=np.uint8))])
        except Killed:
            finished = False
        monkeypatch.undo()
        device.close()
        again = open_device(a_scenario(*sets, design=design), path, None)
        found = np.empty(len(old), dtype=np.uint8)
        reading = Transfer(ReqOp.READ, 0, len(found), found)
        again.submit([reading])
        again.close()
        path.unlink()
        assert reading.status == 0
        step = again.unit_bytes
        for at in range(0, len(old), step):
            assert found[at : at + step].tobytes() in (old[at : at + step], new[at : at + step])
        if finished:
            assert found.tobytes() == new
            return
    raise AssertionError("it never finished")
