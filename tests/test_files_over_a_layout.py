"""A small filesystem over the files of a scenario: the same files, in the same places, by the same bios."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.block.op import ReqOp
from blkcrypto.fs.allocation.file_map import FileMap
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.errors import NoSpace
from blkcrypto.fs.smallfs.gc import collect
from blkcrypto.fs.smallfs.laid import Laid, disk_over, make_files
from blkcrypto.fs.smallfs.mount import Mount
from scenarios.placement.layout import Layout
from scenarios.traces.batch import TraceBatch
from tests.small_world import Watched

BLOCK = UNIT = 4096
EXTENT = 65536
sizes = st.lists(st.integers(1, 6), min_size=1, max_size=6)


def file_map(sizes: list[int], fragmentation: float, seed: int) -> FileMap:
    return FileMap(np.array(sizes), EXTENT, fragmentation, np.random.default_rng(seed))


@given(sizes=sizes, seed=st.integers(0, 99))
def test_the_file_of_an_address_is_the_same_looked_up_or_searched_for(sizes: list[int], seed: int) -> None:
    looked_up = file_map(sizes, 0.5, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blkcrypto.fs.allocation.file_map._MOST_LOOKED_UP", sum(sizes) - 1)
        searched = file_map(sizes, 0.5, seed)
    addresses = np.arange(0, looked_up.covered_bytes, BLOCK)

    found = [[part.tolist() for part in lay.locate(addresses)] for lay in (looked_up, searched)]
    assert found[0] == found[1]


@given(
    sizes=sizes,
    fragmentation=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
    data=st.data(),
    direct=st.booleans(),
)
def test_a_scenarios_bios_are_those_of_the_small_filesystem_over_its_layout(
    sizes: list[int], fragmentation: float, seed: int, data: st.DataObject, direct: bool
) -> None:
    """Same blocks, same sizes, same data units, for any write to any file."""
    lay = file_map(sizes, fragmentation, seed)
    file = data.draw(st.integers(0, len(sizes) - 1))
    units = sizes[file] * EXTENT // UNIT
    first = data.draw(st.integers(0, units - 1))
    count = data.draw(st.integers(1, units - first))
    row = TraceBatch(
        time_ns=np.zeros(1, np.int64),
        op=np.array([ReqOp.WRITE], np.uint8),
        sector=np.array([first * UNIT // 512]),
        nbytes=np.array([count * UNIT]),
        stream=np.zeros(1, np.int32),
        file=np.array([file], np.int32),
    )
    placed = Layout(lay).place(row, UNIT)
    expected = [
        (ReqOp.WRITE, sector * 512 // BLOCK, nbytes, unit | (12 + file) << 32)
        for sector, nbytes, unit in zip(
            placed.sector.tolist(), placed.nbytes.tolist(), placed.unit_index.tolist(), strict=True
        )
    ]
    world = Watched(flags=PolicyFlags.IV_INO_LBLK_64, disk=disk_over(lay, BLOCK))
    make_files(world.mount, "d", lay)
    opened = world.open(f"d/{file}")
    if direct:
        opened.direct_write(first * UNIT, bytes(count * UNIT))
    else:
        opened.write(first * UNIT, bytes(count * UNIT))
        opened.fsync()
    assert world.taken() == expected


def laid(sizes: list[int]) -> tuple[Mount, FileMap]:
    lay = file_map(sizes, 1.0, 3)
    world = Watched(disk=disk_over(lay, BLOCK))
    make_files(world.mount, "d", lay)
    return world.mount, lay


def test_files_over_a_map_have_its_sizes_and_the_map_finds_them_by_their_blocks() -> None:
    mount, lay = laid([1, 3, 2])
    for number, extents in enumerate([1, 3, 2]):
        file = files.open_file(mount, f"d/{number}")
        assert file.inode.disk.size == extents * EXTENT
        file.write(0, bytes(extents * EXTENT))
        file.fsync()
    assert len(mount.disk.owners) == 6 * EXTENT // BLOCK
    for block, (ino, lblk) in mount.disk.owners.items():
        owner, offset = lay.locate(np.array([block * BLOCK]))
        assert (12 + int(owner[0]), int(offset[0])) == (ino, lblk * BLOCK)


def test_what_outgrows_the_map_or_finds_its_place_taken_lies_behind_it() -> None:
    mount, lay = laid([1])
    behind = lay.covered_bytes // BLOCK
    file = files.open_file(mount, "d/0")
    file.write(EXTENT, b"one block more")
    file.write(0, b"in place")
    file.fsync()
    assert file.inode.disk.blocks == {0: 0, EXTENT // BLOCK: behind}
    collect(mount, range(1))
    assert file.inode.disk.blocks[0] == behind + 1


def test_a_freed_place_is_its_files_again() -> None:
    mount, _ = laid([1])
    file = files.open_file(mount, "d/0")
    file.write(5 * BLOCK, b"x")
    file.fsync()
    file.truncate(0)
    file.write(5 * BLOCK, b"y")
    file.fsync()
    assert file.inode.disk.blocks == {5: 5}


def test_extents_of_a_map_are_whole_blocks() -> None:
    with pytest.raises(ValueError, match="not whole blocks"):
        disk_over(FileMap(np.array([1]), 6144, 0.0, np.random.default_rng(1)), BLOCK)


def test_a_full_disk_says_which_block_of_which_inode_has_no_place() -> None:
    lay = file_map([1], 0.0, 1)
    disk = Disk(Laid(lay, BLOCK, 12, spare_blocks=1))
    assert disk.allocate(13, 0) == EXTENT // BLOCK
    with pytest.raises(NoSpace, match="no block for block 5 of inode 13"):
        disk.allocate(13, 5)
    assert disk.allocate(12, 5) == 5
