"""``--check``: a sound machine gives the same results with it, and every invariant finds who breaks it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.keyslots import KeyslotTable
from blkcrypto.block.split import split_sizes
from hwmodel import invariants, splitter
from hwmodel.checked import CheckedMachine, CheckedTable
from hwmodel.controller import Machine
from hwmodel.engine import DataPath
from hwmodel.faults import Injector
from hwmodel.invariants import INVARIANTS, Invariant, InvariantBroken
from hwmodel.keyslots import Keyslots
from hwmodel.media import Media
from hwmodel.powerloss import VolatileWrites
from hwmodel.request import Request
from hwmodel.splitter import Splitter
from hwmodel.staging import Staging
from hwmodel.tags import Tags
from scenarios import build
from scenarios.campaign import run_campaign
from scenarios.cli import main
from scenarios.load import load_scenario, shipped_scenarios
from scenarios.results.records import Records
from scenarios.run import run
from scenarios.schema import Scenario
from scenarios.sweeps import sweep

Patch = pytest.MonkeyPatch
WORLD = """
question = "What does a broken machine do?"
device = "ufs31-ice-raw"
[workload]
ios = 1500
read_share = 0.5
block_sizes = "4k/50:64k/50"
zipf = 0.5
jobs = 8
[layout]
files = 64
file_size = "1M"
extent = "64k"
span = "64M"
[block]
max_request = "16k"
[run]
queue_depth = 16
payload = "verify"
"""
FEW = ("device.keyslots.count=8", "device.controller.tags=24")
POWER_CUT = """
[[faults.power_cuts]]
after_bios = 1000
at = "0ns"
outage = "3ms"
tear = "4k"
"""
EVICTIONS = "".join(
    f"[[faults.evictions]]\nkey = {key}\nafter_bios = {50 * key + 100}\n" for key in range(20)
)


class Seen:
    """Every record, as bytes."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    def add(self, records: Records) -> None:
        self.bytes += records.tobytes()


@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_scenario_of_the_catalog_breaks_nothing_and_has_the_same_records_and_result(name: str) -> None:
    chosen = load_scenario(name, sets=[] if name == "trace-replay" else ["ios=2000"])
    plain, checked = Seen(), Seen()
    expected = run(chosen, sinks=[plain])

    found = run(chosen, sinks=[checked], check=True)

    assert checked.bytes == plain.bytes
    assert replace(found, checks=expected.checks) == expected
    assert expected.checks.items() <= found.checks.items()
    assert all(found.checks.values())


def test_runs_with_every_kind_of_fault_break_nothing() -> None:
    assert run_campaign(24, 1, check=True).violations == {}


@pytest.mark.parametrize("scheduler", ["none", "mq-deadline"])
@pytest.mark.parametrize("engine", ["inline", "fallback", "fs-layer"])
def test_few_keyslots_and_tags_break_nothing_whoever_encrypts(
    engine: str, scheduler: str, tmp_path: Path
) -> None:
    found = run(a_world(tmp_path, "", f"keys.engine={engine}", f"block.scheduler={scheduler}"), check=True)
    assert all(found.checks.values())


def test_each_invariant_has_one_name_and_none_is_forgotten() -> None:
    rows = [row for row in vars(invariants).values() if isinstance(row, Invariant)]
    assert sorted(INVARIANTS, key=id) == sorted(rows, key=id)
    assert len({row.name for row in rows}) == len(rows)


def test_the_page_has_every_invariant() -> None:
    page = (Path(__file__).parents[1] / "docs" / "robustness.md").read_text()
    for row in INVARIANTS:
        assert f"| {row.name} | {row.when.replace('--check', '`--check`')} |" in page


# --- broken machines ----------------------------------------------------------------------------------
# Each is sound but for one rule; the words are what its error has to say.

BROKEN: list[tuple[Callable[[Patch], None], Invariant, str, tuple[str, ...]]] = []


