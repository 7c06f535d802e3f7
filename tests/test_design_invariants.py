"""What holds for every key design, by the reference's numbers: I30, T17; and that the others are named."""

import re
from pathlib import Path

import numpy as np
import pytest

from blkcrypto.fs.attacker import leaks, runs_of
from blkcrypto.fs.battery import rows
from blkcrypto.fs.battery.rows import ROWS, Row
from blkcrypto.fs.battery.subject import copy_file

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "designs" / "invariants.md"
CONTENTS = np.random.default_rng(4).bytes(20_000)
TEXT = b"a secret that is longer than sixteen bytes. " * 400
KEYS = (
    rows.MASTER_KEY,
    rows.WRAPPED_KEY,
    rows.HARDWARE_KEY,
    rows.VOLUME_KEY,
    rows.SEAL_KEY,
    rows.MAC_KEY,
    rows.USER.key,
    *rows.TOKEN.values(),
)
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
movable = pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if "move" not in row.limits.without], ids=lambda row: row.name
)


@every_row
def test_i30_no_run_of_plaintext_and_no_key_is_on_the_device_whatever_was_done(row: Row) -> None:
    subject = row.make(np.random.default_rng(9))
    subject.add_key()
    subject.write("a", 100, CONTENTS)
    subject.write("b", 0, TEXT)
    subject.write("inline", 0, CONTENTS[:48])
    copy_file(subject, "a", "c")
    subject.truncate("b", 4096 + 40)
    subject.write("c", 5000, TEXT)
    subject.delete("a")
    subject.sync()  # the inline helper as posted cannot write back once the key is going
    subject.remove_key()

    secrets = [*runs_of(CONTENTS, step=48), *runs_of(TEXT, step=44)]
    secrets += [key[at : at + 16] for key in KEYS for at in range(0, len(key), 16)]
    assert leaks(subject.image(), secrets) == []


@movable
def test_t17_moving_contents_needs_no_key_and_changes_no_byte_of_them(row: Row) -> None:
    subject = row.make(np.random.default_rng(9))
    subject.add_key()
    subject.write("a", 0, CONTENTS)
    subject.sync()
    subject.remount()
    before = subject.image()

    moved = subject.move()

    after = subject.image()
    assert before.in_use is not None
    assert after.in_use is not None
    assert moved == len(after.in_use) == 5  # 20000 bytes in units of 4096
    assert not before.in_use & after.in_use
    assert sorted(after.units[at] for at in after.in_use) == sorted(before.units[at] for at in before.in_use)
    subject.add_key()
    assert subject.read("a") == CONTENTS


def test_every_test_that_the_page_of_invariants_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    there = {
        name
        for file in TESTS.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert len(named) > 20
    assert named - there == set()
