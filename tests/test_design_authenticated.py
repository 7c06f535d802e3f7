"""Authenticated contents: what lies where, what each placement detects, and what it costs."""

import contextlib
import errno
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.authenticated.attacks import Attack, SealedStore, Verdict, verdict, write_amplification
from blkcrypto.fs.authenticated.designs import DESIGNS
from blkcrypto.fs.authenticated.in_place import Geometry, InPlaceStore, blocks_for
from blkcrypto.fs.authenticated.medium import BLOCK_BYTES, Medium, PowerLost
from blkcrypto.fs.authenticated.seal import (
    AuthenticationFailed,
    ChecksumSealer,
    ExtentKeySealer,
    RandomNonceSealer,
    Sealer,
    associated_data,
)
from blkcrypto.fs.authenticated.tree import MediumFull, TreeStore
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey
from tests.fscrypt_world import RAW
from tests.oracle.design_authenticated import extent_gcm, gcm
from tests.oracle.slow_xts import xts_unit

KEY, XTS_KEY, MAC_KEY = bytes(range(32)), bytes(range(64)), bytes(range(7, 39))
OWNER = bytes(range(16))
SEALS = 6
Mount = Callable[[Medium], SealedStore]


def random_nonces(**given: object) -> RandomNonceSealer:
    return RandomNonceSealer(KEY, np.random.default_rng(11), **given)  # type: ignore[arg-type]  # bools and ints


def extent_keys() -> ExtentKeySealer:
    return ExtentKeySealer(ExtentMasterKey(RAW), np.random.default_rng(12))


def in_place(
    sealer: Sealer,
    geometry: Geometry = Geometry.TABLE,
    *,
    seals: int = SEALS,
    blocks: int = 1,
    journal: int = 8,
    owner: bytes = OWNER,
) -> Mount:
    return lambda medium: InPlaceStore(
        medium, sealer, seals, geometry=geometry, seal_blocks=blocks, journal_seals=journal, owner=owner
    )


def tree(sealer: Sealer, *, seals: int = SEALS, blocks: int = 1, least: int = 0) -> Mount:
    return lambda medium: TreeStore(
        medium, sealer, seals, MAC_KEY, seal_blocks=blocks, owner=OWNER, least_generation=least
    )


def formatted(blocks: int = 80) -> Medium:
    """Formatted as a tree; an in-place store does not mind."""
    medium = Medium(blocks)
    TreeStore.mkfs(medium, MAC_KEY)
    return medium


PLACEMENTS: dict[str, Callable[[], Mount]] = {
    "XTS and a checksum": lambda: in_place(ChecksumSealer(XTS_KEY)),
    "XTS and a checksum tree": lambda: tree(ChecksumSealer(XTS_KEY)),
    "table": lambda: in_place(random_nonces()),
    "table, position not bound": lambda: in_place(random_nonces(binds_position=False)),
    "integrity device": lambda: in_place(random_nonces(binds_iv=True), Geometry.INTEGRITY_DEVICE, owner=b""),
    "tree per unit": lambda: tree(random_nonces()),
    "tree per extent": lambda: tree(extent_keys(), blocks=4),
    "table per extent": lambda: in_place(extent_keys(), blocks=4),
}
YES, NO = Verdict.DETECTED, Verdict.MISSED
DETECTION = {
    #                            damage tamper collide entry move replay rollback
    "XTS and a checksum":        (YES, NO, NO, YES, NO, NO, NO),
    "XTS and a checksum tree":   (YES, YES, NO, YES, YES, YES, NO),
    "table":                     (YES, YES, YES, YES, YES, NO, NO),
    "table, position not bound": (YES, YES, YES, YES, NO, NO, NO),
    "integrity device":          (YES, YES, YES, YES, YES, NO, NO),
    "tree per unit":             (YES, YES, YES, YES, YES, YES, NO),
    "tree per extent":           (YES, YES, YES, YES, YES, YES, NO),
    "table per extent":          (YES, YES, YES, YES, YES, NO, NO),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACEMENTS)
def test_the_table_of_what_each_placement_detects(name: str) -> None:
    found = tuple(verdict(PLACEMENTS[name](), formatted(), attack) for attack in Attack)
    assert found == DETECTION[name]


