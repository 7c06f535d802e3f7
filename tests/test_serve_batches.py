"""Requests that came in together have the effects and replies that they have one after the other."""

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.serve.devices import open_device
from scenarios.serve.export import ExportedDevice, Job, ServeCounts
from scenarios.serve.protocol import Request
from tests.nbd_world import a_scenario

UNIT = 4096
UNITS = 16
READ, WRITE, FLUSH, TRIM, ZEROES, UNKNOWN = 0, 1, 3, 4, 6, 77
FUA = 1
PATHS = [("hw-wrapped", "inline"), ("raw", "inline"), ("raw", "fallback"), ("raw", "fs-layer")]


class Asked(NamedTuple):
    command: int
    offset: int
    length: int
    flags: int = 0
    fill: int = 0

    def job(self, cookie: int, *, structured: bool = False) -> Job:
        payload = np.full(self.length, self.fill, np.uint8) if self.command == WRITE else None
        request = Request(self.flags, self.command, cookie, self.offset, self.length)
        return Job(request, payload, structured)


def reply_of(job: Job) -> bytes:
    return b"".join(bytes(part) for part in job.reply)


class World:
    """A device without a socket in front of it."""

    def __init__(self, folder: str, *, keys: str = "raw", engine: str = "inline", sets: Sequence[str] = ()):
        scenario = a_scenario("layout.file_size_bytes=16k", *sets, keys=keys, engine=engine)
        self.device = open_device(scenario, Path(folder) / "image", UNITS * UNIT)
        self.exported = ExportedDevice(self.device)

    def run(self, asked: Sequence[Asked], *, together: bool, structured: bool = False) -> list[bytes]:
        """Replies, in the order of the requests."""
        jobs = [each.job(cookie, structured=structured) for cookie, each in enumerate(asked)]
        for part in [jobs] if together else [[job] for job in jobs]:
            self.exported.run(part)
        return [reply_of(job) for job in jobs]


UNITS_OF = st.builds(
    lambda unit, count: (unit * UNIT, min(count, UNITS - unit) * UNIT),
    st.integers(0, UNITS - 1),
    st.sampled_from([1, 1, 1, 2, 5]),
)
BYTES_OF = st.builds(
    lambda offset, length: (offset, min(length, UNITS * UNIT - offset)),
    st.integers(0, UNITS * UNIT - 1),
    st.integers(0, 9000),
)
PAST_END = st.just(((UNITS - 1) * UNIT, 2 * UNIT))


def an_asked(command: int, where: tuple[int, int], fua: bool, fill: int) -> Asked:
    offset, length = (0, 0) if command == FLUSH else where
    return Asked(command, offset, length, FUA if fua else 0, fill)


ASKED = st.builds(
    an_asked,
    st.sampled_from([READ] * 4 + [WRITE] * 5 + [FLUSH, TRIM, ZEROES, UNKNOWN]),
    st.one_of(UNITS_OF, UNITS_OF, UNITS_OF, BYTES_OF, PAST_END),
    st.integers(0, 9).map(lambda dice: dice == 0),
    st.integers(1, 255),
)
EVERYTHING = [Asked(READ, 0, UNITS * UNIT)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(ASKED, min_size=2, max_size=24),
    st.sampled_from(PATHS),
    st.sampled_from([(), ("keyslots=1",), ("block.scheduler=mq-deadline",)]),
    st.booleans(),
)
def test_together_or_one_after_the_other_replies_data_and_counts_are_the_same(
    asked: list[Asked], path: tuple[str, str], sets: tuple[str, ...], structured: bool
) -> None:
    seen: list[tuple[list[bytes], list[bytes], ServeCounts]] = []
    for together in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            world = World(folder, keys=path[0], engine=path[1], sets=sets)
            # So that every unit is known.
            world.run([Asked(WRITE, unit * UNIT, UNIT, 0, unit + 1) for unit in range(UNITS)], together=False)
            replies = world.run(asked, together=together, structured=structured)
            content = world.run(EVERYTHING, together=False)
            counts = world.exported.counts
            assert world.exported.known is not None
            assert world.exported.known.mismatches == 0
            world.device.close()
        counts.batches = 0
        seen.append((replies, content, counts))
    assert seen[0] == seen[1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(str(tmp_path))


def ok(cookie: int, data: bytes = b"") -> bytes:
    return bytes.fromhex("67446698 00000000") + cookie.to_bytes(8, "big") + data


def test_a_read_sees_the_writes_before_it_in_its_batch_and_not_those_after(world: World) -> None:
    writes = [Asked(WRITE, 0, UNIT, fill=fill) for fill in (1, 2, 3)]
    read = Asked(READ, 0, UNIT)
    replies = world.run([writes[0], read, writes[1], writes[2], read], together=True)
    assert replies == [ok(0), ok(1, b"\1" * UNIT), ok(2), ok(3), ok(4, b"\3" * UNIT)]


@pytest.mark.parametrize("engine", ["inline", "fallback"])
def test_an_error_in_the_middle_of_a_batch_is_the_reply_to_its_own_cookie_and_to_no_other(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(str(tmp_path), engine=engine)
    units = [0, 9, 2, 12, 5, 14, 7]
    asked = [Asked(WRITE, unit * UNIT, UNIT, fill=unit + 1) for unit in units]
    world.run(asked, together=True)  # so that all keys are in their slots
    pwrite = os.pwrite

    def full_at_12(fd: int, data: memoryview, offset: int) -> int:
        if offset == 12 * UNIT:
            raise OSError(errno.ENOSPC, "told to")
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full_at_12)
    replies = world.run([*asked, Asked(READ, UNITS * UNIT, UNIT)], together=True)
    # ENOSPC is 28, EINVAL 22.
    enospc = bytes.fromhex("67446698 0000001c 0000000000000003")
    einval = bytes.fromhex("67446698 00000016 0000000000000007")
    assert replies == [ok(0), ok(1), ok(2), enospc, ok(4), ok(5), ok(6), einval]


@pytest.mark.parametrize("engine", ["inline", "fallback"])
def test_a_flush_covers_the_writes_before_it_in_its_batch(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(str(tmp_path), engine=engine)
    calls: list[int | str] = []
    pwrite, fdatasync = os.pwrite, os.fdatasync

    def write(fd: int, data: memoryview, offset: int) -> int:
        calls.append(offset // UNIT)
        return pwrite(fd, data, offset)

    def sync(fd: int) -> None:
        calls.append("sync")
        fdatasync(fd)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fdatasync", sync)
    writes = [Asked(WRITE, unit * UNIT, UNIT) for unit in (1, 6, 11)]
    world.run([*writes[:2], Asked(FLUSH, 0, 0), writes[2]], together=True)
    assert sorted(map(str, calls[: calls.index("sync")])) == ["1", "6"]


def test_a_durable_write_in_the_middle_of_a_batch_is_followed_by_a_sync_before_any_reply(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fdatasync = os.fdatasync

    def sync(fd: int) -> None:
        calls.append("sync")
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", sync)
    writes = [Asked(WRITE, unit * UNIT, UNIT, FUA * (unit == 6)) for unit in (1, 6, 11)]
    replies = world.run(writes, together=True)
    assert (replies, calls) == ([ok(0), ok(1), ok(2)], ["sync"])
