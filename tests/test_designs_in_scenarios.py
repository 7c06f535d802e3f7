"""Every key design runs in a scenario: same workload, same plaintext back, keys and costs as designed."""

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES, INODE_INFO_BYTES
from blkcrypto.fs.keysetup_io.extent_io import TRANSFORM_BYTES
from scenarios.designs import DESIGNS
from scenarios.keying.measured import attackers_view
from scenarios.listing import list_rows
from scenarios.load import load_scenario
from scenarios.report.json import run_json
from scenarios.run import run
from tests.design_world import KIB, MIB, READ, WRITE, costs, ran, scenario, whole_file

EXTENTS = ("extents-heavyweight", "extents-nonce-only", "extents-lightweight", "extents-iv-from-fs")
# Of one file extent item: context, and the header of an item of its own (reference fscrypt.md section 6.1).
STORED = dict(zip(EXTENTS, (40, 16, 34 + 25, 16), strict=True))
# Of one loaded extent: info, blk-crypto key, list entry (same section).
LOADED = dict(zip(EXTENTS, (128 + 160 + 16, 16 + 160, 48 + 160, 0), strict=True))
VARIANTS = tuple(f"key-setup-v{number}" for number in range(1, 7))


@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_gives_the_plaintext_back(design: str) -> None:
    result = run(
        load_scenario("keyslot-contention", sets=(f"design={design}", "ios=400", "payload=verify", "jobs=4"))
    )

    assert result.verified_bytes > 0
    assert result.mismatches == 0
    assert all(result.checks.values()), result.checks


@pytest.mark.parametrize("design", ["dm-inlinecrypt", "dm-default-key", "inline-data-a0", "inline-data-a4"])
def test_designs_for_wrapped_keys_give_the_plaintext_back_too(design: str) -> None:
    sets = (f"design={design}", "ios=300", "payload=verify", "device.base=ufs40-ice-hwkm", "keys=hw-wrapped")
    result = run(load_scenario("keyslot-contention", sets=sets))

    assert (result.mismatches, result.key_type) == (0, "hw-wrapped")
    assert result.key_ops["prepare"][0] >= 1


@pytest.mark.parametrize(
    "design", ["extents-lightweight", "key-setup-v5", "aead-tree-extent", "inline-data-a3"]
)
def test_equal_runs_give_equal_bytes(design: str) -> None:
    sets = (f"design={design}", "ios=300", "payload=verify")
    one, two = (run_json(run(load_scenario("keyslot-contention", sets=sets))) for _ in range(2))
    assert one == two


def test_the_list_has_every_family() -> None:
    names = {row["name"] for row in list_rows("designs")}
    assert {*EXTENTS, *VARIANTS, *(f"inline-data-a{n}" for n in range(5))} <= names
    assert {"ext4-2014-multi-user", "dm-crypt", "dm-inlinecrypt", "dm-default-key", "ecryptfs"} <= names
    assert {"ubifs-like", "cephfs-like", "aead-table", "aead-integrity"} <= names


# --- extents --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", EXTENTS)
def test_bytes_of_a_file_in_extents_are_the_arithmetic_of_the_reference(design: str) -> None:
    """1 MiB in extents of 64 KiB: 16 items."""
    figures = costs(design, whole_file(READ), "design.key_extent=64k")

    assert figures.extents == 16
    assert figures.on_disk_bytes == 40 + 16 * STORED[design]
    shared = 192 if design == "extents-iv-from-fs" else 0
    assert figures.in_memory_bytes == INODE_INFO_BYTES + 16 * LOADED[design] + shared
    assert figures.on_disk_per_gib == figures.on_disk_bytes * 1024


@pytest.mark.parametrize("design", EXTENTS[:3])
def test_a_pass_over_a_file_programs_and_derives_once_per_extent(design: str) -> None:
    result = ran(design, whole_file(READ), "design.key_extent=64k", "keyslots=1")

    assert result.figures is not None
    assert (result.keyslots.programs, result.figures.derivations) == (16, 16)
    assert result.figures.programs_per_io == 16 / 256


def test_keys_of_extents_fall_out_when_there_are_more_than_slots() -> None:
    """Two passes over 16 extents in order: with 8 slots LRU misses 32 times, with 16 slots the first 16."""
    twice = [*whole_file(READ, size=64 * KIB), *whole_file(READ, size=64 * KIB)]
    programs = {
        slots: ran(
            "extents-lightweight", twice, "design.key_extent=64k", f"keyslots={slots}"
        ).keyslots.programs
        for slots in (8, 16)
    }
    assert programs == {8: 32, 16: 16}


def test_a_write_into_an_extent_adds_two_items_one_extent_and_one_key() -> None:
    ios = [(READ, 0, 0, 4 * KIB), (WRITE, 0, 8 * KIB, 4 * KIB)]
    figures = costs("extents-lightweight", ios, "design.key_extent=1M")

    assert (figures.extents, figures.keys_made) == (3, 2)
    assert figures.extra["extents_live"] == 2