@pytest.mark.parametrize("name", ["table", "integrity device", "tree per unit", "tree per extent"])
@settings(deadline=None, max_examples=40)
@given(hits=st.lists(st.tuples(st.integers(0, 80 * BLOCK_BYTES - 1), st.integers(0, 255)), max_size=30))
def test_no_damage_whatsoever_gives_wrong_data(name: str, hits: list[tuple[int, int]]) -> None:
    mount, medium = PLACEMENTS[name](), formatted()
    store = mount(medium)
    size = store.seal_blocks * BLOCK_BYTES
    store.write(0, b"\7" * (SEALS * size))
    for at, value in hits:
        medium.data[at] = value
    try:
        again = mount(medium)
    except AuthenticationFailed:
        return
    for index in range(SEALS):
        with contextlib.suppress(AuthenticationFailed):
            assert again.read(index) == b"\7" * size


def test_a_rollback_of_the_whole_medium_is_detected_by_a_generation_kept_elsewhere() -> None:
    medium = formatted()
    store = tree(random_nonces())(medium)
    store.write(0, bytes(BLOCK_BYTES))
    old = bytes(medium.data)
    store.write(0, bytes(BLOCK_BYTES))
    medium.data[:] = old
    tree(random_nonces(), least=1)(medium)
    with pytest.raises(AuthenticationFailed, match="EILSEQ"):
        tree(random_nonces(), least=2)(medium)


def test_a_superblock_that_somebody_without_the_key_made_is_refused() -> None:
    medium, other = formatted(), Medium(80)
    TreeStore.mkfs(other, bytes(32))
    medium.data[:BLOCK_BYTES] = other.data[:BLOCK_BYTES]
    with pytest.raises(AuthenticationFailed, match="superblock"):
        tree(random_nonces())(medium)


PAGE = bytes(range(256)) * 16


def test_known_answer_of_gcm() -> None:
    """Test case 14 of the GCM specification: AES-256, zero key, IV and one block."""
    stored, tag = gcm(bytes(32), bytes(12), b"", bytes(16))
    assert (stored.hex(), tag.hex()) == (
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    )


@pytest.mark.parametrize(("owner", "binds_iv"), [(OWNER, False), (b"", True)])
def test_a_sealed_unit_is_what_the_oracle_says(owner: bytes, binds_iv: bool) -> None:
    medium = formatted()
    store = in_place(random_nonces(binds_iv=binds_iv), owner=owner)(medium)
    store.write(3, PAGE)
    entry, stored = store.extract(3)
    iv = entry[:12]
    aad = owner + (3).to_bytes(8, "little") + (iv if binds_iv else b"")
    assert gcm(KEY, iv, aad, PAGE) == (stored, entry[12:])


def test_a_sealed_extent_is_what_the_oracle_says() -> None:
    store = tree(extent_keys(), blocks=2)(formatted())
    store.write(1, PAGE + PAGE)
    entry, stored = store.extract(1)
    aad = associated_data(OWNER, 1)
    assert extent_gcm(RAW, entry[:16], aad, PAGE + PAGE) == (stored, entry[16:])


def test_units_of_a_checksummed_seal_count_from_the_units_of_those_before_it() -> None:
    entry, stored = ChecksumSealer(XTS_KEY).seal(OWNER, 3, PAGE + PAGE)
    assert stored == b"".join(
        xts_unit(XTS_KEY, dun.to_bytes(16, "little"), PAGE, "encrypt") for dun in (3 * 2, 3 * 2 + 1)
    )
    assert ChecksumSealer(XTS_KEY).unseal(OWNER, 3, entry, stored) == PAGE + PAGE


@pytest.mark.parametrize("name", PLACEMENTS)
@settings(deadline=None, max_examples=15)
@given(writes=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(0, 255)), max_size=8))
def test_a_store_is_the_bytes_written_to_it_also_after_a_remount(
    name: str, writes: list[tuple[int, int, int]]
) -> None:
    mount, medium = PLACEMENTS[name](), formatted()
    store = mount(medium)
    size = store.seal_blocks * BLOCK_BYTES
    store.write(0, bytes(SEALS * size))
    model = [0] * SEALS
    for first, count, fill in writes:
        count = min(count, SEALS - first)
        store.write(first, bytes([fill]) * (count * size))
        model[first : first + count] = [fill] * count
    again = mount(medium)
    assert [again.read(index) for index in range(SEALS)] == [bytes([fill]) * size for fill in model]


