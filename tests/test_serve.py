"""The emulated encrypted device over NBD: what clients read back, and what the image holds."""

import contextlib
import os
import socket
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from blkcrypto.base.errors import BadInput
from blkcrypto.block.key import KeyType
from blkcrypto.fs.stacked.dmcrypt_device import CryptDevice
from scenarios.build import build, settled
from scenarios.designs import DESIGNS, PLAIN
from scenarios.schema import Scenario
from scenarios.serve import connection
from scenarios.serve.devices import WITH_METADATA, open_device
from scenarios.serve.server import listen
from scenarios.streams import stream
from scenarios.traces.reader import open_trace
from tests.nbd_world import IMAGE_BYTES, World, a_scenario, served
from tests.oracle.nbd_client import NbdClient, NbdError
from tests.oracle.slow_xts import xts_unit

UNIT = 4096


def possible_worlds() -> list[tuple[str, str, str]]:
    """Every design, with every key type and path that it and Linux allow."""
    found: dict[tuple[str, str, str], None] = {}
    for design in DESIGNS:
        for keys in ("raw", "hw-wrapped"):
            for engine in ("inline", "fallback", "fs-layer"):
                try:
                    scenario = settled(a_scenario(design=design, keys=keys, engine=engine))
                except BadInput:
                    continue
                found[design, keys, scenario.keys.engine] = None
    return list(found)


WORLDS = possible_worlds()


