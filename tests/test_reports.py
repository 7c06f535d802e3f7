"""What a result looks like: JSON, the terminal, side by side."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from blkcrypto.base.errors import BadInput
from scenarios.cli import main
from scenarios.compare import Point
from scenarios.report.answer import answer
from scenarios.report.compare import difference, print_compare, stage_differences
from scenarios.report.console import print_run
from scenarios.report.files import check_target, write_text
from scenarios.report.json import compare_json, run_json
from scenarios.results.result import (
    PERCENTILES,
    STAGES,
    CpuResult,
    DirectionResult,
    Distribution,
    KeyslotResult,
    RunResult,
)


def distribution(mean: float, count: int = 100, halfwidth: float = 1000.0) -> Distribution:
    percentile = {percentage: round(mean * (1 + percentage / 100)) for percentage in PERCENTILES}
    return Distribution(
        N=count,
        min=round(mean / 2),
        max=round(mean * 3),
        mean=mean,
        stddev=mean / 4,
        mean_halfwidth95=halfwidth,
        percentile=percentile,
    )


NOTHING = Distribution(N=0, min=0, max=0, mean=0.0, stddev=0.0, mean_halfwidth95=0.0, percentile={})


def direction(count: int, stages: dict[str, int]) -> DirectionResult:
    """``count`` bios of 4 KiB in one second, with these mean stage times in ns."""
    mean = float(sum(stages.values()))
    return DirectionResult(
        total_ios=count,
        io_bytes=count * 4096,
        iops=float(count),
        bw_bytes=count * 4096.0,
        lat_ns=distribution(mean, count) if count else NOTHING,
        keyslot_wait_ns=distribution(stages.get("keyslot_lock", 0), count) if count else NOTHING,
        cpu_crypto_ns=distribution(stages.get("cpu_crypto", 0), count) if count else NOTHING,
        device_ns=distribution(stages.get("media", 0), count) if count else NOTHING,
        stage_ns={stage: stages.get(stage, 0) * count for stage in STAGES},
    )


STAGE_TIMES = {"submit": 2_000, "keyslot_lock": 8_000, "keyslot_program": 10_000, "media": 80_000}


def result(stages: dict[str, int] = STAGE_TIMES, writes: int = 0) -> RunResult:
    """100 reads, and ``writes``, of which three quarters found their key in a slot."""
    return RunResult(
        scenario="hand-made",
        question="What does a hand-made result look like?",
        device="ufs31-ice-raw",
        design="fscrypt-per-file",
        key_type="raw",
        engine="inline",
        seed=7,
        payload="none",
        version="1.2.3",
        assumptions=("media.units = 8 (assumption: nobody publishes it)",),
        bios=100 + writes,
        rows=100 + writes,
        splits=4,
        merges=5,
        read_bytes=409_600,
        write_bytes=4096 * writes,
        sim_time_ns=1_000_000_000,
        inflight_mean=0.01,
        errors={},
        skipped={"wrapped": 2, "cut": 1},
        directions={
            "read": direction(100, stages),
            "write": direction(writes, stages),
            "all": direction(100 + writes, stages),
        },
        keyslots=KeyslotResult(
            count=32,
            acquires=100,
            hits=75,
            programs=25,
            evicts=0,
            waits=3,
            lock_waits=40,
            distinct_keys=50,
            lock_held_ns=2_000_000,
        ),
        cpu=CpuResult(cpus=8, crypto_ns=0, setkey_ns=0, submit_ns=200_000, program_ns=1_000_000),
        verified_bytes=0,
        mismatches=0,
        medium_sha256="",
        design_on_disk_bytes=2000,
        design_in_memory_bytes=30_000,
        design_derivations=51,
        key_ops={"prepare": (1, 1_000_000)},
        files=50,
        checks={"stage times sum to each bio's total": True},
    )


def printed(what: RunResult) -> str:
    file = io.StringIO()
    print_run(Console(file=file, width=80), what)
    return file.getvalue()


def printed_comparison(points: list[Point]) -> str:
    file = io.StringIO()
    print_compare(Console(file=file, width=80), points)
    return file.getvalue()


def point(slots: int, what: RunResult | None, refused: str = "") -> Point:
    return Point(labels={"device.keyslots.count": str(slots)}, result=what, refused=refused)


# The keys promised in the design: they stay from the first release on.
DISTRIBUTION = {"min", "max", "mean", "stddev", "N", "percentile"}
DIRECTION = {
    "total_ios",
    "io_bytes",
    "iops",
    "bw_bytes",
    "lat_ns",
    "keyslot_wait_ns",
    "cpu_crypto_ns",
    "device_ns",
}
PROMISED = {
    "blkcrypto": {"version", "assumptions"},
    "totals": {"bios", "read_bytes", "write_bytes", "sim_time_ns", "errors"},
    "read": DIRECTION,
    "write": DIRECTION,
    "all": DIRECTION,
    "keyslots": {"count", "acquires", "hits", "programs", "evicts", "waits", "distinct_keys"},
    "cpu": {"crypto_ns", "setkey_ns", "submit_ns"},
    "data": {"verified_bytes", "mismatches"},
    "design": {"on_disk_bytes", "in_memory_bytes", "derivations"},
}


@pytest.mark.parametrize("section", PROMISED)
def test_json_has_the_promised_keys(section: str) -> None:
    assert PROMISED[section] <= set(json.loads(run_json(result()))[section])


@pytest.mark.parametrize("name", ["lat_ns", "keyslot_wait_ns", "cpu_crypto_ns", "device_ns"])
def test_json_distributions_have_the_promised_keys(name: str) -> None:
    assert set(json.loads(run_json(result()))["read"][name]) >= DISTRIBUTION


def test_json_percentiles_are_spelt_as_fio_spells_them() -> None:
    percentile = json.loads(run_json(result()))["read"]["lat_ns"]["percentile"]
    assert {"50.000000", "99.000000", "99.900000", "99.990000"} <= set(percentile)


def test_json_names_scenario_and_seed() -> None:
    data = json.loads(run_json(result()))
    assert (data["scenario"], data["seed"]) == ("hand-made", 7)


def test_json_does_not_depend_on_the_order_in_which_things_were_counted() -> None:
    first, second = result(), replace(result(), skipped={"cut": 1, "wrapped": 2})
    assert run_json(first) == run_json(second)


def test_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        run_json(replace(result(), inflight_mean=math.nan))


def test_json_of_a_comparison_says_what_was_set_and_what_was_refused() -> None:
    rows = json.loads(compare_json([point(8, result()), point(0, None, "no slots")]))["points"]
    assert rows[0]["set"] == {"device.keyslots.count": "8"}
    assert rows[0]["result"]["seed"] == 7
    assert (rows[1]["result"], rows[1]["refused"]) == (None, "no slots")


LONG = replace(
    result(), question="Why " + "very " * 60 + "long?", assumptions=("media.units = 8 " + "x" * 300,)
)


@pytest.mark.parametrize("what", [result(), result(writes=123_456_789), LONG], ids=["reads", "both", "long"])
def test_the_report_fits_80_columns(what: RunResult) -> None:
    assert max(len(line) for line in printed(what).splitlines()) <= 80


@pytest.mark.parametrize("count", range(1, 9))
def test_a_comparison_fits_80_columns(count: int) -> None:
    points = [point(10**6 * slots, result()) for slots in range(count)]
    assert max(len(line) for line in printed_comparison(points).splitlines()) <= 80


def test_the_report_is_plain_text_where_there_is_no_terminal() -> None:
    assert "\x1b" not in printed(result())


def test_lines_of_the_report_do_not_end_in_spaces() -> None:
    assert all(line == line.rstrip() for line in printed(result()).splitlines())


def test_the_report_gives_each_stage_its_mean_and_its_share() -> None:
    line = next(line for line in printed(result()).splitlines() if line.startswith("keyslot program"))
    assert line.split()[2:6] == ["10", "us", "10.0", "%"]


def test_the_report_leaves_out_stages_nobody_entered() -> None:
    assert "cpu crypto" not in printed(result())


def test_the_report_leaves_out_a_direction_without_bios() -> None:
    assert "write" not in printed(result()).partition("Counts")[0]


def test_the_report_shouts_a_check_that_failed() -> None:
    failed = replace(result(), checks={"nothing is left in flight": False})
    assert "CHECK FAILED: nothing is left in flight" in printed(failed)


def test_the_report_survives_a_run_in_which_nothing_completed() -> None:
    empty = direction(0, {})
    what = replace(result(), bios=0, directions=dict.fromkeys(("read", "write", "all"), empty))
    assert "No bio was measured" in printed(what)


def test_the_answer_says_how_much_keyslots_took_and_which_part_most() -> None:
    # 18 of 100 us, of which 10 programming.
    assert "keyslots took 18.0 % of the time, 18 us a bio, mostly programming" in answer(result())


def test_the_answer_says_when_keyslots_took_nothing() -> None:
    assert "no time went to keyslots" in answer(result({"media": 80_000}))


def test_the_answer_counts_data_that_did_not_read_back() -> None:
    broken = replace(result(), payload="verify", verified_bytes=4096, mismatches=3)
    assert "3 data units did NOT read back as written" in answer(broken)


def test_the_answer_counts_failed_bios_by_status() -> None:
    assert "5 BLK_STS_IOERR" in answer(replace(result(), errors={"BLK_STS_IOERR": 5}))


SLOWER = {"submit": 2_000, "keyslot_lock": 38_000, "keyslot_program": 10_000, "media": 81_000}


def test_the_difference_of_two_means_has_the_interval_of_both() -> None:
    # 131 - 100 us; two independent half-widths of 1 us.
    assert difference(result(SLOWER), result()) == pytest.approx((31_000.0, 1000 * math.sqrt(2)))


def test_differences_by_stage_sum_to_that_of_the_means() -> None:
    changes = stage_differences(result(SLOWER), result())
    assert {stage: change for stage, change in changes.items() if change} == {
        "keyslot_lock": 30_000,
        "media": 1_000,
    }


def test_a_comparison_says_where_the_difference_comes_from() -> None:
    text = " ".join(printed_comparison([point(32, result()), point(8, result(SLOWER))]).split())
    assert "keyslots 8 against keyslots 32: +31 us ± 1.41 us a bio (+31%), mostly keyslot lock." in text


def test_a_difference_within_its_interval_is_none() -> None:
    hardly = result({**STAGE_TIMES, "media": 80_500})
    assert "no difference beyond the uncertainty" in printed_comparison(
        [point(32, result()), point(8, hardly)]
    )


def test_a_comparison_says_what_was_refused_and_why() -> None:
    assert "keyslots 0: EOPNOTSUPP" in printed_comparison([point(8, result()), point(0, None, "EOPNOTSUPP")])


def test_a_comparison_whose_first_point_was_refused_starts_from_the_next() -> None:
    points = [point(0, None, "no"), point(32, result()), point(8, result(SLOWER))]
    assert "keyslots 8 against keyslots 32" in printed_comparison(points)


def test_a_result_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    target.write_text("old", encoding="utf-8")
    write_text(str(target), "new")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    assert target.read_text(encoding="utf-8") == "new"


def test_a_result_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(BadInput, match="cannot write"):
        write_text(str(tmp_path / "r.json"), "new")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("name", ["", "none/r.json"])
def test_a_result_file_without_a_place_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="folder"):
        check_target(str(tmp_path / name))


def test_a_figure_of_a_comparison_has_a_bar_per_stage_and_equal_bytes_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra 'plot'")
    arguments = [
        "compare",
        "keyslot-contention",
        "--vary",
        "keyslots=8,32",
        "--set",
        "workload.ios=2000",
        "-q",
    ]
    for name in ("a.svg", "b.svg"):
        assert main([*arguments, "--plot", str(tmp_path / name)]) == 0
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    assert all(f">{word}<" in drawn for word in ("media", "keyslot program", "8", "32"))
