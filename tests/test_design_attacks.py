"""What each key design detects when its units are flipped, moved and replayed; and the page that says so."""

import sys
from pathlib import Path

import pytest

from blkcrypto.fs.battery import page as page_module
from blkcrypto.fs.battery.attacks import Attack, Finding, Verdict, attack_row, detection
from blkcrypto.fs.battery.page import page
from blkcrypto.fs.battery.rows import ROWS, UNENCRYPTED
from blkcrypto.fs.battery.rules import broken_by_version_7, broken_rules
from blkcrypto.fs.battery.subject import Place

PAGE = Path(__file__).parents[1] / "docs" / "designs" / "attacks.md"

XTS_IN_PLACE = ("noise in 16 bytes", "noise in 16 bytes", "noise in all", "accepted", "accepted")
# A unit that is written again lies in a new extent: its old ciphertext has another key or IV.
XTS_EXTENTS = ("noise in 16 bytes", "noise in 16 bytes", "noise in all", "noise in all", "accepted")
# A checksum finds what happens by accident, and nobody who can compute it.
XTS_EXTENTS_WITH_CRC = ("error", *XTS_EXTENTS[1:])
SEALED_IN_PLACE = ("error", "error", "error", "accepted", "accepted")
SEALED_UNDER_A_ROOT = ("error", "error", "error", "error", "accepted")
EXPECTED = {
    # Adiantum is one wide block.
    "fscrypt-direct-key": ("noise in all", "noise in all", "noise in all", "accepted", "accepted"),
    # Of seven nodes the one of the small file is compressed: noise does not decompress.
    "ubifs-like": (
        "noise in 16 bytes (6 of 7), error (1 of 7)",
        "noise in 16 bytes (6 of 7), error (1 of 7)",
        "noise in all (6 of 7), error (1 of 7)",
        "accepted",
        "accepted",
    ),
    "ubifs-like (chk_data_crc)": (
        "error",
        "noise in 16 bytes (6 of 7), error (1 of 7)",
        "noise in all (6 of 7), error (1 of 7)",
        "accepted",
        "accepted",
    ),
    # CBC: a flipped bit makes noise of its block and flips one bit of the next.  In one file units have one
    # key, and a unit that was moved has a wrong IV, which the first block alone sees.
    "ecryptfs": (
        "noise in 32 bytes",
        "noise in 32 bytes",
        "noise in all or 16 bytes",
        "accepted",
        "accepted",
    ),
    "aead-table": SEALED_IN_PLACE,
    "aead-integrity": SEALED_IN_PLACE,
    "aead-tree-unit": SEALED_UNDER_A_ROOT,
    "aead-tree-extent": SEALED_UNDER_A_ROOT,
    **{name: XTS_EXTENTS_WITH_CRC for name in ROWS if name.startswith("extents-")},
    **{name: XTS_EXTENTS for name in ROWS if name.startswith("key-setup-")},
}


@pytest.mark.parametrize("name", ROWS)
def test_what_each_design_detects_of_units_flipped_moved_and_replayed(name: str) -> None:
    found = tuple(detection(ROWS[name], attack) for attack in Attack)

    assert found == EXPECTED.get(name, XTS_IN_PLACE)


@pytest.mark.parametrize("attack", [Attack.DAMAGE, Attack.FLIP, Attack.MOVE, Attack.REPLAY])
def test_every_unit_of_every_file_is_attacked(attack: Attack) -> None:
    places = [finding.place for finding in attack_row(ROWS["dm-crypt"], attack)]

    assert places == [("one", 0), ("one", 1), ("one", 2), ("two", 0), ("two", 1), ("two", 2), ("small", 0)]


def test_without_encryption_a_moved_unit_reads_as_the_other_unit() -> None:
    first = next(attack_row(UNENCRYPTED, Attack.MOVE))

    assert first == Finding(Place("one", 0), Verdict.ACCEPTED)


ALLOCATES = ("master-key semaphore", "kmalloc of a key object", "crypto_alloc_skcipher")
AS_POSTED = ("per-mode key mutex", "master-key semaphore", "crypto_alloc_skcipher")


def test_context_rules_are_broken_by_v1_v2_and_the_helper_as_posted_and_by_nothing_else() -> None:
    found = {name: broken_rules(row) for name, row in ROWS.items()}

    assert {name: broken for name, broken in found.items() if broken} == {
        "key-setup-v1": ALLOCATES,
        "key-setup-v2": ALLOCATES,
        "inline-data-a1": AS_POSTED,
        "inline-data-a1 (ext4-like)": AS_POSTED,
    }
    assert [name for name, broken in found.items() if broken is None] == [
        name for name in ROWS if not name.startswith(("key-setup-", "inline-data-"))
    ]


def test_version_7_takes_the_master_key_semaphore_where_it_may_not() -> None:
    assert broken_by_version_7() == ("master-key semaphore",)


def test_the_page_is_what_the_runs_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"run: python -m blkcrypto.fs.battery.page {PAGE}"


def test_the_page_is_written_to_the_file_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "attacks.md"
    monkeypatch.setattr(page_module, "page", lambda: "the page\n")
    for arguments in ([], [str(target), "another"]):
        monkeypatch.setattr(sys, "argv", ["page", *arguments])
        with pytest.raises(SystemExit, match="usage"):
            page_module.main()
    assert not target.exists()

    monkeypatch.setattr(sys, "argv", ["page", str(target)])
    page_module.main()

    assert target.read_text() == "the page\n"