def noise(count: int, seed: int = 0) -> bytes:
    """Bytes of which no two units are alike."""
    return b"".join(
        struct.pack(">IQ", seed, at) + bytes((at * 31 + seed + i) & 255 for i in range(4))
        for at in range(count // 16)
    )


@pytest.mark.parametrize(("design", "keys", "engine"), WORLDS)
def test_through_every_design_clients_read_back_what_they_wrote(
    design: str, keys: str, engine: str, tmp_path: Path
) -> None:
    scenario, data = a_scenario(design=design, keys=keys, engine=engine), noise(IMAGE_BYTES)
    with served(scenario, tmp_path / "image") as world, world.client() as client:
        client.write(0, data[: 512 << 10])
        client.write(512 << 10, data[512 << 10 :])
        client.write(100, b"not a whole unit")
        got = client.read(0, IMAGE_BYTES)
    assert got == data[:100] + b"not a whole unit" + data[116:]


@pytest.mark.parametrize(("design", "keys", "engine"), WORLDS)
def test_an_image_opened_again_with_the_same_master_key_reads_back(
    design: str, keys: str, engine: str, tmp_path: Path
) -> None:
    scenario, data = a_scenario(design=design, keys=keys, engine=engine), noise(IMAGE_BYTES)
    with served(scenario, tmp_path / "image") as world, world.client() as client:
        client.write(0, data)
    with served(scenario, tmp_path / "image", None) as world, world.client() as client:
        assert client.read(0, IMAGE_BYTES) == data


def test_dm_crypt_reads_what_clients_wrote(tmp_path: Path) -> None:
    scenario, data = a_scenario(design="dm-crypt"), noise(IMAGE_BYTES)
    with served(scenario, tmp_path / "image") as world, world.client() as client:
        client.write(0, data)
    key = stream(1, "device-key").bytes(64).hex()
    sectors = IMAGE_BYTES // 512
    line = f"0 {sectors} crypt aes-xts-plain64 {key} 0 /dev/sda 0 1 sector_size:4096"
    device = CryptDevice(line, bytearray((tmp_path / "image").read_bytes()))
    assert device.read(0, IMAGE_BYTES) == data


@pytest.mark.parametrize(("design", "keys", "engine"), [row for row in WORLDS if row[0] != "none"])
def test_the_image_holds_no_block_of_plaintext(design: str, keys: str, engine: str, tmp_path: Path) -> None:
    data = noise(IMAGE_BYTES)
    scenario = a_scenario(design=design, keys=keys, engine=engine)
    with served(scenario, tmp_path / "image") as world, world.client() as client:
        client.write(0, data)
    image = (tmp_path / "image").read_bytes()
    # The second halves of blocks, for the first ones of low addresses are mostly zeroes; at any alignment.
    written = np.frombuffer(data, dtype=np.uint64)[1::2]
    for shift in range(8):
        words = np.frombuffer(image[shift:], dtype=np.uint64, count=len(image) // 8 - 1)
        assert not np.isin(words, written).any()


@pytest.mark.parametrize(
    ("design", "keys", "engine"), [row for row in WORLDS if row[0] not in {"none", *WITH_METADATA}]
)
def test_zeroes_are_written_as_ciphertext(design: str, keys: str, engine: str, tmp_path: Path) -> None:
    scenario = a_scenario(design=design, keys=keys, engine=engine)
    with served(scenario, tmp_path / "image") as world, world.client() as client:
        client.write_zeroes(0, 64 << 10)
    image = (tmp_path / "image").read_bytes()
    assert all(any(image[at : at + 16]) for at in range(0, 64 << 10, 16))


def expected_image(scenario: Scenario, data: bytes, units: list[int]) -> dict[int, bytes]:
    """Ciphertext of some units by slow XTS, keys and DUNs by the replay's own vectorised path."""
    from hwmodel.keywrap import KeyWrapUnit
    from scenarios.streams import stream

    model = build(scenario)
    assert model.keys is not None
    files, offsets = model.layout.file_map.locate(np.array(units) * UNIT)
    numbers, duns = model.keys.look_up(files, offsets // UNIT)
    facts = scenario.device.keywrap
    wrap = None if facts is None else KeyWrapUnit(stream(1, "keywrap"), blob_bytes=facts.blob_bytes.value)
    found = {}
    for unit, number, dun in zip(units, numbers.tolist(), duns.tolist(), strict=True):
        key = model.keys.objects[number]
        raw = key.raw
        if key.crypto_cfg.key_type is KeyType.HW_WRAPPED:
            assert wrap is not None
            raw = wrap.inline_key(raw)
        plain = data[unit * UNIT : unit * UNIT + UNIT]
        found[unit] = xts_unit(raw, dun.to_bytes(16, "little"), plain, "encrypt")
    return found


@pytest.mark.parametrize(("design", "keys", "engine"), [row for row in WORLDS if row[0] in PLAIN - {"none"}])
def test_the_image_holds_the_ciphertext_of_slow_xts(
    design: str, keys: str, engine: str, tmp_path: Path
) -> None:
    span = f"layout.span_bytes={IMAGE_BYTES}"
    scenario, data = a_scenario(span, design=design, keys=keys, engine=engine), noise(IMAGE_BYTES)
    with served(scenario, tmp_path / "image") as world, world.client() as client:
        client.write(0, data)
    image = (tmp_path / "image").read_bytes()
    # One unit at each end, the first of a second extent, two in the middle.
    for unit, expected in expected_image(scenario, data, [0, 4, 100, 131, 255]).items():
        assert image[unit * UNIT : unit * UNIT + UNIT] == expected


class ClientsAgainstAByteArray(RuleBasedStateMachine):
    """Any requests, whole units or not, structured replies or not, against plain memory."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = bytearray(IMAGE_BYTES)
        # What was never written, or discarded, is anybody's guess.
        self.known = bytearray(IMAGE_BYTES)

    @initialize(row=st.sampled_from(WORLDS), structured=st.booleans())
    def start(self, row: tuple[str, str, str], structured: bool) -> None:
        self.stack = contextlib.ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        scenario = a_scenario(design=row[0], keys=row[1], engine=row[2])
        self.world = self.stack.enter_context(served(scenario, Path(folder) / "image"))
        self.client = self.stack.enter_context(self.world.client(structured=structured))

    ranges = st.builds(
        lambda offset, length, unit: (
            offset // unit * unit,
            min(-(-length // unit) * unit, IMAGE_BYTES - offset // unit * unit),
        ),
        st.integers(0, IMAGE_BYTES - 1),
        st.integers(1, 40_000),
        st.sampled_from([1, UNIT]),
    )

    @rule(where=ranges, seed=st.integers(0, 255), fua=st.booleans())
    def write(self, where: tuple[int, int], seed: int, fua: bool) -> None:
        offset, length = where
        data = bytes((seed + at * 7) & 255 for at in range(length))
        self.client.write(offset, data, fua=fua)
        self.memory[offset : offset + length] = data
        self.known[offset : offset + length] = b"\1" * length

    @rule(where=ranges)
    def write_zeroes(self, where: tuple[int, int]) -> None:
        offset, length = where
        self.client.write_zeroes(offset, length)
        self.memory[offset : offset + length] = bytes(length)
        self.known[offset : offset + length] = b"\1" * length

    @rule(where=ranges)
    def trim(self, where: tuple[int, int]) -> None:
        offset, length = where
        self.client.trim(offset, length)
        first, last = -(-offset // UNIT) * UNIT, (offset + length) // UNIT * UNIT
        self.known[first:last] = bytes(max(0, last - first))

    @rule(where=ranges)
    def read(self, where: tuple[int, int]) -> None:
        offset, length = where
        got = self.client.read(offset, length)
        for at in range(length):
            if self.known[offset + at]:
                assert got[at] == self.memory[offset + at], f"byte {offset + at}"

    @rule(units=st.lists(st.integers(0, 255), min_size=2, max_size=12, unique=True), seed=st.integers(0, 255))
    def pipeline(self, units: list[int], seed: int) -> None:
        """Writes in flight together, then reads of the same units in flight together."""
        for unit in units:
            self.client.send(1, unit * UNIT, UNIT, bytes([seed ^ unit & 255]) * UNIT)
            self.memory[unit * UNIT : unit * UNIT + UNIT] = bytes([seed ^ unit & 255]) * UNIT
            self.known[unit * UNIT : unit * UNIT + UNIT] = b"\1" * UNIT
        for _ in units:
            self.client.receive({})
        lengths = {self.client.send(0, unit * UNIT, UNIT): unit for unit in units}
        for _ in units:
            cookie, data = self.client.receive(dict.fromkeys(lengths, UNIT))
            at = lengths[cookie] * UNIT
            assert data == self.memory[at : at + UNIT]

    @rule()
    def flush(self) -> None:
        self.client.flush()

    @invariant()
    def nothing_came_back_wrong(self) -> None:
        known = getattr(self, "world", None) and self.world.exported.known
        assert not known or known.mismatches == 0

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()


TestClientsAgainstAByteArray = ClientsAgainstAByteArray.TestCase
TestClientsAgainstAByteArray.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)


@pytest.fixture
def world(tmp_path: Path):  # type: ignore[no-untyped-def]  # a generator of Worlds
    with served(a_scenario(), tmp_path / "image") as running:
        yield running


def test_block_sizes_are_told_and_kept_only_by_those_who_asked(world: World) -> None:
    with world.client(ask_block=True) as strict, world.client() as lenient:
        assert strict.blocks == (4096, 4096, 32 << 20)
        with pytest.raises(NbdError, match="22"):
            strict.read(512, 512)
        assert len(lenient.read(512, 512)) == 512


def test_old_style_clients_are_served(world: World) -> None:
    with world.client(old_style=True) as client:
        client.write(8192, b"x" * 4096)
        assert (client.size, client.read(8192, 4096)) == (IMAGE_BYTES, b"x" * 4096)


@pytest.mark.parametrize(
    ("command", "offset", "length", "flags", "error"),
    [
        (0, IMAGE_BYTES, 4096, 0, 22),
        (0, (1 << 64) - 4096, 4096, 0, 22),
        (0, 0, (32 << 20) + 4096, 0, 22),
        (4, IMAGE_BYTES - 4096, 8192, 0, 22),
        (6, IMAGE_BYTES - 4096, 8192, 0, 28),
        (77, 0, 4096, 0, 22),
        (0, 0, 4096, 1 << 9, 22),
        (0, 0, 4096, 4, 22),
        (3, 0, 0, 2, 22),
    ],
    ids=[
        "read past the end", "read far past the end", "read too large", "trim past the end",
        "zeroes past the end", "unknown command", "unknown flag", "DF without structured replies",
        "NO_HOLE on a flush",
    ],
)  # fmt: skip
def test_requests_that_cannot_be_done_are_refused_and_the_connection_goes_on(
    world: World, command: int, offset: int, length: int, flags: int, error: int
) -> None:
    with world.client() as client:
        with pytest.raises(NbdError, match=rf" {error}$"):
            client.call(command, offset, length, flags=flags)
        assert len(client.read(0, 4096)) == 4096


def test_a_write_past_the_end_finds_no_space_and_its_payload_is_not_taken_for_requests(world: World) -> None:
    with world.client() as client:
        with pytest.raises(NbdError, match=r" 28$"):
            client.write(IMAGE_BYTES - 4096, b"y" * 8192)
        client.write(0, b"z" * 4096)
        assert client.read(0, 4096) == b"z" * 4096


def test_a_structured_read_that_fails_gets_an_error_chunk(world: World) -> None:
    with world.client(structured=True) as client, pytest.raises(NbdError, match=r" 22$"):
        client.read(IMAGE_BYTES, 4096)


HOSTILE = {
    "noise instead of flags": b"\xff" * 64,
    "noise instead of an option": b"\x00\x00\x00\x03" + b"\xa5" * 64,
    "an endless option": b"\x00\x00\x00\x03IHAVEOPT" + struct.pack(">II", 3, 0xFFFFFFFF) + b"x" * 4096,
    "noise instead of a request": b"\x00\x00\x00\x03IHAVEOPT" + struct.pack(">II", 1, 0) + b"\x11" * 28,
    "an oversized write": b"\x00\x00\x00\x03IHAVEOPT"
    + struct.pack(">II", 1, 0)
    + bytes.fromhex("25609513")
    + struct.pack(">HHQQI", 0, 1, 1, 0, (32 << 20) + 1),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_client_is_hung_up_on_and_others_notice_nothing(world: World, what: str) -> None:
    with world.client() as other, socket.create_connection(world.address, timeout=10) as hostile:
        hostile.sendall(HOSTILE[what])
        while True:
            try:
                if not hostile.recv(4096):
                    break
            except ConnectionResetError:
                break  # it had sent more than was read
        other.write(0, b"a" * 4096)
        assert other.read(0, 4096) == b"a" * 4096
    assert world.server.counts.violations == 1


def test_a_client_that_never_reads_is_answered_so_far_and_then_has_to_wait(world: World) -> None:
    requests = 200
    with world.client() as greedy, world.client() as other:
        request = bytes.fromhex("25609513") + struct.pack(">HHQQI", 0, 0, 1, 0, IMAGE_BYTES)
        greedy.sock.sendall(request * requests)
        for _ in range(50):
            assert len(other.read(0, 4096)) == 4096
        waiting = world.exported.counts.read_bytes - 50 * 4096
        for _ in range(requests):
            assert greedy.take(16) == bytes.fromhex("67446698 00000000 0000000000000001")
            greedy.take(IMAGE_BYTES)
    # Of 200 MiB: 8 MiB may wait, as much again is done at once, and the sockets hold a few.
    assert 0 < waiting < 32 << 20


def test_a_read_of_an_image_changed_behind_the_server_s_back_is_an_error_and_is_counted(
    world: World, tmp_path: Path
) -> None:
    with world.client() as client:
        client.write(8192, b"q" * 4096)
        with (tmp_path / "image").open("r+b") as image:
            image.seek(8192)
            image.write(b"tampered")
        with pytest.raises(NbdError, match=r" 5$"):
            client.read(8192, 4096)
    assert world.exported.known is not None
    assert world.exported.known.where == [8192]


def test_one_keyslot_and_many_keys_is_slow_but_right(tmp_path: Path) -> None:
    data = noise(IMAGE_BYTES)
    with served(a_scenario("keyslots=1"), tmp_path / "image") as world, world.client() as client:
        for at in range(0, IMAGE_BYTES, 128 << 10):
            client.write(at, data[at : at + (128 << 10)])
        assert client.read(0, IMAGE_BYTES) == data
        # Sixteen files; their extents alternate, so every write of eight extents needs several keys in turn.
        assert world.exported.device.keyslot_programs > 16


def test_hardware_without_keyslots_gets_the_key_with_each_request(tmp_path: Path) -> None:
    scenario = a_scenario("device=exynos-fmp")
    with served(scenario, tmp_path / "image") as world, world.client() as client:
        client.write(0, b"k" * 65536)
        assert client.read(0, 65536) == b"k" * 65536
        assert world.exported.device.keyslot_programs == 0


@pytest.mark.parametrize("name", ["trace.txt", "trace.parquet"])
def test_the_capture_is_a_trace_of_what_was_asked(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("polars")
    with (
        served(a_scenario(), tmp_path / "image", capture=tmp_path / name) as world,
        world.client() as client,
    ):
        client.write(8192, b"c" * 4096)
        client.read(8192, 8192)
        client.flush()
        client.trim(0, 4096)
        client.write(100, b"c" * 1000)
        with pytest.raises(NbdError):
            client.read(IMAGE_BYTES, 4096)
        client.close()
    with open_trace(str(tmp_path / name)) as reader:
        rows = [
            (int(op), int(sector), int(nbytes))
            for batch in reader.batches()
            for op, sector, nbytes in zip(batch.op, batch.sector, batch.nbytes, strict=True)
        ]
    # WRITE 1, READ 0, FLUSH 2, DISCARD 3; bytes 100 to 1100 lie in sectors 0 to 2.
    assert rows == [(1, 16, 4096), (0, 16, 8192), (2, 0, 0), (3, 0, 4096), (1, 0, 1536)]


def test_an_image_is_served_once_at_a_time(tmp_path: Path) -> None:
    with served(a_scenario(), tmp_path / "image"), pytest.raises(BadInput, match="another server"):
        open_device(a_scenario(), tmp_path / "image", None)


@pytest.mark.parametrize(
    ("size", "there", "message"),
    [(None, 0, "give --size"), (2 << 20, 1 << 20, "leave --size out"), (100_000, 0, "whole extents")],
)
def test_a_wrong_size_says_what_to_do(tmp_path: Path, size: int | None, there: int, message: str) -> None:
    if there:
        (tmp_path / "image").write_bytes(bytes(there))
    with pytest.raises(BadInput, match=message):
        open_device(a_scenario(), tmp_path / "image", size)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "nonsense", "127.0.0.1:70000"])
def test_only_loopback_is_listened_on_unless_asked_for(address: str) -> None:
    with pytest.raises(BadInput, match="--nbd"):
        listen(address)


def test_a_socket_left_by_a_killed_server_is_replaced_and_is_the_owner_s_only() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "socket"
        first, _ = listen(f"unix:{path}")
        with pytest.raises(BadInput, match="in use"):
            listen(f"unix:{path}")
        first.close()
        second, uri = listen(f"unix:{path}")
        second.close()
        assert (uri, os.stat(path).st_mode & 0o777) == (f"nbd+unix:///?socket={path}", 0o600)


def test_a_full_filesystem_is_enospc(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    with world.client() as client:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(NbdError, match=r" 28$"):
            client.write(0, b"f" * 4096)
        monkeypatch.undo()
        client.write(0, b"g" * 4096)
        assert client.read(0, 4096) == b"g" * 4096


def test_flush_and_fua_sync_the_image_before_they_are_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_sync, real_write = os.fdatasync, os.pwrite

    def sync(fd: int) -> None:
        calls.append("sync")
        real_sync(fd)

    def write(fd: int, data: memoryview, offset: int) -> int:
        calls.append("write")
        return real_write(fd, data, offset)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(os, "pwrite", write)
    with world.client() as client:
        client.write(0, b"1" * 4096)
        client.write(0, b"2" * 4096, fua=True)
        client.flush()
        answered = list(calls)
    assert answered == ["write", "write", "sync", "sync"]


def test_a_failed_sync_fails_the_flush(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    with world.client() as client:
        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(NbdError, match=r" 5$"):
            client.flush()
        monkeypatch.undo()
        client.flush()


def test_clients_of_several_connections_see_one_device(world: World) -> None:
    with world.client() as writer, world.client(structured=True) as reader:
        writer.write(4096, b"m" * 4096)
        assert reader.read(4096, 4096) == b"m" * 4096
        assert isinstance(writer, NbdClient)


def test_a_client_that_says_nothing_is_hung_up_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HANDSHAKE_S", 0.1)
    with socket.create_connection(world.address, timeout=30) as silent:
        assert silent.recv(18) == b"NBDMAGICIHAVEOPT\x00\x03"
        assert silent.recv(1) == b""
