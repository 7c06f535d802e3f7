"""Which part of a trace is replayed, and how fast: pace, scale, range, warm-up, closed loop, sample."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from blkcrypto.base.errors import BadInput
from scenarios.cli import cli
from scenarios.load import replay_scenario
from scenarios.results.records import COLUMN, Records
from scenarios.run import run

COLUMNS = "time=1:us,op=2,offset=3:bytes,size=4:bytes"


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A hundred reads of 4 KiB, one every 10 ms, each from another file of 1 MiB."""
    path = tmp_path / "trace.csv"
    path.write_text("".join(f"{10_000 * at},R,{at << 20},4096\n" for at in range(100)))
    return str(path)


def replayed(trace: str, *options: str) -> dict[str, Any]:
    arguments = ["replay", trace, "--columns", COLUMNS, "--file-size", "1M", *options, "--json", "-"]
    outcome = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert outcome.exception is None, outcome.exception
    result: dict[str, Any] = json.loads(outcome.stdout)
    return result


class Kept:
    def __init__(self) -> None:
        self.blocks: list[Records] = []

    def add(self, records: Records) -> None:
        self.blocks.append(records.copy())


def arrivals(trace: str, **options: Any) -> list[int]:
    """Arrival times in ns: completion less total, of every bio."""
    kept = Kept()
    run(replay_scenario(trace, columns=COLUMNS, file_size=1 << 20, **options), sinks=[kept])
    records = np.vstack(kept.blocks)
    return sorted((records[:, COLUMN["done_ns"]] - records[:, COLUMN["total"]]).tolist())


def test_bios_arrive_when_they_did_in_the_recording(trace: str) -> None:
    assert arrivals(trace) == [10_000_000 * at for at in range(100)]


def test_the_time_scale_multiplies_recorded_gaps(trace: str) -> None:
    assert arrivals(trace, time_scale=0.25) == [2_500_000 * at for at in range(100)]


def test_a_time_range_replays_what_lies_in_it_from_its_begin(trace: str) -> None:
    assert arrivals(trace, time_range=(95_000_000, 140_000_000)) == [
        5_000_000 + 10_000_000 * at for at in range(4)
    ]
    result = replayed(trace, "--time-range", "95ms..140ms")
    assert (result["totals"]["bios"], result["totals"]["skipped"]["before_range"]) == (4, 10)


@pytest.mark.parametrize(("written", "bios"), [("900ms..", 10), ("..50ms", 5)])
def test_either_end_of_a_range_may_be_left_out(trace: str, written: str, bios: int) -> None:
    assert replayed(trace, "--time-range", written)["totals"]["bios"] == bios


@pytest.mark.parametrize("written", ["10ms", "5ms..5ms", "10..20", "9ms..3ms"])
def test_a_range_that_is_none_is_refused(trace: str, written: str) -> None:
    outcome = CliRunner().invoke(cli, ["replay", trace, "--columns", COLUMNS, "--time-range", written])
    assert outcome.exit_code != 0


def test_as_soon_as_possible_ignores_recorded_times_and_keeps_the_queue_full(trace: str) -> None:
    result = replayed(trace, "--pace", "asap", "--queue-depth", "4")
    # 990 ms were recorded; four at a time are in the system but for the last ones.
    assert result["totals"]["sim_time_ns"] < 100_000_000
    assert 3.5 < result["totals"]["inflight_mean"] <= 4


def test_in_a_closed_loop_a_bio_arrives_when_another_is_done(trace: str) -> None:
    kept = Kept()
    run(replay_scenario(trace, columns=COLUMNS, file_size=1 << 20, queue_depth=3), sinks=[kept])
    records = np.vstack(kept.blocks)
    done = records[:, COLUMN["done_ns"]]
    arrived = np.sort(done - records[:, COLUMN["total"]])
    assert arrived.tolist() == [0, 0, 0, *np.sort(done)[:-3].tolist()]


def test_the_warm_up_is_left_out_of_figures_but_not_of_the_count(trace: str) -> None:
    result = replayed(trace, "--warmup", "40")
    assert (result["totals"]["bios"], result["all"]["total_ios"]) == (100, 60)


def test_a_sample_of_files_is_replayed_and_the_rest_counted(trace: str) -> None:
    result = replayed(trace, "--sample-files", "0.3")
    totals = result["totals"]
    assert 10 < totals["bios"] < 55
    assert totals["bios"] + totals["skipped"]["not_sampled"] == 100


def test_the_sorting_window_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text("30,R,0,4096\n10,R,4096,4096\n20,R,8192,4096\n")
    assert replayed(str(path))["totals"]["skipped"] == {"time_backwards": 2}
    assert replayed(str(path), "--sort-window", "8")["totals"]["skipped"] == {"reordered": 2}


@pytest.mark.parametrize(
    ("key", "rows", "message"),
    [
        ("workload.time_backwards=error", "5,R,0,4096\n1,R,0,4096\n", "earlier than one before"),
        ("workload.zero_size=error", "5,R,0,4096\n6,R,0,0\n", "no bytes"),
        ("layout.past_end=error", "5,R,1152921504606846976,4096\n", "past the end"),
    ],
)
def test_each_rule_can_be_made_an_error(tmp_path: Path, key: str, rows: str, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(rows)
    with pytest.raises(BadInput, match=message):
        run(replay_scenario(str(path), columns=COLUMNS, sets=[key]))
