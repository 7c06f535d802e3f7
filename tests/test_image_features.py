"""The bits of ext4's features and inode flags are those of e2fsprogs and of Linux's headers."""

import enum
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from blkcrypto.fs.ext4.features import Compat, Incompat, InodeFlags, RoCompat
from tests.image_world import Surgeon, layout_image
from tests.test_image_layouts import SBIN

DUMPE2FS = shutil.which("dumpe2fs", path=SBIN)
HEADER = Path("/usr/include/linux/fs.h")
# Where e2fsprogs has another name than Linux, or none; that is then the number of the bit.
CALLED: Final = {
    "RECOVER": "needs_recovery",
    "EXTENTS": "extent",
    "BIT64": "64bit",
    "CSUM_SEED": "metadata_csum_seed",
    "LARGEDIR": "large_dir",
    "GDT_CSUM": "uninit_bg",
    "READONLY": "read-only",
    "BTREE_DIR": "FEATURE_R2",
}


@pytest.mark.skipif(not DUMPE2FS, reason="e2fsprogs is not installed")
@pytest.mark.parametrize(("at", "features"), [(0x5C, Compat), (0x60, Incompat), (0x64, RoCompat)])
def test_a_feature_s_bit_is_the_one_that_e2fsprogs_calls_so(
    at: int, features: type[enum.IntFlag], tmp_path: Path
) -> None:
    surgeon = Surgeon(layout_image("trees")[:4096])
    for word in (0x5C, 0x60, 0x64, 0x174):
        surgeon.put32(1024 + word, 0)  # also the algorithm of checksums
    said = {}
    for name, feature in features.__members__.items():
        surgeon.put32(1024 + at, feature)
        path = tmp_path / "image"
        path.write_bytes(surgeon.data)
        command = [str(DUMPE2FS), "-h", "-f", str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        found = re.search(r"^Filesystem features: +(.*?) *$", told, re.MULTILINE)
        said[name] = found and found.group(1)
    assert said == {name: CALLED.get(name, name.lower()) for name in said}


@pytest.mark.skipif(not HEADER.exists(), reason=f"no {HEADER}")
def test_inode_flags_are_those_of_linux_s_header() -> None:
    rows = re.findall(r"^#define\s+FS_(\w+)_FL\s+(0x[0-9a-f]+)", HEADER.read_text(), re.MULTILINE)
    flags = {name: int(value, 16) for name, value in rows}
    flags["EXTENTS"] = flags["EXTENT"]
    found = {name: int(flag) for name, flag in InodeFlags.__members__.items()}
    assert found == {name: flags[name] for name in found}
