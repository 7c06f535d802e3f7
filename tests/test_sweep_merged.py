"""Pooled distributions of a sweep: what all bios of several runs together looked like."""

import csv
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from scenarios.commands.sweep import sweep_command
from scenarios.load import load_scenario
from scenarios.results.distribution import Histogram
from scenarios.results.records import COLUMN, Records
from scenarios.run import run
from scenarios.sweeps.merged import merged, pooled_keys
from scenarios.sweeps.pool import Spread
from scenarios.sweeps.sweep import plan, run_points

# As a run's JSON names them; a quantity is the sum of these stages.
STAGES_OF = {
    "lat_ns": ("total",),
    "keyslot_wait_ns": ("keyslot_lock", "keyslot_idle", "keyslot_program"),
    "cpu_crypto_ns": ("cpu_crypto",),
    "device_ns": ("device_queue", "transfer", "media"),
}


class Kept:
    """Every bio of a run, raw."""

    def __init__(self) -> None:
        self.blocks: list[Records] = []

    def add(self, records: Records) -> None:
        self.blocks.append(records.copy())


def made(folder: Path, *, vary: str = "", warmup: int = 0) -> str:
    """A scenario over three volumes of different temper, at 8 KiB, both ways."""
    for name, ios, gap_us in (("a", 700, 90), ("b", 2500, 11), ("c", 90, 4000)):
        rng = np.random.default_rng(ios)
        draws = zip(rng.integers(0, 2, ios), rng.zipf(1.4, ios) % 2000, strict=True)
        rows = (f"{at * gap_us},{'RW'[op]},{16 * block},8192\n" for at, (op, block) in enumerate(draws))
        (folder / f"{name}.csv").write_text("".join(rows))
    path = folder / "fleet.toml"
    path.write_text(
        'question = "test"\ndevice = "ufs31-ice-raw"\nlayout = { file_size = "64k", extent_bytes = "64k" }\n'
        f"run = {{ warmup = {warmup} }}\n"
        '[workload]\ntrace = "a.csv"\ncolumns = "time=1:us,op=2,offset=3:sectors,size=4:bytes"\n' + vary
    )
    return str(path)


def volumes(folder: Path) -> tuple[str, ...]:
    return tuple(str(folder / f"{name}.csv") for name in "abc")


def pooled_raw(scenario: str, sets: Sequence[Sequence[str]], quantity: str) -> npt.NDArray[np.int64]:
    """The values of ``quantity`` of all bios of several runs, sorted."""
    kept = Kept()
    for one in sets:
        run(load_scenario(scenario, sets=one), sinks=[kept])
    records = np.concatenate(kept.blocks)
    return np.sort(sum((records[:, COLUMN[name]] for name in STAGES_OF[quantity]), np.int64(0)))


@pytest.mark.parametrize("quantity", list(STAGES_OF))
def test_pooled_percentiles_of_shards_and_repeats_are_those_of_all_values_within_the_stated_error(
    tmp_path: Path, quantity: str
) -> None:
    scenario = made(tmp_path)
    points = plan(scenario, {"workload.trace": volumes(tmp_path), "keyslots": ("2", "8")}, repeat=2)
    together = merged(run_points(points, tmp_path / "out", on="local:2"), tmp_path / "out")
    for one in together:
        sets = [
            (f"workload.trace={path}", f"keyslots={one.labels['keyslots']}", f"seed={seed}")
            for path in volumes(tmp_path)
            for seed in (1, 2)
        ]
        values = pooled_raw(scenario, sets, quantity)
        found = one.distributions["all"][quantity]
        exact = {p: values[max(1, math.ceil(p / 100 * len(values))) - 1] for p in found.percentile}
        assert (one.points, found.N, found.min, found.max) == (6, len(values), values[0], values[-1])
        assert found.mean == pytest.approx(values.mean(), rel=1e-12)
        assert found.stddev == pytest.approx(values.std(), rel=1e-6)
        assert found.relative_error == 2**-10
        assert all(abs(found.percentile[p] - exact[p]) <= exact[p] * found.relative_error for p in exact)
    assert [one.labels for one in together] == [{"keyslots": "2"}, {"keyslots": "8"}]


@given(
    values=st.lists(st.one_of(st.integers(0, 600), st.integers(0, 2**50)), min_size=1, max_size=200),
    parts=st.integers(1, 5),
)
def test_the_order_and_the_parts_make_no_difference(values: list[int], parts: int) -> None:
    whole, forwards, backwards = Spread(), Spread(), Spread()
    whole.add(np.array(values, np.int64))
    packed = []
    for part in np.array_split(np.array(values, np.int64), parts):
        spread = Spread()
        spread.add(part)
        packed.append(spread.packed())
    for one in packed:
        forwards.merge(one)
    for one in reversed(packed):
        backwards.merge(one)
    expected = whole.distribution()
    for found in (forwards.distribution(), backwards.distribution()):
        assert found.percentile == expected.percentile
        assert (found.N, found.min, found.max, found.mean) == (
            expected.N,
            expected.min,
            expected.max,
            expected.mean,
        )


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=300))
def test_a_percentile_is_within_the_stated_error_of_the_value_at_its_rank(values: list[int]) -> None:
    spread = Spread()
    spread.add(np.array(values, np.int64))
    ordered = sorted(values)
    for percentage, found in spread.distribution().percentile.items():
        exact = ordered[max(1, math.ceil(percentage / 100 * len(ordered))) - 1]
        assert abs(found - exact) <= exact * Histogram.relative_error