def test_written_in_place_an_extent_stays_one() -> None:
    ios = [(READ, 0, 0, 4 * KIB), (WRITE, 0, 8 * KIB, 4 * KIB)]
    figures = costs("extents-lightweight", ios, "design.key_extent=1M", "design.copy_on_write=false")

    assert (figures.extents, figures.keys_made) == (1, 1)


def test_an_extent_written_over_whole_is_given_up() -> None:
    ios = [(WRITE, 0, 0, 64 * KIB), (WRITE, 0, 0, 64 * KIB)]
    figures = costs("extents-lightweight", ios, "design.key_extent=64k")

    assert figures.extra == {"extents_made": 18, "extents_live": 16}
    assert figures.keys_live == 1


def test_a_bio_is_cut_where_its_extent_ends() -> None:
    result = ran("extents-lightweight", [(READ, 0, 60 * KIB, 16 * KIB)], "design.key_extent=64k")
    assert (result.bios, result.keyslots.programs) == (2, 2)


def test_with_an_iv_from_the_filesystem_every_bio_is_one_block_on_the_cpu() -> None:
    result = ran("extents-iv-from-fs", [(READ, 0, 0, 64 * KIB)])
    assert (result.bios, result.engine, result.keyslots.distinct_keys) == (16, "fs-layer", 1)


def test_checksums_over_ciphertext_keep_keys_from_the_hardware() -> None:
    result = ran("extents-lightweight", whole_file(READ), "design.checksums=true")
    assert result.engine == "fallback"
    assert any("encrypts by fallback, not inline" in note for note in result.notes)


# --- key set-up -----------------------------------------------------------------------------------------


def test_variants_derive_as_often_as_their_rules_say() -> None:
    """One extent of 16 read three times, then a new one written and read."""
    ios = [(READ, 0, 0, 4 * KIB)] * 3 + [(WRITE, 0, 4 * KIB, 4 * KIB), (READ, 0, 4 * KIB, 4 * KIB)]
    derived = {}
    for design in VARIANTS:
        figures = costs(design, ios, "design.key_extent=64k")
        derived[design] = (figures.setups_at_open, figures.setups_in_io, figures.derivations)
    assert derived == {
        "key-setup-v1": (0, 5, 5),  # every I/O
        "key-setup-v2": (16, 1, 17),  # all extents at open, the new one at its first I/O
        "key-setup-v3": (1, 5, 5),  # a pool at open, then every I/O
        "key-setup-v4": (1, 5, 5),
        "key-setup-v5": (1, 2, 2),  # each extent once
        "key-setup-v6": (1, 2, 2),
    }


def test_a_cache_smaller_than_the_working_set_derives_again() -> None:
    extents = [(READ, file, offset, 4 * KIB) for file in (0, 1) for offset in range(0, MIB, 64 * KIB)]
    small = costs("key-setup-v5", extents * 2, "design.key_extent=64k", "design.transforms=16")
    large = costs("key-setup-v5", extents * 2, "design.key_extent=64k", "design.transforms=32")

    assert (small.derivations, large.derivations) == (64, 32)


def test_memory_of_pools_is_by_file_or_once() -> None:
    ios = [(READ, file, 0, 4 * KIB) for file in range(4)]
    held = {}
    for design in VARIANTS:
        figures = costs(design, ios, "design.key_extent=64k")
        held[design] = figures.in_memory_bytes - 4 * INODE_INFO_BYTES
    assert held == {
        "key-setup-v1": 0,
        "key-setup-v2": 4 * 16 * TRANSFORM_BYTES,
        "key-setup-v3": 4 * 128 * TRANSFORM_BYTES,
        "key-setup-v4": 128 * TRANSFORM_BYTES,
        "key-setup-v5": 128 * TRANSFORM_BYTES,
        "key-setup-v6": 4 * 192,
    }


@pytest.mark.parametrize(
    ("design", "broken"),
    [
        ("key-setup-v1", {"crypto_alloc_skcipher", "master-key semaphore"}),
        ("key-setup-v2", {"crypto_alloc_skcipher", "master-key semaphore"}),
        ("key-setup-v3", set()),
        ("key-setup-v4", set()),
        ("key-setup-v5", set()),
        ("key-setup-v6", set()),
        ("extents-lightweight", {"master-key semaphore"}),
        ("fscrypt-per-file", set()),
        ("inline-data-a1", {"crypto_alloc_skcipher", "master-key semaphore", "per-mode key mutex"}),
        ("inline-data-a2", set()),
    ],
)
def test_the_context_checker_finds_what_the_reference_predicts(design: str, broken: set[str]) -> None:
    figures = costs(design, [(WRITE, 0, 0, 4 * KIB)], "design.small_files=1")

    assert {text.partition(" in ")[0] for text in figures.violations} == broken


