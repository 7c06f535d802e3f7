"""A synthetic workload with many reflinks and snapshots, the same for every design and seed.

Shares are assumptions, not measurements: of 100 steps 45 overwrite, 25 read, 12 clone, 6 snapshot, 6 punch or
truncate, 4 relocate, 2 delete.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.fs.extents.balance import relocate
from blkcrypto.fs.extents.items import BLOCK_BYTES
from blkcrypto.fs.extents.ranges import item_at
from blkcrypto.fs.extents.subject import ExtentSubject

_STEPS: Final = ("write", "read", "clone", "snapshot", "punch", "relocate", "delete")
_SHARES: Final = (0.45, 0.25, 0.12, 0.06, 0.06, 0.04, 0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sizes of a run.

    Attributes:
        files: at the beginning.
        file_blocks: size of each, in blocks of 4096 bytes.
        steps: operations after that.
        io_blocks: largest write or read.
    """

    files: int = 8
    file_blocks: int = 256
    steps: int = 400
    io_blocks: int = 16


def run(subject: ExtentSubject, workload: Workload, rng: np.random.Generator) -> Iterator[str]:
    """Fill the files, then take the steps; yields each step's name once it is done and written back.

    Args:
        subject: its master key present.
        workload: sizes.
        rng: of the steps and of the data; two subjects with equal generators see the same steps.
    """
    names = [f"file {number}" for number in range(workload.files)]
    for name in names:
        subject.write(name, 0, rng.bytes(workload.file_blocks * BLOCK_BYTES))
        subject.sync()
        yield "fill"
    made = len(names)
    for step in rng.choice(_STEPS, size=workload.steps, p=_SHARES).tolist():
        name = names[int(rng.integers(len(names)))]
        if step == "clone":
            names.append(f"file {made}")
            made += 1
            subject.duplicate(name, names[-1])
        elif step == "delete" and len(names) > 1:
            names.remove(name)
            subject.delete(name)
        elif step == "snapshot":
            subject.snapshot()
        elif step == "relocate":
            _relocate(subject, name, int(rng.integers(workload.file_blocks)) * BLOCK_BYTES)
        else:
            _io(subject, workload, rng, step, name)
        subject.sync()
        yield step


def _relocate(subject: ExtentSubject, name: str, pos: int) -> None:
    """Move the extent at ``pos``, if there is one."""
    file = subject.open(name)
    file.close()
    found = item_at(file.inode.subvolume.tree, file.inode.ino, pos)
    if found is not None:
        relocate(subject.volume, found[1].extent.number)


def _io(subject: ExtentSubject, workload: Workload, rng: np.random.Generator, step: str, name: str) -> None:
    count = int(rng.integers(1, workload.io_blocks + 1))
    pos = int(rng.integers(workload.file_blocks)) * BLOCK_BYTES
    file = subject.open(name)
    if step == "write":
        file.write(pos, rng.bytes(count * BLOCK_BYTES))
    elif step == "punch":
        file.punch_hole(pos, count * BLOCK_BYTES)
    else:
        # From the device, as after memory pressure.
        if not file.inode.dirty:
            file.inode.pages.clear()
        file.read(pos, count * BLOCK_BYTES)
    file.close()
