"""I/O of designs' own: as many blocks as their stores write, complete when bios are, invisible otherwise."""

import numpy as np
import pytest

from blkcrypto.fs.authenticated.in_place import InPlaceStore
from blkcrypto.fs.authenticated.medium import BLOCK_BYTES, Medium
from blkcrypto.fs.authenticated.seal import KEY_BYTES, RandomNonceSealer
from blkcrypto.fs.authenticated.tree import TreeStore
from scenarios.run import run
from tests.design_world import KIB, READ, WRITE, Io, batch, costs, ran, scenario

# Journal of 32 seals, tables of 146 entries a block: a run of 70 units touches one block or two.
RUNS = ((0, 1), (100, 32), (120, 70), (145, 2), (0, 256))


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def written_by_store(first: int, count: int, *, journal: bool) -> int:
    """Blocks that the store of ``blkcrypto.fs.authenticated`` writes for one run of units."""
    sealer = RandomNonceSealer(bytes(KEY_BYTES), rng())
    store = InPlaceStore(Medium(1024), sealer, 512, journal_seals=32 if journal else 0)
    before = store.medium.writes
    store.write(first, bytes(count * BLOCK_BYTES))
    return store.medium.writes - before


@pytest.mark.parametrize(("design", "journal"), [("aead-table", False), ("aead-integrity", True)])
@pytest.mark.parametrize(("first", "count"), RUNS)
def test_a_write_writes_as_many_blocks_as_the_store_does(
    design: str, journal: bool, first: int, count: int
) -> None:
    figures = costs(design, [(WRITE, 0, first * 4 * KIB, count * 4 * KIB)], "layout.file_size=4M")

    blocks = count + figures.metadata_write_bytes // BLOCK_BYTES
    assert blocks == written_by_store(first, count, journal=journal)
    assert figures.write_amplification == blocks / count


def test_entries_are_read_once_while_they_fit_the_cache() -> None:
    """Units 0 and 1 share a block of 146 entries, unit 146 has the next; a cache of one block holds one."""
    ios = [(READ, 0, 0, 4 * KIB), (READ, 0, 4 * KIB, 4 * KIB), (READ, 0, 584 * KIB, 4 * KIB)] * 2
    large, small = (
        costs("aead-table", ios, f"design.tag_cache_bytes={size}").metadata_reads for size in (8192, 4096)
    )
    assert (large, small) == (2, 4)


def test_a_commit_writes_each_changed_node_and_the_superblock() -> None:
    """Two writes in one leaf: leaf, inner nodes to the root, superblock; as the store's write of one run."""
    ios = [(WRITE, 0, 0, 4 * KIB), (WRITE, 0, 4 * KIB, 4 * KIB)]
    figures = costs("aead-tree-unit", ios, "design.commit_bios=2", "device.media.capacity=8M")

    medium, mac = Medium(4096), bytes(32)
    TreeStore.mkfs(medium, mac)
    store = TreeStore(medium, RandomNonceSealer(bytes(KEY_BYTES), rng()), 2048, mac)
    before = medium.writes
    store.write(0, bytes(2 * BLOCK_BYTES))
    assert figures.metadata_writes == medium.writes - before - 2
    assert figures.metadata_writes == 1 + store.height + 1


def test_nothing_is_written_before_the_transaction_is_full() -> None:
    ios = [(WRITE, 0, 0, 4 * KIB)] * 3
    assert costs("aead-tree-unit", ios, "design.commit_bios=4").metadata_writes == 0


def test_reading_a_part_of_a_sealed_extent_reads_all_of_it() -> None:
    ios = [(READ, 0, 16 * KIB, 4 * KIB)]
    sets = ("design.key_extent=64k", "design.tag_cache=1M")
    figures = costs("aead-tree-extent", ios, *sets)
    nodes = figures.metadata_read_bytes - 60 * KIB

    assert nodes % BLOCK_BYTES == 0
    assert costs("aead-tree-extent", [(READ, 0, 0, 64 * KIB)], *sets).metadata_read_bytes == nodes


def test_a_bio_is_complete_when_its_companions_are() -> None:
    """Two reads at once on media of one unit: the bio waits for both, less what submission overlaps."""
    sets = ("device.media.units=1", "device.media.read_ns=50us", "device.media.read_per_s=0")
    alone = ran("fscrypt-per-file", [(READ, 0, 0, 4 * KIB)], "engine=fs-layer", *sets)
    with_entry = ran("aead-table", [(READ, 0, 0, 4 * KIB)], *sets, "design.cipher_percent=100")

    assert with_entry.bios == alone.bios == 1
    assert with_entry.directions["all"].lat_ns.max - alone.directions["all"].lat_ns.max == 50_000
    assert all(with_entry.checks.values())


def test_background_io_leaves_no_record_and_no_hole_in_the_closed_loop() -> None:
    ios: list[Io] = [(WRITE, 0, offset * 4 * KIB, 4 * KIB) for offset in range(40)]
    chosen = scenario("aead-tree-unit", "design.commit_bios=4", "queue_depth=2")
    result = run(chosen, source=[batch(ios)])

    assert (result.bios, result.write_bytes) == (40, 40 * 4 * KIB)
    assert result.figures is not None
    assert result.figures.metadata_writes > 10
    assert all(result.checks.values())


@pytest.mark.parametrize(
    ("offset", "nbytes", "reads"),
    [(0, 4 * KIB, 0), (512, 512, 1), (512, 4 * KIB, 2), (0, 4 * KIB + 512, 1), (512, 8 * KIB - 512, 1)],
)
def test_cephfs_reads_units_that_are_written_in_part(offset: int, nbytes: int, reads: int) -> None:
    assert costs("cephfs-like", [(WRITE, 0, offset, nbytes)]).metadata_reads == reads
    assert costs("cephfs-like", [(READ, 0, offset, nbytes)]).metadata_reads == 0


def test_companions_of_a_bio_too_large_for_one_request_are_still_waited_for() -> None:
    result = ran("aead-table", [(WRITE, 0, 0, 1024 * KIB)], "block.max_request=256k")
    assert (result.bios, result.splits) == (1, 3)
    assert all(result.checks.values())
