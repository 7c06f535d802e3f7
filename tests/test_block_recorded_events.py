"""What a real kernel did with bios: queued, split, merged and issued, experiment by experiment.

The record has the bios and what became of them, but not where their memory was.  Two rules stand in for
that: a bio of at most 256 pages has every page on its own, a larger one (more than ``BIO_MAX_VECS`` pages)
lies in one piece.  Ten experiments follow from the rules alone.  In the other ten the kernel found memory
that happened to be contiguous elsewhere; ``PIECES`` gives it, as the sectors that fit 128 segments each.

Of the writes that went through the fallback the record has only the ciphertext bios.  They are fed as the
bios they were made from: a ciphertext bio of 256 pages and the one behind it come from one source.
"""

import bisect
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.trace import BlockEvent, Tracepoint
from tests.block_world import World

RECORD = Path(__file__).parents[1].parent / "shared" / "golden" / "dm" / "bio-events.json"
EXPERIMENTS = 20
PAGE_SECTORS = 8
CHUNK_SECTORS = 256 * PAGE_SECTORS
WINDOW_SECTORS = 2560  # of readahead; each window is read under a plug of its own
WINDOW_STARTS = {16: (0, 2560, 5112)}  # where the kernel ended a window at a folio border instead
MAX_SECTORS = 2560
MAX_SEGMENTS = 128
PAGES_PER_SEGMENT = 16  # segments have at most 64 KiB

# (experiment, first sector of the bio, op) -> sectors of the pieces that each fit one request.
PIECES = {
    (0, 270336, ReqOp.WRITE): (1984, 64),
    (0, 266240, ReqOp.READ): (1560, 1000),
    (2, 286720, ReqOp.WRITE): (2048,),
    (3, 290816, ReqOp.WRITE): (1064, 1024),
    (3, 292904, ReqOp.WRITE): (2008,),
    (3, 294912, ReqOp.WRITE): (2048,),
    (4, 299008, ReqOp.WRITE): (1024, 1104),
    (4, 301136, ReqOp.WRITE): (1968,),
    (5, 311296, ReqOp.WRITE): (1088, 960),
    (6, 340704, ReqOp.WRITE): (2384, 976),
    (8, 315392, ReqOp.WRITE): (2560, 1024, 384),
    (9, 327680, ReqOp.WRITE): (2048,),
    (10, 268288, ReqOp.WRITE): (2048,),
    (10, 270336, ReqOp.WRITE): (2048,),
    (10, 266240, ReqOp.READ): (1640, 920),
    (16, 346184, ReqOp.READ): (2040,),
}
BY_THE_RULES_ALONE = {1, 7, 11, 12, 13, 14, 15, 17, 18, 19}

NAMES = {
    "block_bio_queue": Tracepoint.BIO_QUEUE,
    "block_split": Tracepoint.SPLIT,
    "block_bio_backmerge": Tracepoint.BIO_BACKMERGE,
    "block_bio_frontmerge": Tracepoint.BIO_FRONTMERGE,
    "block_rq_issue": Tracepoint.RQ_ISSUE,
}
POINTS = {point: name for name, point in NAMES.items()}


class Row(NamedTuple):
    """One event: tracepoint, sector, sectors (or, for a split, the sector of the cut)."""

    name: str
    sector: int
    arg: int


class Fed(NamedTuple):
    """One bio to feed, and the plug it is under."""

    sector: int
    sectors: int
    flags: str
    plug: object


def recorded() -> dict[str, Any]:
    if not RECORD.exists():
        pytest.skip(f"{RECORD} is not here")
    record: dict[str, Any] = json.loads(RECORD.read_text())
    return record


def rows(events: Sequence[Sequence[str]]) -> Iterator[tuple[Row, str]]:
    """Every recorded event, with its flags."""
    for name, flags, text in events:
        words = text.split("() ")[-1].replace("+", " ").replace("/", " ").split()
        yield Row(name, int(words[0]), int(words[1])), flags


def ours(events: Sequence[BlockEvent]) -> list[Row]:
    return [Row(POINTS[e.tracepoint], e.sector, e.arg) for e in events if e.tracepoint in POINTS]


