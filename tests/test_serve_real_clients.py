"""fio, qemu-io and nbdcopy against ``blkcrypto serve``, and a killed server."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.oracle.nbd_client import NbdClient
from tests.test_serve import noise

MIB = 1 << 20
REPOSITORY = Path(__file__).parents[1]
CLI = (sys.executable, "-c", "import sys; from scenarios.cli import main; sys.exit(main())")
PATHS = {
    "native": ["--keys", "raw", "--engine", "inline"],
    "wrapped": ["--keys", "hw-wrapped", "--engine", "inline"],
    "fallback": ["--keys", "raw", "--engine", "fallback"],
}


def fio_has_nbd() -> bool:
    if shutil.which("fio") is None:
        return False
    return (
        "nbd"
        in subprocess.run(["fio", "--enghelp"], capture_output=True, text=True, check=False).stdout.split()
    )


needs_fio = pytest.mark.skipif(not fio_has_nbd(), reason="no fio with the nbd engine (Debian: fio)")
needs_qemu = pytest.mark.skipif(shutil.which("qemu-io") is None, reason="no qemu-io (Debian: qemu-utils)")
needs_nbdcopy = pytest.mark.skipif(shutil.which("nbdcopy") is None, reason="no nbdcopy (Debian: libnbd-bin)")


@dataclass
class Running:
    process: subprocess.Popen[str]
    uri: str
    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def end(self, number: int = signal.SIGINT) -> str:
        """Stop it; what it printed after the address."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=60)
        return output


