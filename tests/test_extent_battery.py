"""Every design for extents passes the battery; a design that is broken does not."""

import numpy as np
import pytest

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.fs.battery.subject import Subject
from blkcrypto.fs.battery.trial import STEPS, run_battery
from blkcrypto.fs.extents.designs import LIGHT, ExtentDesign
from blkcrypto.fs.extents.file import open_inode
from blkcrypto.fs.extents.items import InodeItem
from blkcrypto.fs.store import SoftwareStore
from tests.extent_world import BLOCK, World, every_design
from tests.fscrypt_world import RAW
from tests.oracle.extent_ciphertext import file_on_device


def fresh(design: ExtentDesign) -> World:
    world = World(design)
    world.remove_key()
    return world


def failures(subject: Subject) -> list[str]:
    return [outcome.step for outcome in run_battery(subject, np.random.default_rng(3)) if not outcome.passed]


@every_design
def test_every_design_passes_every_step(design: ExtentDesign) -> None:
    outcomes = list(run_battery(fresh(design), np.random.default_rng(3)))

    assert [(outcome.step, outcome.passed) for outcome in outcomes] == [(step, True) for step in STEPS]


@every_design
def test_clones_write_nothing_relocation_and_deletion_need_no_key(design: ExtentDesign) -> None:
    outcomes = list(run_battery(fresh(design), np.random.default_rng(3)))
    saw = {outcome.step: outcome.saw for outcome in outcomes}

    assert saw["copy"] == "0 units written"
    assert saw["move"] != "0 units"
    assert all(outcome.passed for outcome in outcomes)


@every_design
def test_after_the_battery_the_oracle_reads_the_files_that_are_left(design: ExtentDesign) -> None:
    world = fresh(design)
    list(run_battery(world, np.random.default_rng(3)))
    world.add_key()
    world.sync()
    checked = 0
    for ino, size in files_of(world):
        stored = world.disk.stored_items(world.disk.subvolumes[0])
        seen = file_on_device(world.name, RAW, stored, ino, size, world.store.medium)
        file = open_inode(world.volume, world.volume.inode(world.disk.subvolumes[0], ino))
        assert seen == file.read(0, size)
        checked += 1
    # "a", "b", "tiny" and "small", of which one was deleted without the key.
    assert checked == 3


def files_of(world: World) -> list[tuple[int, int]]:
    """Inode numbers and sizes."""
    walk = world.disk.subvolumes[0].tree.walk((0, 0, 0), (1 << 62, 0, 0))
    return [(key[0], item.size) for key, item in walk if isinstance(item, InodeItem) and not item.is_dir]


class ForgetfulSubject(World):
    """A filesystem whose truncation leaves what was beyond the end."""

    def truncate(self, path: str, size: int) -> None:
        file = self.open(path)
        self.volume.set_size(file.inode, size)
        file.close()


class StickySubject(World):
    """A filesystem that keeps its keys over a remount."""

    def remount(self) -> None:
        super().remount()
        self.add_key()


class PlaintextStore(SoftwareStore):
    """A device to which everything goes in clear."""

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        super().write(None, block, data)

    def read(self, ctx: BioCryptCtx | None, block: int, nbytes: int) -> bytes:
        return super().read(None, block, nbytes)


@every_design
def test_a_filesystem_that_does_not_encrypt_fails_the_first_step_only(design: ExtentDesign) -> None:
    world = World(design, store=PlaintextStore(BLOCK))
    world.remove_key()

    assert failures(world) == ["write and read back"]


@pytest.mark.parametrize(
    ("broken", "steps"),
    [(ForgetfulSubject, ["truncate"]), (StickySubject, ["remount"])],
    ids=["truncation", "remount"],
)
def test_a_broken_filesystem_fails_the_step_about_it(broken: type[World], steps: list[str]) -> None:
    world = broken(LIGHT)
    world.remove_key()

    assert failures(world)[: len(steps)] == steps
