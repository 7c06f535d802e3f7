"""The tables of the trial as a page of the documentation.

    python -m blkcrypto.fs.battery.page docs/designs/attacks.md

Every cell is the outcome of a run: nothing on the page is written by hand but the sentences between tables.
"""

import errno
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from blkcrypto.fs.battery.attacks import Attack, detection
from blkcrypto.fs.battery.open_files import AS_INODES, Aftermath, removal_with_an_open_file
from blkcrypto.fs.battery.rows import ROWS, UNENCRYPTED
from blkcrypto.fs.battery.rules import broken_by_version_7, broken_rules
from blkcrypto.fs.battery.trial import STEPS, run_battery
from blkcrypto.fs.battery.view import attackers_view

_SEEDS: Final = (1, 2)
_INTRO: Final = """\
<!-- Made by `python -m blkcrypto.fs.battery.page docs/designs/attacks.md`; change the code instead. -->

# What each key design does, shows and detects

Every design goes through one battery of operations on an emulated device, is looked at by one attacker,
and is attacked unit by unit. The tables are the outcome of those runs; `tests/test_design_battery.py`
makes them anew, and compares every unit on the device with an oracle. The command in
this file's first line writes the page.
"""
_BATTERY: Final = """
## The battery

Files of 50 bytes to 40 KiB are written, read, written over in the middle, and looked for in plain on the
device; after a remount they are unreadable without the key and unchanged with it. A number stands for a
step that the design cannot have; the reason is below the table. The last column is what reading a file
says while the key is not there.

"""
_VIEW: Final = """
## What an attacker sees

Two files of the same four units (three of text, one of zeroes) are written and one is copied; then 16
bytes of one unit are changed, and changed back. The attacker has an image of the device after each, and
no key.

- *sizes*: exact sizes of three files that stand in clear.
- *equal units*: units of contents that look like another; *zero units*: those that are zeroes on the device.
- *shared*: units that metadata shows to belong to two files after the copy.
- *changed*: units of the device that differ, or are new, after 16 bytes were written: data, tags, tree nodes.
- *same parts*: of the 256 parts of 16 bytes in the unit that was written, how many show to be what they were.
- *key and IV again*: whether the old ciphertext came back with the old contents.

"""
_DETECTION: Final = """
## What each design detects

Units of three files are attacked one at a time: *damage* flips a bit; *flip* does too, and makes every
checksum that needs no key fit; *move* puts another unit there, with what is stored beside it; *replay*
puts there what the unit was before, with what was stored beside it; *rollback* puts back the whole
device. What a reader then gets is an **error**, **noise** that nobody wrote, or old or foreign contents
that are **accepted**.

Metadata in clear is not attacked. A rollback of everything is detected only by a generation kept where
the attacker cannot write, which `blkcrypto.fs.authenticated.tree` can be given.

"""
_OPEN_FILES: Final = """
## A key that goes while a file is open and dirty

What xfstests 580 and 595 expect of inodes: removal says that the file is *busy*, the holder goes on reading
and writing, and nothing is lost. The other cells say what happens instead: what removal returns, what reading
a part that nobody read before does, what writing and syncing does, and which writes are there in the end: the
one before removal (*first*), the one after, *both* or *none*. Designs that are not listed have no open files
of their own.

"""
_RULES: Final = """
## Rules of allocation contexts

Key setup under writeback, judged by the rules of a real kernel (`blkcrypto.fs.keysetup_io.contexts`): what
was done where it is forbidden while the battery ran; and what version 7 of the btrfs series does when it
loads an extent. Designs that are not listed set their keys up when a file is opened, and are not judged.

"""


def page() -> str:
    """The page's text."""
    return "".join(
        (
            _INTRO,
            _BATTERY,
            *_battery(),
            _VIEW,
            _table(_VIEW_COLUMNS, map(_view_row, (UNENCRYPTED.name, *ROWS))),
            _DETECTION,
            _table(("design", *(attack.value for attack in Attack)), _detection_rows()),
            _OPEN_FILES,
            _table(("design", *_CASES), _open_file_rows()),
            _RULES,
            _table(("design", "forbidden where it was done"), _rules_rows()),
        )
    )


def _battery() -> Iterator[str]:
    reasons: dict[str, int] = {}
    rows = []
    for name, row in ROWS.items():
        rngs = map(np.random.default_rng, _SEEDS)
        cells = []
        for outcome in run_battery(row.make(next(rngs)), next(rngs), row.limits):
            if outcome.taken:
                cells.append(outcome.saw or "passed" if outcome.passed else f"**failed**: {outcome.saw}")
            else:
                cells.append(str(reasons.setdefault(outcome.saw, len(reasons) + 1)))
        rows.append((f"`{name}`", *cells, errno.errorcode[row.limits.no_key]))
    yield _table(("design", *STEPS, "without the key"), rows)
    yield "\n"
    yield from (f"{number}. {reason}.\n" for reason, number in reasons.items())


_VIEW_COLUMNS: Final = (
    "design", "sizes", "names", "free space", "equal units", "zero units", "shared", "changed", "same parts",
    "key and IV again",
)  # fmt: skip


def _view_row(name: str) -> Sequence[str]:
    view = attackers_view(name)
    return (
        f"`{name}`",
        f"{view.sizes} of 3",
        view.names,
        _yes(view.free_space),
        str(view.equal_units),
        str(view.zero_units),
        str(view.shared_units),
        str(view.changed_units),
        str(view.same_parts),
        _yes(view.reused_pair),
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _detection_rows() -> Iterator[Sequence[str]]:
    for name, row in ROWS.items():
        yield (f"`{name}`", *(detection(row, attack) for attack in Attack))


_CASES: Final = {
    "8 KiB": (8192, False),
    "8 KiB, new": (8192, True),
    "48 bytes": (48, False),
    "48 bytes, new": (48, True),
}


def _open_file_rows() -> Iterator[Sequence[str]]:
    for name, row in ROWS.items():
        cells = [removal_with_an_open_file(row, file_bytes=size, new=new) for size, new in _CASES.values()]
        if None not in cells:
            yield (f"`{name}`", *map(_aftermath, cells))


def _aftermath(seen: Aftermath | None) -> str:
    assert seen is not None
    if seen == AS_INODES:
        return "as inodes"
    return f"removal {seen.removal}, read {seen.reads}, write {seen.writes}, kept {seen.kept}"


def _rules_rows() -> Iterator[Sequence[str]]:
    for name, row in ROWS.items():
        broken = broken_rules(row)
        if broken is not None:
            yield f"`{name}`", ", ".join(broken) or "nothing"
    yield "btrfs series, version 7", ", ".join(broken_by_version_7())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, ending in a newline."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ("---",) * len(header), *rows))


def main() -> None:
    """Write the page to the file that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m blkcrypto.fs.battery.page FILE")
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
