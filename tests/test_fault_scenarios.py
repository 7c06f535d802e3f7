"""``[faults]`` in scenario files: how it is written, what is refused, what a run reports."""

from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from hwmodel.faultplan import Eviction, Hang, MediaError, PowerCut, ProgramFailure, Rates, Reset, Slowdown
from scenarios.load import load_scenario
from scenarios.report.json import run_json
from scenarios.run import run
from scenarios.schema import Scenario

MS = 1_000_000
HEAD = """
question = "What goes wrong?"
device = "ufs31-ice-raw"
[workload]
ios = 2000
read_share = 0.5
block_sizes = "4k"
jobs = 8
[layout]
files = 64
file_size = "1M"
extent = "64k"
span = "64M"
[run]
queue_depth = 4
payload = "verify"
"""
EVERYTHING = """
[[faults.resets]]
at = "5ms"
[[faults.program_failures]]
after_bios = 10
count = 3
error = "ETIMEDOUT"
takes = "2ms"
clobbers = true
[[faults.hangs]]
at = "8ms"
duration = "1ms"
timeout = "500us"
[[faults.media_errors]]
after_bios = 100
[[faults.power_cuts]]
after_bios = 1000
at = "1ms"
outage = "3ms"
tear = "4k"
[[faults.slowdowns]]
at = "9ms"
duration = "1ms"
percent = 300
[[faults.evictions]]
key = 2
after_bios = 200
[faults.rates]
resets_per_s = 50.0
media_error = 0.01
"""


def scenario(folder: Path, faults: str, *sets: str) -> Scenario:
    path = folder / "faulty.toml"
    path.write_text(HEAD + faults)
    return load_scenario(str(path), sets=sets)


def test_every_fault_can_be_written_with_units(tmp_path: Path) -> None:
    faults = scenario(tmp_path, EVERYTHING).faults
    assert faults.resets == (Reset(at_ns=5 * MS),)
    assert faults.program_failures == (
        ProgramFailure(after_bios=10, count=3, error="ETIMEDOUT", takes_ns=2 * MS, clobbers=True),
    )
    assert faults.hangs == (Hang(at_ns=8 * MS, duration_ns=1 * MS, timeout_ns=MS // 2),)
    assert faults.media_errors == (MediaError(after_bios=100),)
    assert faults.power_cuts == (PowerCut(after_bios=1000, at_ns=1 * MS, outage_ns=3 * MS, tear_bytes=4096),)
    assert faults.slowdowns == (Slowdown(at_ns=9 * MS, duration_ns=1 * MS, percent=300),)
    assert faults.evictions == (Eviction(key=2, after_bios=200),)
    assert faults.rates == Rates(resets_per_s=50.0, media_error=0.01)


@pytest.mark.parametrize(
    ("faults", "key"),
    [
        ('[[faults.program_failures]]\nerror = "ENOTTY"', "faults.program_failures[0].error"),
        ("[[faults.program_failures]]\ncount = 0", "faults.program_failures[0].count"),
        ('[[faults.hangs]]\nduration = "1ms"', "faults.hangs[0].timeout_ns"),
        ('[[faults.power_cuts]]\ntear = "700"', "faults.power_cuts[0].tear_bytes"),
        ('[[faults.slowdowns]]\nduration = "1ms"\npercent = 0', "faults.slowdowns[0].percent"),
        ("[faults.rates]\nmedia_error = 1.5", "faults.rates.media_error"),
        ("[faults.rates]\nresets_per_s = -1.0", "faults.rates.resets_per_s"),
        ("[[faults.resets]]\nwhen = 5", "faults.resets[0].when"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_by_its_key(tmp_path: Path, faults: str, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        scenario(tmp_path, faults)
    assert key in str(refused.value)


def test_a_run_reports_what_happened_and_its_checks_hold(tmp_path: Path) -> None:
    result = run(scenario(tmp_path, EVERYTHING))
    assert result.faults["power cuts"] == 1
    assert result.faults["failed programs"] >= 3
    assert result.errors["BLK_STS_TIMEOUT"] == result.faults["failed programs"]
    assert result.errors["BLK_STS_MEDIUM"] > 0
    assert all(result.checks.values())
    assert result.mismatches == 0


def test_equal_seeds_give_equal_results_whatever_is_encrypted_at_once(tmp_path: Path) -> None:
    texts = {
        run_json(run(scenario(tmp_path, EVERYTHING, f"batch_bytes={size}"))) for size in ("0", "64k", "8M")
    }
    assert len(texts) == 1


def test_a_run_without_faults_says_nothing_of_them(tmp_path: Path) -> None:
    result = run(scenario(tmp_path, ""))
    assert not result.faults
    assert "no flushed write is lost" not in result.checks
    assert '"faults"' not in run_json(result)


def test_a_reset_makes_its_assumed_duration_count(tmp_path: Path) -> None:
    without = run(scenario(tmp_path, "")).assumptions
    with_reset = run(scenario(tmp_path, '[[faults.resets]]\nat = "5ms"')).assumptions
    assert [line.split(" = ")[0] for line in with_reset if line not in without] == ["controller.reset_ns"]


@pytest.mark.parametrize("design", ["fscrypt-per-file", "extents-lightweight", "inline-data-a1"])
def test_bios_of_every_design_survive_programs_that_fail(design: str, tmp_path: Path) -> None:
    """A bio whose key cannot be programmed fails, and its DUN is not taken for anything else."""
    found = run(
        scenario(tmp_path, "[faults.rates]\nprogram_failure = 0.2\n", f"keys.design={design}", "ios=500")
    )
    assert found.errors
    assert found.faults["failed programs"] > 0
    assert found.mismatches == 0
    assert all(found.checks.values())
