"""Every key design passes the same battery, and what it leaves on the device is what an oracle says."""

import errno

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.battery.rows import ROWS, UNENCRYPTED, Row
from blkcrypto.fs.battery.subject import Subject
from blkcrypto.fs.battery.trial import STEPS, run_battery
from blkcrypto.fs.battery.unit_files import UnitSubject
from blkcrypto.fs.battery.view import attackers_view
from blkcrypto.fs.extents.subject import ExtentSubject
from scenarios.designs import DESIGNS
from tests.battery_world import expected, extents_file, rng, stored

SAMPLE = (
    "fscrypt-per-file",
    "fscrypt-direct-key",
    "extents-lightweight",
    "dm-crypt",
    "ecryptfs",
    "aead-table",
)
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def test_every_design_that_a_scenario_can_name_is_on_trial() -> None:
    assert set(DESIGNS) - set(ROWS) == {UNENCRYPTED.name}


@every_row
def test_every_design_passes_every_step_that_its_row_does_not_exclude(row: Row) -> None:
    outcomes = list(run_battery(row.make(rng(1)), rng(2), row.limits))

    assert [outcome.step for outcome in outcomes] == list(STEPS)
    assert [(outcome.step, outcome.saw) for outcome in outcomes if not outcome.passed] == []


@every_row
def test_after_the_battery_every_unit_on_the_device_is_what_the_oracle_says(row: Row) -> None:
    subject = row.make(rng(1))
    list(run_battery(subject, rng(2), row.limits))
    subject.add_key()
    left = [path for path in ("a", "b", "tiny", "small") if is_there(subject, path)]

    # Of four files one was deleted without the key, where that works.
    assert len(left) == (4 if "delete without the key" in row.limits.without else 3)
    for path in left:
        data = subject.read(path)
        if isinstance(subject, ExtentSubject):
            assert extents_file(subject, path) == data
            continue
        places = subject.places(path)
        assert places
        for place in places:
            assert stored(subject, place) == expected(subject, place, data)


def is_there(subject: Subject, path: str) -> bool:
    try:
        subject.read(path)
    except BlkCryptoError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def test_without_encryption_the_first_step_fails_and_no_step_about_keys_passes() -> None:
    failed = [outcome.step for outcome in run_battery(UNENCRYPTED.make(rng(1)), rng(2)) if not outcome.passed]

    assert failed == ["write and read back", "remount", "snapshot", "remove the key"]


def test_every_exclusion_names_a_step_and_says_why() -> None:
    excluded = [(step, why) for row in ROWS.values() for step, why in row.limits.without.items()]

    assert all(step in STEPS and len(why.split()) > 3 for step, why in excluded)


def test_a_rewritten_unit_shows_its_unchanged_parts_by_the_mode_not_by_the_key() -> None:
    # XTS: 255 of 256 parts.  CBC: the 5 before the change.  Adiantum, a new extent, GCM with a new IV: none.
    assert {name: attackers_view(name).same_parts for name in SAMPLE} == {
        "fscrypt-per-file": 255,
        "fscrypt-direct-key": 0,
        "extents-lightweight": 0,
        "dm-crypt": 255,
        "ecryptfs": 5,
        "aead-table": 0,
    }


def test_key_and_iv_are_used_again_wherever_units_are_overwritten_with_a_length_preserving_mode() -> None:
    assert {name: attackers_view(name).reused_pair for name in SAMPLE} == {
        "fscrypt-per-file": True,
        "fscrypt-direct-key": True,
        "extents-lightweight": False,
        "dm-crypt": True,
        "ecryptfs": True,
        "aead-table": False,
    }


def test_only_whole_device_designs_hide_sizes_and_free_space_and_no_design_shows_equal_units() -> None:
    views = {name: attackers_view(name) for name in ROWS}

    hiding = {name for name, view in views.items() if not (view.sizes or view.free_space)}
    assert hiding == {"dm-crypt", "dm-inlinecrypt", "dm-default-key", "aead-integrity"}
    assert {(view.equal_units, view.zero_units) for view in views.values()} == {(0, 0)}


def test_without_encryption_six_equal_units_and_two_of_zeroes_show() -> None:
    view = attackers_view("none")

    assert (view.equal_units, view.zero_units, view.names, view.sizes) == (5, 2, "yes", 3)


def test_sharing_shows_where_copies_share() -> None:
    sharing = {name for name in ROWS if attackers_view(name).shared_units}

    assert sharing == {name for name in ROWS if name.startswith(("extents-", "key-setup-"))}


def shown_name_bytes(name: str) -> list[int]:
    """Lengths of the stored names of ``first`` and ``second``."""
    if name.startswith("fscrypt-"):
        return [32, 32]  # the policy pads to 32
    if name.startswith("extents-"):
        return [1, 32, 32]  # the encrypted directory is called d
    if name in ("ubifs-like", "ubifs-like (chk_data_crc)", "cephfs-like"):
        return [16, 16]  # padded to 4, at least a block of the cipher
    return [] if name.startswith("inline-data-") else [5, 6]


@every_row
def test_metadata_in_clear_shows_names_sizes_and_units_of_all_files_or_else_nothing(row: Row) -> None:
    subject = row.make(rng(1))
    subject.add_key()
    subject.write("first", 0, bytes(10))
    subject.write("second", 0, bytes(5000))
    subject.sync()

    seen = subject.image()

    if "delete without the key" in row.limits.without:
        assert (seen.in_use, seen.sizes, seen.names) == (None, (), ())
        return
    assert seen.in_use is not None
    # Three units of 4096 bytes; or two extents of four blocks.
    assert len(seen.in_use) == (8 if row.name == "aead-tree-extent" else 3)
    assert seen.in_use <= seen.units.keys()
    assert sorted(seen.sizes) == [10, 5000]
    assert sorted(map(len, seen.names)) == shown_name_bytes(row.name)


@pytest.mark.parametrize("name", ["dm-crypt", "aead-integrity", "dm-default-key"])
def test_a_hidden_table_takes_addresses_0_to_3_and_without_it_nothing_can_be_deleted(name: str) -> None:
    subject = ROWS[name].make(rng(1))
    assert isinstance(subject, UnitSubject)
    subject.add_key()
    subject.write("a", 0, bytes(10_000))
    assert [subject.files[b"a"].units[unit][0] for unit in range(3)] == [4, 5, 6]

    subject.remove_key()

    assert not subject.delete_without_key()
    subject.add_key()
    assert subject.read("a") == bytes(10_000)


def test_what_is_overwritten_elsewhere_takes_free_units_again_and_never_shared_ones() -> None:
    subject = ROWS["key-setup-v1"].make(rng(1))
    assert isinstance(subject, UnitSubject)
    assert subject.medium.copies_on_write
    unit = subject.medium.unit_bytes
    subject.add_key()
    subject.write("a", 0, bytes(unit))
    subject.duplicate("a", "copy")

    addresses = []
    for number in range(1, 9):
        subject.write("a", 0, bytes([number]) * unit)
        addresses.append(subject.files[subject.medium.stored_name("a")].units[0][0])

    # The first unit stays the copy's; the others take turns.
    shared = subject.files[subject.medium.stored_name("copy")].units[0][0]
    assert shared not in addresses
    assert len(set(addresses)) == 2
    assert subject.read("copy") == bytes(unit)