@contextlib.contextmanager
def serving(folder: Path, *options: str, size: str = "64M", address: str | None = None) -> Iterator[Running]:
    where = address or f"unix:{folder / 'socket'}"
    there = (folder / "image").exists()
    words = ["serve", "--image", str(folder / "image"), "--nbd", where, *([] if there else ["--size", size])]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([*CLI, *words, *options], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving "), line
        yield Running(process, line.removeprefix("serving ").strip(), folder)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because the path of a socket is."""
    with tempfile.TemporaryDirectory(prefix="nbd") as made:
        yield Path(made)


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fio(server: Running, **options: object) -> tuple[int, int, int]:
    """One fio job that verifies what it wrote: its error number, bytes read and bytes written."""
    options = {"verify": "crc32c", "verify_fatal": 1, "do_verify": 1, "uri": server.uri, **options}
    words = [f"--{name}={value}" for name, value in options.items()]
    command = ["fio", "--name=job", "--ioengine=nbd", "--output-format=json", *words]
    output = run(*command, cwd=server.folder)
    job = json.loads(output[output.index("{") :])["jobs"][0]
    return job["error"], job["read"]["io_bytes"], job["write"]["io_bytes"]


@needs_fio
@pytest.mark.parametrize("path", PATHS)
def test_fio_verifies_everything_it_wrote(path: str, folder: Path) -> None:
    with serving(folder, *PATHS[path], size="32M", address="127.0.0.1:0") as server:
        done = fio(server, rw="randwrite", bs="4k", size="32m", iodepth=32)
        output = server.end()
    assert done == (0, 32 * MIB, 32 * MIB)
    assert "33,554,432 bytes, 0 mismatches" in output
    assert server.process.returncode == 0


@needs_fio
def test_fio_with_flushes_leaves_a_capture_that_replays(folder: Path) -> None:
    with serving(folder, "--capture", str(folder / "trace.txt"), size="64M") as server:
        fio(server, rw="randrw", bs="4k", size="8m", iodepth=16, fsync=64)
        output = server.end()
    command = next(line for line in output.splitlines() if "blkcrypto replay" in line)
    words = command.split("blkcrypto ")[1].split()
    replayed = run(*CLI, *words, "--payload", "verify", "--json", "-", "--quiet", cwd=REPOSITORY)
    result = json.loads(replayed)
    captured = next(line for line in output.splitlines() if line.startswith("captured")).split()[1]
    # 2048 blocks of 4 KiB written or read, and those written read once more.
    assert result["totals"]["bios"] >= int(captured.replace(",", "")) > 2048
    assert result["data"]["mismatches"] == 0


@needs_qemu
def test_qemu_io_reads_its_patterns_back(folder: Path) -> None:
    with serving(folder) as server:
        script = ["write -P 0xa5 1M 3M", "write -P 0x5a -f 2M 64k", "discard 8M 1M", "flush"]
        script += ["write -z 3M 512k", "read -P 0xa5 1M 1M", "read -P 0x5a 2M 64k", "read -P 0 3M 512k"]
        script += ["write -P 0x77 513 1500", "read -P 0x77 513 1500"]
        commands = [word for line in script for word in ("-c", line)]
        output = run("qemu-io", "-f", "raw", *commands, server.uri)
    assert "Pattern verification failed" not in output


@needs_nbdcopy
def test_nbdcopy_copies_a_file_in_and_out_over_several_connections(folder: Path) -> None:
    data = noise(16 * MIB)
    (folder / "in").write_bytes(data)
    with serving(folder, size="16M", address="127.0.0.1:0") as server:
        run("nbdcopy", "--flush", str(folder / "in"), server.uri)
        run("nbdcopy", server.uri, str(folder / "out"))
        output = server.end()
    assert (folder / "out").read_bytes() == data
    assert "16,777,216 bytes, 0 mismatches" in output


def connect(server: Running) -> NbdClient:
    host, port = server.uri.removeprefix("nbd://").split(":")
    return NbdClient((host, int(port)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("path", PATHS)
def test_a_killed_server_loses_nothing_that_was_flushed_or_fua(path: str, number: int, folder: Path) -> None:
    data = noise(2 * MIB)
    with serving(folder, *PATHS[path], address="127.0.0.1:0") as server, connect(server) as client:
        client.write(4 * MIB, data)
        client.flush()
        client.write(9 * MIB, data, fua=True)
        for at in range(0, MIB, 4096):
            client.send(1, 20 * MIB + at, 4096, data[:4096])  # under way when it dies
        server.process.send_signal(number)
        server.process.wait(timeout=60)
    with serving(folder, *PATHS[path], address="127.0.0.1:0") as server, connect(server) as client:
        assert client.read(4 * MIB, 2 * MIB) == data
        assert client.read(9 * MIB, 2 * MIB) == data


def test_another_seed_is_another_master_key(folder: Path) -> None:
    with serving(folder, "--seed", "1", address="127.0.0.1:0") as server, connect(server) as client:
        client.write(0, b"s" * 4096, fua=True)
        server.end()
    with serving(folder, "--seed", "2", address="127.0.0.1:0") as server, connect(server) as client:
        assert client.read(0, 4096) != b"s" * 4096


def test_ctrl_c_ends_with_a_summary_also_as_json(folder: Path) -> None:
    with serving(folder, "--json", str(folder / "json"), address="127.0.0.1:0") as server:
        with connect(server) as client:
            client.write(0, b"s" * 8192)
            client.read(0, 4096)
        output = server.end()
    assert "2: 1 reads, 1 writes, 0 flushes" in output
    summary = json.loads((folder / "json").read_text())
    assert summary["keyslots"] == {"programs": 1, "distinct_keys": 1}
    assert summary["data"] == {"verified_bytes": 4096, "mismatches": 0}


def test_a_replaced_image_ends_with_exit_status_1(folder: Path) -> None:
    with serving(folder, address="127.0.0.1:0") as server:
        with connect(server) as client:
            client.write(0, b"s" * 4096)
            with (folder / "image").open("r+b") as image:
                image.write(b"other")
            with pytest.raises(Exception, match="NBD error 5"):
                client.read(0, 4096)
        output = server.end()
    assert "1 mismatches" in output
    assert server.process.returncode == 1


def test_a_port_in_use_is_one_line_and_exit_status_2(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["serve", "--image", str(folder / "image"), "--size", "64M", "--nbd", address]
        done = subprocess.run(
            [*CLI, *words],
            capture_output=True, text=True, check=False, cwd=REPOSITORY,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("blkcrypto: --nbd: cannot listen on")
    assert done.stderr.count("\n") == 1