def test_only_strict_contexts_object_to_an_allocation_under_a_memalloc_scope() -> None:
    ios = [(WRITE, 0, 0, 4 * KIB)]
    real, strict = (
        costs("extents-lightweight", ios, f"design.strict_contexts={word}") for word in ("false", "true")
    )
    assert not any("kmalloc" in text for text in real.violations)
    assert any("kmalloc of a key object in NOFS" in text for text in strict.violations)


def test_key_set_up_is_time_of_the_bio_that_waits_for_it() -> None:
    """The second read of an extent costs what the first does, less HKDF, kmalloc, semaphore and program."""
    ios = [(READ, 0, 0, 4 * KIB), (READ, 0, 0, 4 * KIB)]
    result = ran("extents-lightweight", ios, "device.host.cpus=8")
    lat = result.directions["all"].lat_ns

    assert lat.max - lat.min == 2_000 + 200 + 50 + 30_000


def test_a_variant_on_the_cpu_pays_where_it_decrypts() -> None:
    """V1: semaphore, key object, cipher, HKDF, setkey; V5 pays HKDF and setkey, once."""
    ios = [(READ, 0, 0, 4 * KIB), (READ, 0, 0, 4 * KIB)]
    first, cached = (costs(f"key-setup-v{number}", ios) for number in (1, 5))

    assert first.io_cpu_ns == 2 * (50 + 200 + 5_000 + 2_000 + 1_000)
    assert cached.io_cpu_ns == 2_000 + 1_000


# --- whole disks and stacked files ----------------------------------------------------------------------


def test_a_whole_disk_has_one_key_and_one_program() -> None:
    ios = [(READ, file, 0, 4 * KIB) for file in range(4)]
    result = ran("dm-inlinecrypt", ios)

    assert result.figures is not None
    assert (result.keyslots.programs, result.figures.keys_live, result.figures.on_disk_bytes) == (1, 1, 0)


def test_dm_crypt_splits_bios_at_128_kib() -> None:
    assert ran("dm-crypt", [(READ, 0, 0, MIB)]).bios == 8


@pytest.mark.parametrize(
    ("flags", "op", "handovers"),
    [
        ("none", WRITE, 2),
        ("submit_from_crypt_cpus", WRITE, 1),
        ("no_write_workqueue", WRITE, 0),
        ("none", READ, 1),
        ("no_read_workqueue", READ, 0),
    ],
)
def test_dm_crypt_pays_for_each_time_a_bio_changes_hands(flags: str, op: int, handovers: int) -> None:
    """Each costs worker_ns (5 us); 4 KiB take 902 + 50 ns of the cipher, submission 2 us."""
    result = ran("dm-crypt", [(op, 0, 0, 4 * KIB)], f"design.crypt_flags={flags}")
    stages = result.directions["all"].stage_ns

    assert stages["queued"] == handovers * 5_000
    assert stages["cpu_crypto"] == 4096 * 10**9 // 4_540_000_000 + 50


def test_workers_bound_to_a_cpu_wait_for_one_another() -> None:
    """Four bios of one CPU at once: elsewhere their workers run side by side."""
    ios = [(WRITE, 0, offset, 4 * KIB) for offset in range(0, 16 * KIB, 4 * KIB)]
    queued = {
        flags: ran("dm-crypt", ios, f"design.crypt_flags={flags}", "queue_depth=4")
        .directions["all"]
        .stage_ns["queued"]
        for flags in ("none", "same_cpu_crypt")
    }
    assert queued["same_cpu_crypt"] > queued["none"]


def test_default_key_gives_a_file_without_policy_the_device_s_key() -> None:
    ios = [(READ, file, 0, 4 * KIB) for file in range(4)]
    none, all_of_them = (
        ran("dm-default-key", ios, f"design.metadata_share={share}").keyslots.programs for share in (1, 0)
    )
    assert (none, all_of_them) == (1, 4)


def test_ecryptfs_reads_a_header_per_file_and_keeps_pages_twice() -> None:
    result = ran("ecryptfs", [(READ, 0, 0, 8 * KIB), (READ, 0, 0, 8 * KIB), (READ, 1, 0, 4 * KIB)])

    assert result.figures is not None
    assert (result.figures.metadata_reads, result.figures.metadata_read_bytes) == (2, 2 * 8192)
    assert result.figures.extra["page_cache_twice_bytes"] == 3 * 4 * KIB
    assert result.figures.on_disk_bytes == 2 * 8192