def breaks(
    invariant: Invariant, words: str, faults: str = "", *sets: str
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def kept(break_it: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BROKEN.append((break_it, invariant, words, (faults, *sets)))
        return break_it

    return kept


@breaks(invariants.STAGE_SUMS, "ns in all, but stages in ns are")
def tag_waits_count_twice(patch: Patch) -> None:
    def put(self: Tags, now: int) -> None:
        if self.waiting:
            self.waiting[0].tag_wait += now - self.waiting[0].mark
        whole(self, now)

    whole = Tags.put
    patch.setattr(Tags, "put", put)


@breaks(invariants.NO_NEGATIVE_STAGE, "transfer -7")
def the_link_is_faster_than_light(patch: Patch) -> None:
    def serve(self: DataPath, request: Request, now: int, *, inline: bool) -> int:
        done = whole(self, request, now, inline=inline)
        request.device_queue += request.transfer + 7
        request.transfer = -7
        return done

    whole = DataPath.serve
    patch.setattr(DataPath, "serve", serve)


@breaks(invariants.ACQUIRES_ADD_UP, "at the end of the run")
def hits_count_twice(patch: Patch) -> None:
    def hit(self: Keyslots, request: Request, now: int) -> bool:
        found = whole(self, request, now)
        self.hits += found
        return found

    whole = Keyslots._hit
    patch.setattr(Keyslots, "_hit", hit)


@breaks(invariants.NOTHING_LEFT, "bios never complete")
def a_sleeper_is_forgotten(patch: Patch) -> None:
    def wake(self: Keyslots, now: int) -> None:
        del self.sleepers[1:2]
        whole(self, now)

    whole = Keyslots.wake_sleepers
    patch.setattr(Keyslots, "wake_sleepers", wake)


@breaks(invariants.NO_EVICTED_KEY, "at the end of the run", EVICTIONS)
def evicted_keys_stay_in_the_hardware(patch: Patch) -> None:
    patch.setattr(Injector, "program_ended", lambda _self, _key: (BlkStatus.OK, False))


@breaks(invariants.EXACTLY_ONCE, "completes, and is not under way")
def a_bio_completes_twice(patch: Patch) -> None:
    def record(self: Machine, request: Request, now: int) -> None:
        self.recorded.take(request, now)
        whole(self, request, now)

    whole = Machine.record
    patch.setattr(Machine, "record", record)


@breaks(invariants.NO_FLUSHED_WRITE_LOST, "at the end of the run", POWER_CUT, "workload.fua_share=0.5")
def forced_writes_stay_in_the_cache(patch: Patch) -> None:
    def forced(self: VolatileWrites, unit: int) -> None:
        cached = self._cached.get(unit)
        whole(self, unit)
        if cached is not None:
            self._cached[unit] = cached

    whole = VolatileWrites.forced
    patch.setattr(VolatileWrites, "forced", forced)


@breaks(invariants.TIME_GOES_ON, "is to go on at")
def media_are_done_before_they_begin(patch: Patch) -> None:
    whole = Media.serve
    patch.setattr(Media, "serve", lambda self, request, now: 2 * now - whole(self, request, now))


@breaks(invariants.REFERENCES, "references, 2 holders")
def a_second_bio_takes_no_reference(patch: Patch) -> None:
    def get(self: KeyslotTable[BlkCryptoKey], key: BlkCryptoKey) -> int:
        slot = whole(self, key)
        if slot >= 0 and self._refs[slot] > 1:
            self._refs[slot] -= 1
        return slot

    whole = KeyslotTable.get
    patch.setattr(KeyslotTable, "get", get)


@breaks(invariants.REFERENCES, "completes and still holds keyslot")
def a_completed_bio_keeps_its_slot(patch: Patch) -> None:
    def finish(self: Machine, request: Request, now: int, key: BlkCryptoKey | None) -> None:
        request.slot = 0
        whole(self, request, now, key)

    whole = Machine._finish
    patch.setattr(Machine, "_finish", finish)


@breaks(invariants.REFERENCES, "is dropped; there is none")
def a_reference_is_dropped_twice(patch: Patch) -> None:
    def release(self: Keyslots, slot: int, now: int) -> None:
        whole(self, slot, now)
        if not self.table.refs(slot):
            self.table.put(slot)

    whole = Keyslots.release
    patch.setattr(Keyslots, "release", release)


@breaks(invariants.LRU_ORDER, "was idle longest")
def the_slot_released_last_is_programmed(patch: Patch) -> None:
    def put(self: KeyslotTable[BlkCryptoKey], slot: int) -> bool:
        became_idle = whole(self, slot)
        if became_idle:
            self._idle.move_to_end(slot, last=False)
        return became_idle

    whole = KeyslotTable.put
    patch.setattr(KeyslotTable, "put", put)


@breaks(invariants.LRU_ORDER, "while 1 use it")
def a_slot_in_use_is_programmed(patch: Patch) -> None:
    def install(self: CheckedTable, slot: int, key: BlkCryptoKey) -> None:
        used = [other for other in range(self.num_slots) if self._refs[other] == 1]
        whole(self, used[0] if used else slot, key)

    whole = CheckedTable.install
    patch.setattr(CheckedTable, "install", install)


@breaks(invariants.ONE_SLOT_PER_KEY, "and is in [")
def keys_in_idle_slots_are_not_found(patch: Patch) -> None:
    def get(self: KeyslotTable[BlkCryptoKey], key: BlkCryptoKey) -> int:
        return whole(self, key) if self._slot_of.get(key, -1) not in self._idle else -1

    whole = KeyslotTable.get
    patch.setattr(KeyslotTable, "get", get)


@breaks(invariants.ONE_HOLDER, "takes the lock, which is held")
def a_miss_does_not_wait_for_the_lock(patch: Patch) -> None:
    def acquire(self: Keyslots, request: Request, now: int) -> None:
        if not self.locked or request.key is None or self.table.find(request.key) >= 0:
            whole(self, request, now)
            return
        self.acquires += 1
        request.mark = now
        self.program(request, now)

    whole = Keyslots.acquire
    patch.setattr(Keyslots, "acquire", acquire)


@breaks(invariants.OWN_KEY, "in its slot is")
def a_hit_takes_the_slot_beside(patch: Patch) -> None:
    def get(self: KeyslotTable[BlkCryptoKey], key: BlkCryptoKey) -> int:
        beside = self._keys[(self._slot_of.get(key, 0) + 1) % self.num_slots]
        return whole(self, beside if beside is not None and key in self._slot_of else key)

    whole = KeyslotTable.get
    patch.setattr(KeyslotTable, "get", get)


@breaks(invariants.TAGS, "tags are taken")
def a_tag_is_given_up_twice(patch: Patch) -> None:
    def put(self: Tags, now: int) -> None:
        whole(self, now)
        self.free += 1

    whole = Tags.put
    patch.setattr(Tags, "put", put)


@breaks(invariants.NO_IDLE_WAIT, "tags are free, and bios wait")
def a_tag_goes_to_nobody(patch: Patch) -> None:
    def put(self: Tags, _now: int) -> None:
        self.free += 1

    patch.setattr(Tags, "put", put)


@breaks(invariants.NO_IDLE_WAIT, "is idle")
def sleepers_are_not_woken(patch: Patch) -> None:
    def release(self: Keyslots, slot: int, _now: int) -> None:
        self.table.put(slot)

    patch.setattr(Keyslots, "release", release)


@breaks(invariants.BYTES, "is split into")
def a_part_is_lost_in_a_split(patch: Patch) -> None:
    patch.setattr(splitter, "split_sizes", lambda *args, **named: split_sizes(*args, **named)[:-1])


@breaks(invariants.BYTES, "arrived and did not complete")
def a_bio_shrinks_on_its_way(patch: Patch) -> None:
    def finish(self: Machine, request: Request, now: int, key: BlkCryptoKey | None) -> None:
        request.nbytes -= 4096 * (request.nbytes > 4096)
        whole(self, request, now, key)

    whole = Machine._finish
    patch.setattr(Machine, "_finish", finish)


@breaks(invariants.DUN_CONTINUITY, "follows")
def each_part_begins_with_the_first_dun(patch: Patch) -> None:
    def parts(self: Splitter, bio: Request) -> list[Request]:
        found = whole(self, bio)
        for part in found:
            part.dun = bio.dun
        return found

    whole = Splitter.parts
    patch.setattr(Splitter, "parts", parts)


MERGING = ("block.scheduler=mq-deadline", "block.max_request=1M", "device.controller.tags=2")
CROWDED = ("workload.block_sizes=64k", "layout.file_size=64k", "layout.span=4M", "run.queue_depth=64")


@breaks(invariants.DUN_CONTINUITY, "has another key than", "", *MERGING, *CROWDED)
def neighbours_merge_whatever_their_keys(patch: Patch) -> None:
    keys: list[BlkCryptoKey] = []

    def bio(self: Staging, request: Request) -> Bio:
        found = whole(self, request)
        if found.crypt_ctx is not None:
            keys.append(found.crypt_ctx.key)
            found.crypt_ctx = BioCryptCtx(keys[0], request.sector >> 3)
        return found

    whole = Staging._bio
    patch.setattr(Staging, "_bio", bio)


class NoCipher:
    """Encrypts nothing."""

    wiped: ClassVar = False

    def encrypt(
        self, _ivs: npt.NDArray[np.uint8], src: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8]:
        out[:] = src
        return out

    decrypt = encrypt

    def wipe(self) -> None:
        return


@breaks(invariants.CIPHERTEXT, "of the medium is plaintext")
def the_engine_is_switched_off(patch: Patch) -> None:
    patch.setattr(build, "inline_cipher", lambda _key, unit: NoCipher())


def a_world(folder: Path, faults: str, *sets: str) -> Scenario:
    path = folder / "world.toml"
    path.write_text(WORLD + faults)
    return load_scenario(str(path), sets=(*FEW, *sets))


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case[0].__name__)
def test_a_machine_in_which(
    case: tuple[Callable[[Patch], None], Invariant, str, tuple[str, ...]], tmp_path: Path, monkeypatch: Patch
) -> None:
    break_it, invariant, words, (faults, *sets) = case
    scenario = a_world(tmp_path, faults, *sets)
    run(scenario, check=True)
    break_it(monkeypatch)

    with pytest.raises(InvariantBroken) as caught:
        run(scenario, check=True)

    assert (caught.value.invariant, words in caught.value.what) == (invariant, True), caught.value
    assert "at the end" in words or caught.value.history.startswith("bio ")


def test_every_invariant_has_a_machine_that_breaks_it() -> None:
    assert {invariant for _, invariant, *_ in BROKEN} == set(INVARIANTS)


# --- how it ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_broken_invariant_is_one_line_an_exit_status_of_its_own_and_no_result(
    command: str, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    a_tag_is_given_up_twice(monkeypatch)
    files = ["--json", "r.json", "--html", "r.html"]
    more = ["--parquet", "r.parquet", "--timeline", "r.gz"] if command == "run" else ["--vary", "keyslots=4"]

    status = main([command, "keyslot-contention", "--set", "ios=500", "--check", "--quiet", *files, *more])

    assert (status, list(tmp_path.iterdir())) == (4, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"blkcrypto: broken invariant: {invariants.TAGS.name}: ")
    assert "bio " in line
    assert "got a tag at" in line


class HereOnly:
    """A sweep's workers, all in this process."""

    width: ClassVar = 1

    def __init__(self, _where: str) -> None:
        self.executor = ThreadPoolExecutor(1)

    def __enter__(self) -> "HereOnly":
        return self

    def __exit__(self, *_error: object) -> None:
        self.executor.shutdown()


def test_a_sweep_names_the_points_whose_invariants_broke(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "Workers", HereOnly)  # another process would not be broken
    a_tag_is_given_up_twice(monkeypatch)

    words = [
        "sweep",
        "keyslot-contention",
        "--set",
        "ios=500",
        "--check",
        "--vary",
        "keyslots=4",
        "--out",
        "s",
    ]
    status = main([*words, "--on", "local:1"])

    assert (status, list((tmp_path / "s").glob("points/*.json"))) == (4, [])
    assert invariants.TAGS.name in " ".join(capsys.readouterr().out.split())


def test_a_sweep_runs_points_again_that_were_not_checked(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "sweep",
        "keyslot-contention",
        "--set",
        "ios=500",
        "--vary",
        "keyslots=4",
        "--out",
        "s",
        "--quiet",
    ]
    assert main(words) == 0
    unchecked = (tmp_path / "s" / "results.json").read_text()
    assert main([*words, "--check"]) == 0
    assert invariants.TAGS.name not in unchecked
    assert invariants.TAGS.name in (tmp_path / "s" / "results.json").read_text()


def test_a_machine_that_checks_is_led_the_long_way(tmp_path: Path) -> None:
    machine = build.build(a_world(tmp_path, ""), check=True).machine
    assert isinstance(machine, CheckedMachine)
    assert not machine.is_plain
