"""fio against ``blkcrypto serve``: 256 MiB written and verified in blocks of 4 KiB, 32 in flight.

Client and server share the machine, and the encrypted image lies where temporary files do.  The acceptance is
20,000 I/Os per second in either direction; on a busy machine compare the server's CPU time only.
"""

import json
import os
from pathlib import Path

import pytest

from tests.test_serve_real_clients import PATHS, folder, needs_fio, run, serving

pytestmark = [pytest.mark.bench, needs_fio]
__all__ = ["folder"]


def cpu_s(pid: int) -> float:
    """CPU time of a process: fields 14 and 15 of its line in /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rw", ["randwrite", "randread"])
def test_fio_4k(path: str, rw: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(folder, *PATHS[path], size="256M") as server:
        words = [f"--rw={rw}", "--bs=4k", "--iodepth=32", "--size=256m", f"--uri={server.uri}"]
        if rw == "randwrite":
            words += ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1"]
        before = cpu_s(server.process.pid)
        output = run("fio", "--name=job", "--ioengine=nbd", "--output-format=json", *words, cwd=folder)
        spent = cpu_s(server.process.pid) - before
        server.end()
    job = json.loads(output[output.index("{") :])["jobs"][0]
    done = job["read"]["total_ios"] + job["write"]["total_ios"]
    with capsys.disabled():
        iops = {direction: f"{job[direction]['iops']:,.0f}" for direction in ("write", "read")}
        print(f"\n{path} {rw}: {iops} I/O/s, {spent / done * 1e6:.0f} us of the server's CPU for each")
    assert job["error"] == 0