@pytest.mark.parametrize(("users", "blocks"), [(1, 1), (27, 1), (28, 2), (64, 3)])
def test_a_file_of_2014_stores_147_bytes_per_user_and_reads_whole_blocks_of_them(
    users: int, blocks: int
) -> None:
    figures = costs("ext4-2014-multi-user", [(READ, 0, 0, 4 * KIB)], f"design.users={users}")

    assert figures.on_disk_bytes == 5 + 147 * users
    assert figures.metadata_read_bytes == 4096 * blocks


# --- inline data ----------------------------------------------------------------------------------------


def test_memory_of_small_files_is_that_of_their_inodes_keys_and_regions() -> None:
    """Four small files: an inode and a blk-crypto key each, and a cipher for each region."""
    ios = [(READ, file, 0, 4 * KIB) for file in range(4)]

    figures = costs("inline-data-a3", ios, "design.small_files=1")

    assert figures.extra["inline_files"] == 4
    assert figures.in_memory_bytes == 4 * (INODE_INFO_BYTES + BLK_CRYPTO_KEY_BYTES + TRANSFORM_BYTES)


def test_inline_data_saves_the_read_of_a_block() -> None:
    ios = [(READ, file, 0, 4 * KIB) for file in range(4)]
    reads = {}
    for number in range(5):
        result = ran(f"inline-data-a{number}", ios, "design.small_files=1")
        assert result.figures is not None
        reads[number] = result.bios + result.figures.metadata_reads
    assert reads == {0: 8, 1: 4, 2: 4, 3: 4, 4: 4}


def test_data_larger_than_the_area_goes_to_blocks() -> None:
    sets = ("design.small_files=1", "design.inline_user=ext4-like", "design.small_file_bytes=65")
    result = ran("inline-data-a3", [(READ, 0, 0, 4 * KIB)], *sets)

    assert result.figures is not None
    assert result.figures.extra["inline_files"] == 0


def test_a1_shares_the_contents_key_and_a3_has_its_own() -> None:
    """Under IV_INO_LBLK_64, which wrapped keys demand: A4's regions have keys per file, in software."""
    sets = ("device.base=ufs40-ice-hwkm", "keys=hw-wrapped", "design.small_files=1")
    ios = [(READ, file, 0, 4 * KIB) for file in range(4)]
    off, derived = (costs(f"inline-data-a{number}", ios, *sets) for number in (0, 4))

    assert (off.keys_live, derived.keys_live) == (1, 1 + 4)
    assert derived.extra["exposed_regions"] == 4


# --- the attacker's view --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("design", "seen"),
    [
        ("none", (7, 1, 255, 0)),
        ("fscrypt-per-file", (0, 1, 255, 1)),  # XTS: all parts but the changed one stay
        ("dm-crypt", (0, 1, 255, 1)),
        ("ecryptfs", (0, 1, 128, 1)),  # CBC: the parts before the change stay
        ("extents-lightweight", (0, 0, 0, 0)),  # a new key for every write
        ("extents-iv-from-fs", (0, 0, 0, 0)),
        ("aead-table", (0, 0, 0, 0)),  # a new IV for every write
    ],
)
def test_what_two_images_show_is_what_the_cipher_must_show(design: str, seen: tuple[int, ...]) -> None:
    assert tuple(attackers_view(scenario(design)).values()) == seen


def test_dm_crypt_with_the_null_iv_shows_equal_units() -> None:
    assert attackers_view(scenario("dm-crypt", "design.iv_mode=null"))["equal_units"] == 7


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("design", "sets", "complaint"),
    [
        ("ecryptfs", ("data_unit_size=512",), "has units of 4096 bytes"),
        ("aead-tree-extent", ("design.copy_on_write=false",), "cannot be written in place"),
        ("key-setup-v3", ("design.transforms=4",), "fewer than CPUs"),
        ("dm-crypt", ("design.iv_mode=plain65",), "did you mean 'plain6"),
        ("dm-crypt", ("design.crypt_flags=no_read_workqeue",), "did you mean 'no_read_workqueue'"),
        ("extents-lightweight", ("design.key_extent_bytes=5000",), "not a multiple of 4096"),
        ("fscrypt-per-file", ("workload.access=reflinks",), "cannot share extents"),
        ("ecryptfs", ("keys=hw-wrapped",), "takes no hw-wrapped keys"),
    ],
)
def test_what_does_not_go_together_is_said(design: str, sets: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        scenario(design, *sets)


def test_a_device_with_short_duns_still_takes_a_whole_disk_design_that_needs_no_more() -> None:
    """emmc51-cqhci takes DUNs of 4 bytes: enough for 64 GiB in units of 4 KiB, not for 64-bit inode DUNs."""
    assert scenario("dm-inlinecrypt", "device.base=emmc51-cqhci").keys.design == "dm-inlinecrypt"
    with pytest.raises(BadInput, match="needs DUNs of 8 bytes"):
        scenario("fscrypt-iv-ino-lblk-64", "device.base=emmc51-cqhci")
