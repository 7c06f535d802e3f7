"""The keyslot curve against literal tables, exhaustive search, and runs in simulated time."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import parse_size
from scenarios.commands.curve import curve_command
from scenarios.curves.accesses import Accesses
from scenarios.curves.compiled import compiled
from scenarios.curves.curve import Curve, curve, curve_at, curve_scenario, sampled_curve
from scenarios.curves.lru import LruTable
from scenarios.curves.optimal import OptimalCurve, move_stack
from scenarios.curves.reuse import Int64, LruCurve
from scenarios.filekeys import FileKeys
from scenarios.load import replay_scenario
from scenarios.run import run
from scenarios.schema import Scenario
from scenarios.traces.batch import TraceBatch
from tests.oracle.lru import lru_hits
from tests.oracle.opt import belady_hits, most_hits
from tests.oracle.stack_distance import hits_by_slots

RECORDED = "builtin:ext4-db-log-scan.ftrace.txt.xz"
CLOUDPHYSICS = Path(__file__).parents[2] / "shared/traces/public/cloudphysics-io.csv.xz"
MOST = 64

references = st.lists(st.integers(0, 9), max_size=60)


def real_trace(name: str) -> Scenario:
    """A trace as a scenario whose files are small enough for more keys than slots."""
    if name == "recorded":
        return replay_scenario(RECORDED, file_size=parse_size("2M"))
    if not CLOUDPHYSICS.exists():
        pytest.skip(f"no trace {CLOUDPHYSICS}")
    return replay_scenario(str(CLOUDPHYSICS), file_size=parse_size("16M"), limit=8000)


def keys_used(scenario: Scenario) -> list[int]:
    used = Accesses(scenario)
    numbers = [number for batch in used.key_numbers() for number in batch.tolist()]
    used.close()
    return numbers


def lru_curve(keys: Sequence[int], most: int, borders: Sequence[int] = ()) -> list[int]:
    found = LruCurve(most)
    for part in np.split(np.array(keys, np.int64), sorted(borders)):
        found.add(part)
    return [int(hits) for hits in found.hits()]


def optimal_curve(keys: Sequence[int], most: int, borders: Sequence[int] = ()) -> list[int]:
    with OptimalCurve(most) as found:
        for part in np.split(np.array(keys, np.int64), sorted(borders)):
            found.add(part)
        return [int(hits) for hits in found.hits()]


@pytest.mark.parametrize("name", ["recorded", "cloudphysics"])
def test_on_a_real_trace_the_curve_is_that_of_a_literal_table_at_every_number_of_slots(name: str) -> None:
    scenario = real_trace(name)
    used = keys_used(scenario)
    assert len(set(used)) > MOST
    assert list(curve(scenario, max_keyslots=MOST).hits) == hits_by_slots(used, MOST)


@pytest.mark.parametrize("name", ["recorded", "cloudphysics"])
def test_on_a_real_trace_the_optimum_is_beladys_at_every_number_of_slots(name: str) -> None:
    scenario = real_trace(name)
    used = keys_used(scenario)
    expected = tuple(belady_hits(slots, used) for slots in range(1, MOST + 1))
    assert curve(scenario, max_keyslots=MOST).optimal_hits == expected


@pytest.mark.parametrize("design", ["fscrypt-per-file", "fscrypt-iv-ino-lblk-64"])
@pytest.mark.parametrize("keyslots", [1, 2, 5, 32])
def test_with_one_bio_in_flight_a_run_hits_as_often_as_the_curve_says(keyslots: int, design: str) -> None:
    scenario = replay_scenario(
        RECORDED,
        file_size=parse_size("2M"),
        design=design,
        keyslots=keyslots,
        queue_depth=1,
        sets=["keys.master_keys=7"],
    )
    slots = run(scenario).keyslots
    found = curve(scenario, max_keyslots=32)
    assert (slots.acquires, slots.hits) == (found.accesses, found.hits[keyslots - 1])


def test_bios_cut_at_the_wrap_of_their_dun_count_as_the_bios_they_become() -> None:
    # Four files of 2**32 data units each: every one has the wrap of IV_INO_LBLK_32 somewhere inside.
    sets = ["layout.files=4", "layout.extent_bytes=1G", "device.media.capacity_bytes=64T", "master_keys=4"]
    scenario = replay_scenario(
        "-",
        design="fscrypt-iv-ino-lblk-32",
        file_size=parse_size("16T"),
        keyslots=2,
        queue_depth=1,
        sets=sets,
    )
    _, hashed = FileKeys(scenario.keys, seed=scenario.run.seed, keywrap=None).look_up(
        np.arange(4), np.zeros(4, np.int64)
    )
    rng = np.random.default_rng(1)
    file = rng.integers(0, 4, 400)
    unit = 2**32 - hashed.astype(np.int64)[file] - rng.integers(0, 12, 400)
    batch = TraceBatch(
        time_ns=np.zeros(400, np.int64),
        op=rng.integers(0, 2, 400).astype(np.uint8),
        sector=unit * 8,
        nbytes=rng.integers(1, 16, 400) * 4096,
        stream=np.zeros(400, np.int32),
        file=file.astype(np.int32),
    )
    slots = run(scenario, source=[batch]).keyslots
    found = curve(scenario, source=[batch], max_keyslots=4)
    assert found.accesses > 400
    assert (slots.acquires, slots.hits) == (found.accesses, found.hits[1])


def test_a_generator_is_curved_as_it_runs(tmp_path: Path) -> None:
    scenario = generated(tmp_path, ios=5000, files=50)
    slots = run(scenario).keyslots
    assert curve(scenario, max_keyslots=32).hits[31] == slots.hits


@given(references, st.lists(st.integers(0, 60), max_size=4), st.integers(1, 12))
def test_the_curve_of_any_sequence_is_the_literal_one_however_it_is_batched(
    keys: list[int], borders: list[int], most: int
) -> None:
    assert lru_curve(keys, most, borders) == hits_by_slots(keys, most)


@given(st.lists(st.integers(0, 5), max_size=20), st.lists(st.integers(0, 20), max_size=3))
def test_no_choice_of_victims_hits_more_often_than_the_optimum_and_one_reaches_it(
    keys: list[int], borders: list[int]
) -> None:
    assert optimal_curve(keys, 5, borders) == [most_hits(slots, keys) if keys else 0 for slots in range(1, 6)]


@given(references, st.lists(st.integers(0, 60), max_size=4), st.integers(1, 12))
def test_the_hits_of_one_number_of_slots_are_those_of_the_literal_table(
    keys: list[int], borders: list[int], slots: int
) -> None:
    table = LruTable(slots)
    for part in np.split(np.array(keys, np.int64), sorted(borders)):
        table.add(part)
    assert table.hits() == lru_hits(slots, keys)


def zipf_keys(count: int, *, distinct: int, seed: int = 5) -> Int64:
    """Popular and rare keys, with a working set that moves."""
    rng = np.random.default_rng(seed)
    return (rng.zipf(1.3, count) + np.arange(count) // 3000) % distinct


@pytest.mark.parametrize("distinct", [40, 1 << 20, 1 << 40])
def test_blocks_follow_one_another_without_a_seam(distinct: int) -> None:
    # More than two blocks of 65,535 accesses; key numbers of one, two and three 16-bit words.
    keys = zipf_keys(150_000, distinct=40) * (distinct // 40)
    assert lru_curve(keys.tolist(), 16)[15] == lru_hits(16, keys.tolist())


def test_the_optimum_has_no_seam_between_blocks_either() -> None:
    # More than one block of 262,144 accesses, repeats left out.
    keys = zipf_keys(600_000, distinct=30)
    assert optimal_curve(keys.tolist(), 6)[5] == belady_hits(6, keys.tolist())


def test_one_number_of_keyslots_agrees_with_all_of_them() -> None:
    scenario = real_trace("recorded")
    assert curve_at(scenario, 7).hits[0] == curve(scenario, max_keyslots=9, optimal=False).hits[6]


@pytest.mark.parametrize("slots", [1, 2, 16, 32, 300, 512, 600])
@pytest.mark.parametrize("pattern", ["zipf", "uniform", "scan", "sweeps"])
def test_one_number_of_slots_is_exact_for_every_kind_of_sequence(pattern: str, slots: int) -> None:
    # More than one block of 65,535; the scan uses one key more than most tables hold, over and over again.
    rng = np.random.default_rng(3)
    keys = {
        "zipf": zipf_keys(90_000, distinct=900),
        "uniform": rng.integers(0, 400, 90_000),
        "scan": np.arange(90_000) % 33,
        "sweeps": np.concatenate([np.arange(200) % size for size in (40, 90, 200)] * 150),
    }[pattern]
    table = LruTable(slots)
    table.add(keys)
    assert table.hits() == lru_hits(slots, keys.tolist())


@pytest.mark.parametrize("slots", [1, 3, 100])
def test_a_table_takes_keys_numbered_higher_than_any_before(slots: int) -> None:
    keys = zipf_keys(3000, distinct=5000)
    table = LruTable(slots)
    for part in np.array_split(np.sort(keys), 7):
        table.add(part)
    assert table.hits() == lru_hits(slots, np.sort(keys).tolist())


def test_compiled_loops_do_what_the_interpreter_does() -> None:
    pytest.importorskip("numba", reason="the extra fast is not installed")
    next_uses = np.array([2, 5, 4, 9, 6, 8, 7, 9], np.int64)  # a b a c a b a d, 9 is never
    outcomes = []
    for loop in (move_stack, compiled(move_stack)):
        assert loop is not None
        stack, places = np.zeros(3, np.int64), np.zeros(4, np.int64)
        outcomes.append((loop(next_uses, 0, stack, 0, places), stack.tolist(), places.tolist()))
    assert outcomes[0] == outcomes[1]


# --- samples ------------------------------------------------------------------------------------------------


def batch_of_files(files: Int64) -> TraceBatch:
    """Reads of the first data unit of each of ``files``."""
    count = len(files)
    return TraceBatch(
        time_ns=np.arange(count),
        op=np.zeros(count, np.uint8),
        sector=np.zeros(count, np.int64),
        nbytes=np.full(count, 4096),
        stream=np.zeros(count, np.int32),
        file=files.astype(np.int32),
    )


def generated(tmp_path: Path, *, ios: int, files: int) -> Scenario:
    path = tmp_path / "made.toml"
    path.write_text(
        f'question = "test"\ndevice = "ufs31-ice-raw"\nworkload = {{ ios = {ios}, zipf = 0.9 }}\n'
        f"layout = {{ files = {files} }}\nrun = {{ queue_depth = 1 }}\n"
    )
    return curve_scenario(str(path))


def test_a_sample_knows_the_keys_used_before_each_stretch(tmp_path: Path) -> None:
    # 40 files in turn: with 40 slots all but the first 40 bios of the workload hit, with 39 none does.
    batches = [
        batch_of_files(np.arange(start, start + 65_536) % 40) for start in range(0, 65_536 * 10, 65_536)
    ]
    found = sampled_curve(generated(tmp_path, ios=1, files=40), 0.25, max_keyslots=40, source=batches)
    assert (found.hits[38], found.accesses - found.hits[39] in (0, 40)) == (0, True)


def test_a_sample_is_as_near_the_truth_as_it_says(tmp_path: Path) -> None:
    scenario = generated(tmp_path, ios=2_000_000, files=200)
    whole = curve(scenario, max_keyslots=MOST, optimal=False)
    part = sampled_curve(scenario, 0.2, max_keyslots=MOST)
    errors = np.abs(np.array(part.miss_ratios) - np.array(whole.miss_ratios))
    # Neighbours err together, so all of 64 stay inside 95 % intervals, or a run of them does not: with twice
    # the interval, an error of 3.9 standard deviations, none does.
    assert (errors <= 2 * np.array(part.halfwidth95)).all()


def test_a_trace_too_short_for_a_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too few"):
        sampled_curve(generated(tmp_path, ios=100_000, files=50), 0.5)


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_writes_every_number_of_keyslots_as_json() -> None:
    outcome = CliRunner().invoke(curve_command, [RECORDED, "--max-keyslots", "12", "--json", "-"])
    (only,) = json.loads(outcome.stdout)["curves"]
    assert [row["count"] for row in only["keyslots"]] == list(range(1, 13))


def test_more_keyslots_never_miss_more_and_the_optimum_never_misses_more_than_lru() -> None:
    found: Curve = curve(real_trace("recorded"), max_keyslots=MOST)
    assert found.optimal_hits is not None
    ordered = all(less <= more for less, more in pairwise(found.hits))
    assert ordered
    assert all(lru <= best for lru, best in zip(found.hits, found.optimal_hits, strict=True))


def test_a_design_without_keys_has_no_curve() -> None:
    with pytest.raises(BadInput, match="no key is used"):
        curve(replay_scenario(RECORDED, design="none"))


def test_equal_curves_are_drawn_with_equal_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    pictures = []
    for name in ("one.svg", "two.svg"):
        target = tmp_path / name
        CliRunner().invoke(
            curve_command, [RECORDED, "--quiet", "--plot", str(target)], catch_exceptions=False
        )
        pictures.append(target.read_bytes())
    assert pictures[0] == pictures[1]
