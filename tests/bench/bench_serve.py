"""fio against ``blkcrypto serve``: 256 MiB written and verified in blocks of 4 KiB, 32 in flight.

Client and server share the machine, and the encrypted image lies where temporary files do.  The acceptance is
20,000 I/Os per second in either direction; on a busy machine compare CPU time only.
"""

import json
import resource
from pathlib import Path

import pytest

from tests.test_serve_real_clients import PATHS, folder, needs_fio, run, serving

pytestmark = [pytest.mark.bench, needs_fio]
__all__ = ["folder"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rw", ["randwrite", "randread"])
def test_fio_4k(path: str, rw: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with serving(folder, *PATHS[path], size="256M") as server:
        words = [f"--rw={rw}", "--bs=4k", "--iodepth=32", "--size=256m", f"--uri={server.uri}"]
        if rw == "randwrite":
            words += ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1"]
        output = run("fio", "--name=job", "--ioengine=nbd", "--output-format=json", *words, cwd=folder)
        server.end()
    job = json.loads(output[output.index("{") :])["jobs"][0]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        iops = {direction: f"{job[direction]['iops']:,.0f}" for direction in ("write", "read")}
        print(f"\n{path} {rw}: {iops} I/O/s, {cpu:.1f} s of CPU in server and fio")
    assert job["error"] == 0