def readable(mount: Mount, medium: Medium) -> list[int | None]:
    """First byte of each seal; None where it does not open."""
    store, found = mount(medium), list[int | None]()
    for index in range(SEALS):
        try:
            found.append(store.read(index)[0])
        except AuthenticationFailed:
            found.append(None)
    return found


def crash_results(mount: Mount) -> set[tuple[int | None, ...]]:
    """Power lost before every write of an update of seals 1 and 2 from 1 to 2."""
    results = set()
    for writes in range(40):
        medium = formatted()
        store = mount(medium)
        size = store.seal_blocks * BLOCK_BYTES
        store.write(0, b"\1" * (SEALS * size))
        medium.writes_left = writes
        try:
            store.write(1, b"\2" * (2 * size))
        except PowerLost:
            medium.writes_left = None
            results.add(tuple(readable(mount, medium)))
        else:
            medium.writes_left = None
            results.add(tuple(readable(mount, medium)))
            break
    return results


OLD, NEW = (1, 1, 1, 1, 1, 1), (1, 2, 2, 1, 1, 1)


@pytest.mark.parametrize(
    "name", ["table", "integrity device", "table per extent", "tree per unit", "tree per extent"]
)
def test_with_a_journal_or_copy_on_write_power_loss_leaves_the_old_or_the_new(name: str) -> None:
    assert crash_results(PLACEMENTS[name]()) == {OLD, NEW}


def test_a_journal_half_overwritten_is_not_written_again() -> None:
    mount, medium = in_place(random_nonces()), formatted()
    mount(medium).write(0, b"\1" * (SEALS * BLOCK_BYTES))
    medium.writes_left = 2 + 1 + 2 + 1  # journal, descriptor, data, entries; the descriptor stays
    with pytest.raises(PowerLost):
        mount(medium).write(1, b"\2" * (2 * BLOCK_BYTES))
    medium.writes_left = None
    again = mount(medium)
    medium.writes_left = 1
    with pytest.raises(PowerLost):
        again.write(3, b"\3" * (2 * BLOCK_BYTES))
    medium.writes_left = None
    assert readable(mount, medium) == list(NEW)


def test_without_a_journal_power_loss_leaves_seals_that_do_not_open() -> None:
    assert crash_results(in_place(random_nonces(), journal=0)) == {
        OLD,
        (1, None, 1, 1, 1, 1),
        (1, None, None, 1, 1, 1),
        NEW,
    }


@pytest.mark.parametrize(
    ("mount", "count", "expected"),
    [
        (in_place(random_nonces(), journal=0), 1, 2),  # data, entries
        (in_place(random_nonces()), 1, 5),  # journal, descriptor, data, entries, descriptor cleared
        (in_place(random_nonces()), 6, (6 + 1 + 6 + 1 + 1) / 6),
        (in_place(random_nonces(), Geometry.INTEGRITY_DEVICE), 1, 5),
        (tree(random_nonces()), 1, 3),  # data, leaf, superblock
        (tree(random_nonces()), 6, (6 + 1 + 1) / 6),
        (tree(random_nonces(), seals=500), 1, 4),  # data, leaf, inner node, superblock
        (tree(extent_keys(), blocks=4), 1, (4 + 2) / 4),
    ],
)
def test_blocks_written_per_block_of_data(mount: Mount, count: int, expected: float) -> None:
    assert write_amplification(mount(formatted(1000)), 0, count) == expected