def covering(pages: int) -> list[int]:
    """Vectors, in pages, that need exactly 128 segments for ``pages``: one run, then single pages."""
    for run in range(1, pages + 1):
        if -(-run // PAGES_PER_SEGMENT) + pages - run == MAX_SEGMENTS:
            return [run] + [1] * (pages - run)
    raise AssertionError(f"{pages} pages cannot be laid out in {MAX_SEGMENTS} segments")


def layout(sectors: int, pieces: Sequence[int] | None) -> list[int]:
    """Bytes of the vectors of a bio."""
    if pieces is None:
        one_by_one = sectors <= CHUNK_SECTORS
        pages = [1] * (sectors // PAGE_SECTORS) if one_by_one else [sectors // PAGE_SECTORS]
        return [4096 * count for count in pages]
    assert sum(pieces) == sectors
    vecs: list[int] = []
    for piece in pieces[:-1]:
        pages_here = piece // PAGE_SECTORS
        vecs += [pages_here] if piece == MAX_SECTORS else covering(pages_here)
    last = pieces[-1] // PAGE_SECTORS
    vecs += [last] if last > MAX_SEGMENTS else [1] * last
    return [4096 * count for count in vecs]


class Experiment:
    """One experiment of the record, in one direction."""

    def __init__(self, number: int, op: ReqOp) -> None:
        record = recorded()
        facts = record["experiments"][number]
        self.number, self.op = number, op
        self.queue: dict[str, str] = record["queue"]
        self.events = list(rows(facts["write_events" if op is ReqOp.WRITE else "read_events"]))
        ((_, start, length, _),) = facts["extents"]
        self.start: int = start // 512
        self.end: int = (start + length) // 512
        self.through_fallback = "inlinecrypt" in facts["mount_options"] and facts["policy"] != "plain"
        self.data_unit_size = 1 << facts["log2_data_unit_size"] if facts["log2_data_unit_size"] else 4096

    def holds_data(self, sector: int) -> bool:
        return self.start <= sector < self.end

    def fed(self) -> list[Fed]:
        """The bios to submit."""
        bios = [(row, flags) for row, flags in self.events if row.name == "block_bio_queue"]
        fed: list[Fed] = []
        full_chunk = False
        for row, flags in bios:
            chunk = self.through_fallback and self.op is ReqOp.WRITE and self.holds_data(row.sector)
            if chunk and full_chunk:
                fed[-1] = fed[-1]._replace(sectors=fed[-1].sectors + row.arg)
            else:
                fed.append(Fed(row.sector, row.arg, flags, self.plug_of(row.sector, flags)))
            full_chunk = chunk and row.arg == CHUNK_SECTORS
        return fed

    def plug_of(self, sector: int, flags: str) -> object:
        if not self.holds_data(sector):
            return sector  # journal and metadata, each submitted on its own
        if flags != "RA":
            return "data"
        starts = WINDOW_STARTS.get(self.number, range(0, self.end - self.start, WINDOW_SECTORS))
        return bisect.bisect_right(starts, sector - self.start)

    def bio(self, world: World, fed: Fed, *, with_pieces: bool) -> Bio:
        flags = ReqFlags.PREFLUSH if fed.flags.startswith("F") else ReqFlags.NONE
        pieces = PIECES.get((self.number, fed.sector, self.op)) if with_pieces else None
        # Page-cache memory of a source bio does not matter: the fallback takes it page by page.
        vecs = world.vecs(fed.sectors * 512, layout(fed.sectors, pieces)) if fed.sectors else ()
        op = self.op if self.holds_data(fed.sector) else ReqOp.WRITE
        return world.bio(op, fed.sector, vecs=vecs, flags=flags)

    def replay(self, *, with_pieces: bool) -> list[Row]:
        """Our events for the same bios under the same limits."""
        limits = QueueLimits(
            max_sectors=2 * int(self.queue["max_sectors_kb"]),
            max_segments=int(self.queue["max_segments"]),
            logical_block_size=int(self.queue["logical_block_size"]),
            write_cache=True,
        )
        world = World("7.2", native=None, capacity=1 << 20, limits=limits, depth=128)
        key: BlkCryptoKey | None = None
        if self.through_fallback:
            key = world.key("file", size=self.data_unit_size)
        for _, together in groupby(self.fed(), key=lambda fed: fed.plug):
            world.submit(
                *(
                    (self.bio(world, fed, with_pieces=with_pieces), self.key_of(fed, key), fed.sector)
                    for fed in together
                ),
                plug=True,
            )
        return ours(world.events)

    def key_of(self, fed: Fed, key: BlkCryptoKey | None) -> BlkCryptoKey | None:
        return key if self.holds_data(fed.sector) else None


@pytest.mark.parametrize("op", [ReqOp.WRITE, ReqOp.READ], ids=lambda op: op.name)
@pytest.mark.parametrize("number", range(EXPERIMENTS))
def test_the_same_bios_are_split_merged_and_issued_as_a_real_kernel_did(number: int, op: ReqOp) -> None:
    experiment = Experiment(number, op)

    got = experiment.replay(with_pieces=True)

    assert got == [row for row, _ in experiment.events]


@pytest.mark.parametrize("op", [ReqOp.WRITE, ReqOp.READ], ids=lambda op: op.name)
@pytest.mark.parametrize("number", sorted(BY_THE_RULES_ALONE))
def test_half_of_the_experiments_need_no_fact_about_memory_beyond_the_two_rules(
    number: int, op: ReqOp
) -> None:
    experiment = Experiment(number, op)

    got = experiment.replay(with_pieces=False)

    assert got == [row for row, _ in experiment.events]