def test_counts_of_a_group_are_the_sums_of_its_points(tmp_path: Path) -> None:
    points = plan(made(tmp_path), {"workload.trace": volumes(tmp_path)})
    ended = run_points(points, tmp_path / "out", on="local:2")
    (together,) = merged(ended, tmp_path / "out")
    sums: Counter[str] = Counter()
    for one in ended:
        assert one.result is not None
        slots, both = one.result["keyslots"], one.result["all"]
        assert isinstance(slots, dict)
        assert isinstance(both, dict)
        sums.update(programs=slots["programs"], hits=slots["hits"], media=both["stage_ns"]["media"])
        sums.update(ios=both["total_ios"], bytes=both["io_bytes"])
    assert sums == {
        "programs": together.keyslots["programs"],
        "hits": together.keyslots["hits"],
        "media": together.stage_ns["all"]["media"],
        "ios": 700 + 2500 + 90,
        "bytes": 8192 * (700 + 2500 + 90),
    }


def test_the_warm_up_is_left_out_of_pools_as_of_results(tmp_path: Path) -> None:
    points = plan(made(tmp_path, warmup=100), {"workload.trace": volumes(tmp_path)[:2]})
    (together,) = merged(run_points(points, tmp_path / "out", on="local:2"), tmp_path / "out")
    assert together.ios["all"] == together.distributions["all"]["lat_ns"].N == 600 + 2400


def test_the_command_writes_pooled_rows_that_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    scenario = made(tmp_path)
    files = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        arguments = [scenario, "--vary", "keyslots=1,4", "--repeat", "3", "--quiet"]
        arguments += ["--out", str(folder), "--on", f"local:{workers}"]
        status = CliRunner().invoke(sweep_command, arguments, standalone_mode=False)
        assert status.return_value == 0
        files.append([(folder / name).read_bytes() for name in ("results.json", "merged.csv")])
    assert files[0] == files[1]
    together = json.loads(files[0][0])["merged"]
    assert [(one["set"], one["points"], one["missing"]) for one in together] == [
        ({"keyslots": "1"}, 3, 0),
        ({"keyslots": "4"}, 3, 0),
    ]
    rows = list(csv.DictReader(files[0][1].decode().splitlines()))
    assert rows[0]["quantity"] == "lat_ns"
    assert int(rows[0]["p99"]) == together[0]["read"]["lat_ns"]["percentile"]["99.000000"]


def test_points_of_other_keys_are_pooled_on_request(tmp_path: Path) -> None:
    points = plan(
        made(tmp_path), {"keyslots": ("2", "4"), "design": ("fscrypt-per-file", "fscrypt-iv-ino-lblk-64")}
    )
    ended = run_points(points, tmp_path / "out", on="local:2")
    assert merged(ended, tmp_path / "out") == []
    by_slots = merged(ended, tmp_path / "out", pooled_keys(["design"]))
    assert [(one.labels, one.points) for one in by_slots] == [({"keyslots": "2"}, 2), ({"keyslots": "4"}, 2)]


def test_a_point_that_failed_is_missing_from_its_group(tmp_path: Path) -> None:
    traces = (*volumes(tmp_path)[:1], str(tmp_path / "gone.csv"))
    points = plan(made(tmp_path), {"workload.trace": traces})
    (together,) = merged(run_points(points, tmp_path / "out", on="local:1"), tmp_path / "out")
    assert (together.points, together.missing, together.ios["all"]) == (1, 1, 700)


def test_a_key_to_pool_over_must_exist() -> None:
    with pytest.raises(BadInput, match="keyslotz"):
        pooled_keys(["keyslotz"])


def test_no_two_columns_of_a_table_have_one_name(tmp_path: Path) -> None:
    scenario = made(tmp_path)
    arguments = [
        scenario,
        "--vary",
        "keyslots=1,4",
        "--vary",
        "seed=1,2",
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    CliRunner().invoke(sweep_command, arguments, standalone_mode=False)
    for name in ("results.csv", "merged.csv"):
        header = (tmp_path / "out" / name).read_text().splitlines()[0].split(",")
        assert len(header) == len(set(header))


# --- shards -------------------------------------------------------------------------------------------------


def test_a_pattern_of_traces_is_a_point_per_file(tmp_path: Path) -> None:
    points = plan(made(tmp_path), {"workload.trace": (str(tmp_path / "[ab].csv"),)})
    assert [point.labels for point in points] == [
        {"workload.trace": str(tmp_path / name)} for name in ("a.csv", "b.csv")
    ]


def test_every_volume_of_a_trace_is_a_point_and_together_they_are_the_trace(tmp_path: Path) -> None:
    trace = tmp_path / "fleet.csv"
    trace.write_text("".join(f"{n % 7 % 3},R,{4096 * n},4096,{1000 * n}\n" for n in range(700)))
    scenario = made(tmp_path)
    sets = [f"workload.trace={trace}", "workload.columns=volume=1,op=2,offset=3:bytes,size=4:bytes,time=5:us"]
    points = plan(scenario, {"workload.volume": ("*",)}, sets=sets)
    (together,) = merged(run_points(points, tmp_path / "out", on="local:2"), tmp_path / "out")
    assert [point.labels["workload.volume"] for point in points] == ["0", "1", "2"]
    assert together.ios["all"] == 700


@pytest.mark.parametrize(
    ("vary", "what"),
    [
        ({"workload.trace": ("nothing-*.csv",)}, "no file has a name like this"),
        ({"workload.volume": ("*",)}, "tells no volumes"),
    ],
)
def test_a_pattern_that_stands_for_nothing_is_refused(
    tmp_path: Path, vary: dict[str, tuple[str, ...]], what: str
) -> None:
    with pytest.raises(BadInput, match=what):
        plan(made(tmp_path), vary)