def test_a_small_write_to_an_extent_seal_must_write_all_of_it() -> None:
    store = in_place(extent_keys(), blocks=4, journal=0)(formatted())
    before = store.medium.writes
    store.write(2, bytes(4 * BLOCK_BYTES))
    assert store.medium.writes - before == 4 + 1


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("geometry", Geometry)
def test_no_two_seals_or_entries_share_a_byte(geometry: Geometry, blocks: int) -> None:
    seals = 400
    medium = Medium(1000)
    store = in_place(random_nonces(), geometry, seals=seals, blocks=blocks)(medium)
    store.write(0, b"".join(bytes([index % 251]) * (blocks * BLOCK_BYTES) for index in range(seals)))
    assert [store.read(index)[0] for index in range(seals)] == [index % 251 for index in range(seals)]
    # 146 entries of 28 bytes fit a block; a run is such a block and its data, and three hold 400 seals.
    entries, run = 1 + 8 * blocks, 1 + 146 * blocks
    if geometry is Geometry.INTEGRITY_DEVICE:
        assert store.data_offset(300) == (entries + 2 * run + 1 + (300 - 2 * 146) * blocks) * BLOCK_BYTES
    else:
        assert store.data_offset(300) == (entries + 3 + 300 * blocks) * BLOCK_BYTES


def test_a_tree_of_two_levels_reads_back_and_reuses_freed_blocks() -> None:
    seals = 500
    medium = formatted(600)
    mount = tree(random_nonces(), seals=seals)
    store = mount(medium)
    for version in range(3):
        for first in range(0, seals, 50):
            store.write(first, bytes([version]) * (50 * BLOCK_BYTES))
    again = mount(medium)
    assert isinstance(again, TreeStore)
    assert ({again.read(index)[0] for index in range(seals)}, again.height, again.scrub()) == ({2}, 1, [])


def two_levels(medium: Medium) -> TreeStore:
    """Of 113 seals to a leaf, a leaf and a bit: a root above two leaves."""
    store = TreeStore(medium, random_nonces(), 120, MAC_KEY, owner=OWNER)
    for first in (0, 60):
        store.write(first, b"".join(bytes([index]) * BLOCK_BYTES for index in range(first, first + 60)))
    assert store.height == 1
    return store


def test_in_a_tree_of_two_levels_an_attacker_finds_each_seal_and_cannot_make_the_root_fit() -> None:
    medium = formatted(300)
    store = two_levels(medium)
    entry, stored = store.extract(117)
    aad = associated_data(OWNER, 117)
    assert gcm(KEY, entry[:12], aad, bytes([117]) * BLOCK_BYTES) == (stored, entry[12:])

    assert store.scrub() == []
    store.implant(117, entry, bytes(BLOCK_BYTES))

    # Every unkeyed sum up to the root fits; the root's own hash is under the superblock's HMAC.
    root = int.from_bytes(medium.data[16:20], "little")  # magic, generation, root
    assert store.scrub() == [root]
    for index in (0, 117):  # all hang from the same root
        with pytest.raises(AuthenticationFailed, match=f"node {root} does not fit its parent"):
            store.read(index)


def test_a_damaged_leaf_is_found_by_a_scrub_and_by_the_reads_that_pass_it() -> None:
    medium = formatted(300)
    store = two_levels(medium)
    leaf = store._attackers_path(117)[-1][0]
    medium.data[leaf * BLOCK_BYTES + 4000] ^= 1

    assert store.scrub() == [leaf]
    assert store.read(0) == bytes(BLOCK_BYTES)
    with pytest.raises(AuthenticationFailed, match=f"node {leaf}"):
        store.read(117)


def test_a_medium_that_is_too_small_and_a_key_that_is_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="6 seals need 16 blocks, not 15"):  # 1 + 8, 1, 6
        in_place(random_nonces())(Medium(15))
    in_place(random_nonces())(Medium(16))
    with pytest.raises(ValueError, match="takes 32 bytes of key, not 16"):
        RandomNonceSealer(bytes(16), np.random.default_rng(1))


def test_a_medium_without_room_for_a_copy_is_full_and_keeps_what_it_has() -> None:
    medium = formatted(8 + 3)
    mount = tree(random_nonces(), seals=8)
    store = mount(medium)
    store.write(0, b"\1" * (8 * BLOCK_BYTES))
    with pytest.raises(MediumFull):
        store.write(0, b"\2" * (8 * BLOCK_BYTES))
    assert mount(medium).read(0)[0] == 1


