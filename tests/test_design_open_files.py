"""What becomes of an open, dirty file when its key is removed, in each design that has open files."""

import pytest

from blkcrypto.fs.battery.open_files import AS_INODES, Aftermath, removal_with_an_open_file
from blkcrypto.fs.battery.rows import ROWS
from blkcrypto.fs.battery.subject import Opens
from tests.battery_world import rng

HOLDING = [name for name, row in ROWS.items() if isinstance(row.make(rng(1)), Opens)]
CASES = [(size, new) for size in (8192, 48) for new in (False, True)]
# Keys that userspace holds: taking one away touches nothing that is open, and says nothing about it.
UNNOTICED = Aftermath(removal="ok", reads="ok", writes="ok", kept="both")
# A new extent needs a present key, and loaded extents were forgotten: only what is cached is read.
HEAVY = Aftermath(removal="busy", reads="ENOKEY", writes="ENOKEY", kept="first")
HEAVY_CACHED = Aftermath(removal="busy", reads="ok", writes="ENOKEY", kept="first")
# The region's key would be set up at first use, which writing back during removal would have been.
AS_POSTED = Aftermath(removal="ENOKEY", reads="ok", writes="ENOKEY", kept="none")


def expected(name: str, size: int, new: bool) -> Aftermath:
    if name == "extents-heavyweight":
        return HEAVY if (size, new) == (8192, False) else HEAVY_CACHED
    if name.startswith("inline-data-a1") and (size, new) == (48, True):
        return AS_POSTED
    return UNNOTICED if name in ("ecryptfs", "ext4-2014-multi-user") else AS_INODES


def test_every_design_that_keys_files_or_extents_by_inodes_has_open_files() -> None:
    assert set(HOLDING) == {
        name
        for name in ROWS
        if name.startswith(("fscrypt-", "extents-", "inline-data-"))
        or name in ("ecryptfs", "ext4-2014-multi-user")
    }


@pytest.mark.parametrize(("size", "new"), CASES)
@pytest.mark.parametrize("name", HOLDING)
def test_open_files_outlive_their_key_but_for_heavyweight_extents_and_the_helper_as_posted(
    name: str, size: int, new: bool
) -> None:
    seen = removal_with_an_open_file(ROWS[name], file_bytes=size, new=new)

    assert seen == expected(name, size, new)
