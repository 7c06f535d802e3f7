"""Which extent holds which unit, through writes, holes, restarts and kills between writes of the log."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.serve.extents import Extent, ExtentMap, Geometry, LogDamaged
from scenarios.serve.superblock import BLOCK_BYTES

UNITS = 24


class Image:
    """Bytes that the map's log is written to; contents of units are named after what was stored with them."""

    def __init__(self) -> None:
        self.geometry = Geometry(UNITS)
        self.data = bytearray(self.geometry.data_at)
        self.map = self.mount(new=True)
        self.data[BLOCK_BYTES : 2 * BLOCK_BYTES] = self.map.head()
        self.names = (number.to_bytes(16, "big") for number in itertools.count(1))

    def mount(self, *, new: bool = False) -> ExtentMap:
        return ExtentMap(self.geometry, lambda at, count: bytes(self.data[at : at + count]), new=new)

    def write(self, log: list[tuple[int, bytes]]) -> None:
        for at, data in log:
            self.data[at : at + len(data)] = data

    def extents(self, unit: int, count: int) -> list[Extent]:
        return self.map.allocate(unit, count, lambda: next(self.names))


def held(extents: ExtentMap) -> list[tuple[bytes, int, int] | None]:
    """Per unit: what is stored with its extent, its number in that, and its place; None for a hole."""

    def units() -> Iterator[tuple[bytes, int, int] | None]:
        for run in extents.runs(0, UNITS):
            for at in range(run.units):
                if run.extent is None:
                    yield None
                else:
                    yield run.extent.stored, run.unit + at - run.extent.unit, run.place + at

    return list(units())


ranges = st.tuples(st.integers(0, UNITS - 1), st.integers(1, UNITS)).map(
    lambda pair: (pair[0], min(pair[1], UNITS - pair[0]))
)
steps = st.lists(
    st.tuples(st.sampled_from(["write", "fail", "punch", "restart", "kill"]), ranges), max_size=60
)


@given(steps)
def test_units_are_held_as_by_a_list_whatever_happens_in_between(
    what: list[tuple[str, tuple[int, int]]],
) -> None:
    image = Image()
    expected: list[tuple[bytes, int, int] | None] = [None] * UNITS
    for step, (unit, count) in what:
        if step in ("write", "fail", "kill"):
            made = image.extents(unit, count)
            assert sum(extent.count for extent in made) == count
        if step == "write":
            image.write(image.map.insert(made))
            for extent in made:
                for at in range(extent.count):
                    expected[extent.unit + at] = (extent.stored, at, extent.place + at)
        elif step == "fail":
            for extent in made:
                image.map.abandon(extent)
        elif step == "kill":
            image.map.insert(made)  # and nothing of it was written
            image.map = image.mount()
        elif step == "punch":
            image.write(image.map.punch(unit, count))
            expected[unit : unit + count] = [None] * count
        else:
            image.map = image.mount()
        assert held(image.map) == expected
        places = [each[2] for each in expected if each is not None]
        assert len(places) == len(set(places))


def test_a_log_that_is_full_is_condensed_and_a_kill_on_the_way_loses_nothing() -> None:
    image = Image()
    room = image.geometry.half_sectors * 6  # records of 80 bytes in sectors of 512
    condensed = 0
    for number in range(2 * room + 10):
        made = image.extents(number % UNITS, 1)
        before = held(image.map)
        log = image.map.insert(made)
        for at, data in log[:-1]:
            image.write([(at, data)])
            assert held(image.mount()) == before  # killed before the last write
        image.write(log[-1:])
        condensed += len(log) - 1
        if len(log) > 1 or number % 16 == 0:  # to mount takes as long as the log is
            assert held(image.mount()) == held(image.map)
    assert condensed == 2


def test_what_is_left_of_an_extent_counts_from_its_beginning_after_a_restart() -> None:
    image = Image()
    image.write(image.map.insert(image.extents(0, 8)))
    image.write(image.map.insert(image.extents(2, 3)))
    image.write(image.map._condense())
    found = [each for each in held(image.mount()) if each is not None]
    assert [inside for _, inside, _ in found] == [0, 1, 0, 1, 2, 5, 6, 7]


def test_an_extent_is_gone_when_its_last_unit_is_replaced() -> None:
    image = Image()
    image.map.insert(image.extents(0, 4))
    image.map.insert(image.extents(0, 3))
    assert image.map.take_gone() == []
    image.map.insert(image.extents(3, 1))
    assert [extent.unit for extent in image.map.take_gone()] == [0]


def test_a_damaged_record_ends_the_log_and_a_damaged_head_is_an_error() -> None:
    image = Image()
    image.write(image.map.insert(image.extents(0, 4)))
    good = held(image.map)
    image.write(image.map.insert(image.extents(1, 1)))
    second = image.geometry.half_at(0) + 80
    image.data[second + 20] ^= 1
    assert held(image.mount()) == good
    image.data[BLOCK_BYTES] ^= 1
    with pytest.raises(LogDamaged):
        image.mount()


def test_free_units_in_pieces_make_as_many_extents() -> None:
    image = Image()
    image.write(image.map.insert(image.extents(0, UNITS)))
    for unit in range(0, UNITS, 2):
        image.write(image.map.insert(image.extents(unit, 1)))
    # Half of the old places and the rest of the reserve are free: no two of the former are neighbours.
    made = image.extents(0, UNITS)
    assert np.sum([extent.count for extent in made]) == UNITS
    assert len(made) == 1 + UNITS // 2