def test_a_scrub_without_a_key_finds_damage_and_not_an_attacker() -> None:
    medium = formatted()
    sealer = random_nonces()
    store = tree(sealer)(medium)
    assert isinstance(store, TreeStore)
    store.write(0, bytes(SEALS * BLOCK_BYTES))
    sealer.wipe()
    assert store.scrub() == []
    at = store.data_offset(2)
    medium.data[at] ^= 1
    assert store.scrub() == [at // BLOCK_BYTES]


def test_ivs_never_repeat_under_one_key() -> None:
    store = in_place(random_nonces())(formatted())
    ivs = []
    for _ in range(20):
        store.write(0, bytes(SEALS * BLOCK_BYTES))
        ivs += [store.extract(index)[0][:12] for index in range(SEALS)]
    assert len(set(ivs)) == len(ivs)


def test_the_same_plaintext_twice_gives_other_ciphertext() -> None:
    store = tree(extent_keys())(formatted())
    seen = set()
    for _ in range(3):
        store.write(0, PAGE)
        seen.add(store.extract(0)[1][:16])
    assert len(seen) == 3


def test_a_key_refuses_to_seal_past_its_limit() -> None:
    store = in_place(random_nonces(max_seals=3), journal=0)(formatted())
    store.write(0, bytes(3 * BLOCK_BYTES))
    with pytest.raises(BlkCryptoError) as caught:
        store.write(0, bytes(BLOCK_BYTES))
    assert caught.value.errno == errno.EOVERFLOW


def test_random_ivs_of_one_key_end_at_two_to_the_32() -> None:
    """NIST SP 800-38D, section 8.3."""
    sealer = random_nonces()
    sealer.seals = 2**32 - 1
    sealer.seal(OWNER, 0, PAGE)
    with pytest.raises(BlkCryptoError) as caught:
        sealer.seal(OWNER, 0, PAGE)
    assert caught.value.errno == errno.EOVERFLOW


@pytest.mark.parametrize(
    ("seals", "entry_bytes", "given", "expected"),
    [
        (1000, 28, {}, (1 + 32) + 7 + 1000),  # 146 entries per block; the journal has room for 32 seals
        (146, 28, {}, (1 + 32) + 1 + 146),
        (147, 28, {}, (1 + 32) + 2 + 147),
        (130, 32, {"seal_blocks": 4, "journal_seals": 8}, (1 + 8 * 4) + 2 + 130 * 4),
        (130, 32, {"journal_seals": 200}, (1 + 126) + 2 + 130),  # (4096 - 48) / 32 entries fit a descriptor
        (130, 32, {"journal_seals": 0}, 2 + 130),
    ],
)
def test_blocks_of_a_store_are_journal_entries_and_data(
    seals: int, entry_bytes: int, given: dict[str, int], expected: int
) -> None:
    assert blocks_for(seals, entry_bytes, **given) == expected


@pytest.mark.parametrize("name", PLACEMENTS)
def test_after_key_removal_reads_and_writes_are_enokey(name: str) -> None:
    store = PLACEMENTS[name]()(formatted())
    store.write(0, bytes(SEALS * store.seal_blocks * BLOCK_BYTES))
    store.sealer.wipe()
    for touch in (lambda: store.read(0), lambda: store.write(0, bytes(store.seal_blocks * BLOCK_BYTES))):
        with pytest.raises(BlkCryptoError, match="ENOKEY"):
            touch()


@pytest.mark.parametrize("name", PLACEMENTS)
def test_no_plaintext_is_on_the_medium(name: str) -> None:
    medium = formatted()
    store = PLACEMENTS[name]()(medium)
    size = store.seal_blocks * BLOCK_BYTES
    store.write(0, (PAGE * 4)[:size] * SEALS)
    assert not any(PAGE[at : at + 16] in medium.data for at in range(0, 256, 16))


@pytest.mark.parametrize(
    ("sealer", "per_gib"),
    [(random_nonces(), 28 << 18), (extent_keys(), 32 << 13), (ChecksumSealer(XTS_KEY), 4 << 18)],
)
def test_entries_per_gib(sealer: Sealer, per_gib: int) -> None:
    """4 KiB units (2**18 per GiB); extents of 128 KiB (2**13)."""
    seals = 1 << (13 if isinstance(sealer, ExtentKeySealer) else 18)
    assert sealer.entry_bytes * seals == per_gib


def test_every_design_has_a_row_and_none_can_use_inline_crypto() -> None:
    """T25: hardware shows no ciphertext to the CPU, and gives no tags."""
    assert [row.inline_crypto for row in DESIGNS] == [False] * 4
