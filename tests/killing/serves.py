"""Servers that are killed, of a design of each kind in turn.

A client writes blocks at random addresses; the server is killed at a random moment, and started again on the
same image.  Then every block has to be what was last acknowledged; the one whose write was under way may be
old or new, and nothing else.
"""

import hashlib
import os
import random
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from tests.oracle.nbd_client import NbdClient

BLOCK_BYTES: Final = 4096
BLOCKS: Final = 512
DESIGNS: Final = (
    "fscrypt-per-file",
    "extents-lightweight",
    "aead-integrity",
    "key-setup-v5",
    "inline-data-a1",
    "aead-tree-unit",
    "aead-tree-extent",
)
_MAIN: Final = "import sys; from scenarios.cli import main; sys.exit(main())"


def killed_servers(folder: Path, kills: int, rng: random.Random) -> str:
    """Kill a server ``kills`` times; what was seen.

    Raises:
        AssertionError: an acknowledged write was lost, or a block has never been written so.
    """
    known: dict[str, dict[int, str]] = {design: {} for design in DESIGNS}
    writes = checked = 0
    for kill in range(kills):
        design = DESIGNS[kill % len(DESIGNS)]
        written = known[design]
        process, port = _started(folder, design)
        with NbdClient(("127.0.0.1", port)) as client:
            timer = threading.Timer(rng.uniform(0.01, 0.4), process.kill)
            timer.start()
            doubt, data = 0, b""
            try:
                while True:
                    doubt, data = rng.randrange(BLOCKS), rng.randbytes(BLOCK_BYTES)
                    client.write(doubt * BLOCK_BYTES, data, fua=rng.random() < 0.02)
                    written[doubt] = hashlib.sha256(data).hexdigest()
                    writes += 1
            except OSError:
                timer.join()
                _ended(process)
        checked += _check(folder, design, written, doubt, hashlib.sha256(data).hexdigest())
    return f"serves: {kills} kills in {writes} acknowledged writes: {checked} blocks read back, none lost"


def _started(folder: Path, design: str) -> "tuple[subprocess.Popen[str], int]":
    words = ["serve", "--image", f"image-{design}", "--size", str(BLOCK_BYTES * BLOCKS)]
    words += ["--nbd", "127.0.0.1:0", "--design", design, "--set", "design.key_extent_bytes=64k"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", _MAIN, *words],
        cwd=folder,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r":(\d+)$", line.strip())
    assert found is not None, f"the server did not start: {line}"
    return process, int(found[1])


def _check(folder: Path, design: str, written: dict[int, str], doubt: int, new: str) -> int:
    """Compare every block that was ever written, and settle the one in doubt."""
    process, port = _started(folder, design)
    with NbdClient(("127.0.0.1", port)) as client:
        for block in {*written, doubt}:
            found = hashlib.sha256(client.read(block * BLOCK_BYTES, BLOCK_BYTES)).hexdigest()
            if block == doubt and found == new:
                written[block] = new
            elif block in written:
                assert found == written[block], f"block {block} is not what was acknowledged"
        client.close()
    process.terminate()
    assert _ended(process) == 0
    return len(written)


def _ended(process: "subprocess.Popen[str]") -> int:
    with process:  # closes its output
        return process.wait()
