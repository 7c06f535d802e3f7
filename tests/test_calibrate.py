"""``blkcrypto calibrate``: what made a recording is found again, and what is held back judges it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from hwmodel.device import Media, Quantiles
from hwmodel.media import EmpiricalTimes
from scenarios.calibration.calibrate import Calibration, calibrate
from scenarios.calibration.mediafit import fit_media
from scenarios.calibration.recording import HoldBack, Recording, held_back_rows, read_recording
from scenarios.calibration.servicetimes import WHOLE, Structure, service_times
from scenarios.commands.calibrate import calibrate as command
from scenarios.load import load_device, shipped_devices
from scenarios.report.device_file import device_toml
from tests.machines import US, device, fig
from tests.oracle.fifo_servers import done_times

PUBLIC = Path(__file__).parents[1].parent / "shared" / "traces" / "public"
# One read per time on an NVMe device; three fio jobs on ext4 on a loop device, with flushes and stalls.
RECORDED = ["blktrace-viewer-sample.blkparse.txt.xz", "recorded/ext4-db-log-scan.ftrace.txt.xz"]

Ints = npt.NDArray[np.int64]
Run = Callable[..., int]


def recording(
    structure: Structure,
    *,
    load: float = 0.7,
    rows: int = 4000,
    exponential: bool = True,
    sizes: tuple[int, ...] = (4096,),
    per_byte_ns: float = 0.0,
    seed: int = 1,
) -> Recording:
    """What such a device does under Poisson arrivals of reads, each inside one stripe; mean 100 us."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(100 * US / structure.units / load, rows)
    issued = np.cumsum(gaps).astype(np.int64)
    nbytes = rng.choice(np.array(sizes), rows)
    stripe = structure.stripe_bytes or 1 << 20
    offset = rng.integers(0, 4096, rows) * stripe
    fixed = rng.exponential(100 * US, rows) if exponential else np.full(rows, 100 * US)
    service = (fixed + per_byte_ns * nbytes).astype(np.int64) + 1
    server_of = None
    if structure.stripe_bytes != WHOLE:
        servers = (offset // stripe % structure.units).tolist()
        server_of = servers.__getitem__
    done = done_times(issued.tolist(), service.tolist(), structure.units, server_of)
    return Recording(
        name="made",
        issued_ns=issued,
        done_ns=np.array(done, dtype=np.int64),
        op=np.zeros(rows, dtype=np.uint8),
        sector=offset >> 9,
        nbytes=nbytes,
        held_back=held_back_rows(rows, "alternate"),
        held_back_as="alternate",
    )


@pytest.mark.parametrize(
    ("structure", "exponential"),
    [
        (Structure(1), True),
        (Structure(4), True),
        (Structure(8), False),
        (Structure(16), True),
        (Structure(4, 64 << 10), True),
        (Structure(8, 256 << 10), False),
    ],
    ids=str,
)
def test_the_parallelism_that_made_a_recording_is_found(structure: Structure, exponential: bool) -> None:
    assert fit_media(recording(structure, exponential=exponential)).structure == structure


@pytest.mark.parametrize("structure", [Structure(3), Structure(2, 16 << 10)], ids=str)
def test_service_times_come_back_exactly_under_the_true_structure(structure: Structure) -> None:
    made = recording(structure, exponential=False, sizes=(4096, 16384), per_byte_ns=2.0)
    # 100 us, 2 ns per byte, and the one that rounds up.
    expected = 100 * US + 2 * made.nbytes + 1
    np.testing.assert_array_equal(service_times(made, structure).service_ns, expected)


@pytest.mark.parametrize(
    ("exponential", "per_byte_ns", "shape"),
    [(True, 0.0, "exponential"), (False, 0.0, "deterministic"), (True, 20.0, "empirical")],
)
def test_the_simplest_distribution_that_holds_is_chosen(
    exponential: bool, per_byte_ns: float, shape: str
) -> None:
    # An exponential fixed part beside a part of 20 ns x 16 KiB = 328 us is exponential no more.
    sizes = (4096, 16384)
    made = recording(Structure(2), load=0.2, exponential=exponential, sizes=sizes, per_byte_ns=per_byte_ns)
    assert fit_media(made).shape == shape


def test_the_rate_and_the_fixed_part_are_those_of_the_line_through_the_sizes() -> None:
    sizes = (4096, 16384, 65536)
    made = recording(Structure(2), load=0.3, exponential=False, sizes=sizes, per_byte_ns=2.0)
    read = fit_media(made).ops[ReqOp.READ]
    # 2 ns per byte is 500 MB/s; the medians are exact, so the line is.
    assert read.per_s == pytest.approx(500_000_000, rel=1e-6)
    assert read.fixed_ns == pytest.approx(100 * US, abs=2)


def test_sizes_that_make_no_difference_have_no_rate() -> None:
    made = recording(Structure(2), load=0.3, exponential=False, sizes=(4096, 65536))
    assert fit_media(made).ops[ReqOp.READ].per_s == 0


def test_what_is_held_back_does_not_change_the_fit() -> None:
    made = recording(Structure(2))
    spoiled = replace(made, done_ns=made.done_ns + np.where(made.held_back, 10**9, 0))
    assert fit_media(spoiled) == fit_media(made)


def test_alternate_blocks_and_the_last_half_are_each_half_of_the_rows() -> None:
    assert held_back_rows(64, "alternate").tolist() == [False, False, True, True] * 16
    assert held_back_rows(5, "last").tolist() == [False, False, True, True, True]


def judged(made: Recording, seed: int = 1) -> Calibration:
    return calibrate(made, load_device("ufs31-ice-raw"), name="fitted", seed=seed)


@pytest.mark.parametrize("structure", [Structure(1), Structure(4, 64 << 10)], ids=str)
def test_a_fitted_device_replays_what_was_held_back(structure: Structure) -> None:
    # At a higher load, 4,000 held-back requests do not tell their own 99th percentile to 20 %.
    assert judged(recording(structure, load=0.3, rows=8000)).is_within(0.2)


def test_a_device_that_changed_in_the_middle_is_not_within_20_percent() -> None:
    made = recording(Structure(1), load=0.3)
    half = np.arange(len(made)) >= len(made) // 2
    slower = replace(
        made,
        done_ns=made.issued_ns + made.latency_ns * np.where(half, 2, 1),
        held_back=half,
        held_back_as="last",
    )
    assert not judged(slower).is_within(0.2)


@pytest.mark.parametrize("name", RECORDED)
def test_the_held_back_half_of_a_public_trace_replays_within_20_percent(name: str) -> None:
    if not (PUBLIC / name).exists():
        pytest.skip("the public traces are not here")
    (*directions, both) = judged(read_recording(str(PUBLIC / name))).fidelity
    for each in (*directions, both):
        assert abs(each.error(50.0)) < 0.2
        assert abs(each.error(99.0)) < 0.2


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("hold_back", ["alternate", "last"])
def test_the_nvme_trace_s_median_and_tail_are_within_10_percent_whichever_half_is_held_back(
    hold_back: HoldBack, seed: int
) -> None:
    if not (PUBLIC / RECORDED[0]).exists():
        pytest.skip("the public traces are not here")
    found = judged(read_recording(str(PUBLIC / RECORDED[0]), hold_back=hold_back), seed)
    for each in found.fidelity:
        assert abs(each.error(50.0)) < 0.1
        assert abs(each.error(99.0)) < 0.1


def test_a_replay_has_never_more_in_flight_than_the_recording() -> None:
    # Each request is issued when the one before is done, and takes 100 us but for a few of 10 ms: on one unit
    # an open loop would make the ones after those wait.
    rows = 2000
    took = np.where(np.arange(rows) % 50 == 7, 10_000 * US, 100 * US)
    done = np.cumsum(took + 1)
    alone = Recording(
        name="made",
        issued_ns=done - took,
        done_ns=done,
        op=np.zeros(rows, dtype=np.uint8),
        sector=np.arange(rows) * 8,
        nbytes=np.full(rows, 4096),
        held_back=held_back_rows(rows, "alternate"),
        held_back_as="alternate",
    )
    (read, _) = judged(alone).fidelity
    assert abs(read.error(90.0)) < 0.01


def test_figures_that_the_recording_cannot_tell_are_assumptions() -> None:
    alone = recording(Structure(1), load=0.001, rows=500)
    figures = dict(judged(alone).device.figures())
    told = {key for key in figures if key.startswith("media.") and not figures[key].is_assumption}
    assert {"media.units", "media.read_per_s", "media.write_ns", "media.write_per_s"}.isdisjoint(told)
    assert {"media.read_ns", "media.capacity_bytes"} <= told
    assert figures["media.read_ns"].source.startswith(
        "fitted to made rows 1-500 but every second of 32 blocks"
    )


def test_tags_grow_to_what_was_seen_in_flight() -> None:
    burst = recording(Structure(1), load=50, rows=200)
    assert judged(burst).device.controller.tags.value == int(burst.take(~burst.held_back).in_flight.max()) + 1


# --- the empirical shape ----------------------------------------------------------------------------------


def empirical(points: tuple[tuple[float, int], ...], **more: int) -> Media:
    facts = device().media
    return msgspec.structs.replace(
        facts,
        shape="empirical",
        read_quantiles=Quantiles(points, "test"),
        **{name: fig(value) for name, value in more.items()},
    )


def test_drawn_times_have_the_given_quantiles() -> None:
    points = ((0.0, 1000), (50.0, 2000), (90.0, 10_000), (100.0, 90_000))
    times = EmpiricalTimes(empirical(points), np.random.default_rng(1))
    drawn = np.array([times.draw_ns(ReqOp.READ, 4096) for _ in range(40_000)])
    # Kolmogorov and Smirnov's 0.1 % bound for 40,000 draws is 1.95 / 200 = 0.01.
    at = np.array([1500, 2000, 6000, 10_000, 50_000])
    shares = np.array([0.25, 0.5, 0.7, 0.9, 0.95])
    assert np.abs(np.searchsorted(np.sort(drawn), at) / len(drawn) - shares).max() < 0.01


def test_the_size_is_added_to_what_is_drawn() -> None:
    # 1 GB/s is 1 ns per byte; a distribution of one value.
    times = EmpiricalTimes(empirical(((0, 7), (100, 7)), read_per_s=10**9), np.random.default_rng(1))
    assert [times.draw_ns(ReqOp.READ, nbytes) for nbytes in (512, 4096)] == [519, 4103]


def test_an_operation_without_quantiles_takes_its_mean() -> None:
    times = EmpiricalTimes(empirical(((0, 7), (100, 7)), write_ns=99, flush_ns=5), np.random.default_rng(1))
    assert [times.draw_ns(op, 0) for op in (ReqOp.WRITE, ReqOp.FLUSH)] == [99, 5]


# --- device files -----------------------------------------------------------------------------------------


def read_back(text: str, folder: Path) -> object:
    file = folder / "back.toml"
    file.write_text(text, encoding="utf-8")
    return load_device(str(file))


@pytest.mark.parametrize("name", shipped_devices())
def test_a_device_written_as_a_file_is_read_back_the_same(name: str, tmp_path: Path) -> None:
    shipped = load_device(name)
    assert read_back(device_toml(shipped, ["a comment"]), tmp_path) == shipped


@settings(max_examples=50)
@given(ns=st.integers(0, 2**63 - 1), per_s=st.integers(0, 2**63 - 1), source=st.text(max_size=20))
def test_any_figure_is_written_exactly(
    ns: int, per_s: int, source: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shipped = load_device("none")
    media = msgspec.structs.replace(
        shipped.media,
        read_ns=msgspec.structs.replace(shipped.media.read_ns, value=ns, source=source),
        read_per_s=msgspec.structs.replace(shipped.media.read_per_s, value=per_s),
    )
    changed = msgspec.structs.replace(shipped, media=media)
    assert read_back(device_toml(changed), tmp_path_factory.mktemp("device")) == changed


# --- the command ------------------------------------------------------------------------------------------


def run(*args: object) -> int:
    status: int = command.main([str(arg) for arg in args], standalone_mode=False)
    return status


@pytest.fixture
def msr(tmp_path: Path) -> Path:
    """A trace with response times: one server, 100 us each, as MSR Cambridge writes them."""
    made = recording(Structure(1), load=0.5, exponential=False, rows=600)
    path = tmp_path / "disk.csv"
    rows = zip((made.issued_ns // 100).tolist(), (made.latency_ns // 100).tolist(), strict=True)
    path.write_text("".join(f"{128166372003061629 + at},d,0,Read,4096,4096,{took}\n" for at, took in rows))
    return path


def test_the_command_writes_a_device_that_loads_and_runs(msr: Path, tmp_path: Path) -> None:
    out = tmp_path / "disk.toml"
    assert run(msr, "--out", out, "--quiet") == 0
    fitted = load_device(str(out))
    assert (fitted.name, fitted.media.units.value, fitted.media.shape) == ("disk", 1, "deterministic")
    assert fitted.media.read_ns.value == pytest.approx(100 * US, rel=0.01)
    assert fitted.keyslots == load_device("ufs31-ice-raw").keyslots


def test_equal_seeds_give_equal_files(msr: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        run(msr, "--out", tmp_path / "d.toml", "--json", tmp_path / f"{number}.json", "--quiet")
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert json.loads((tmp_path / "1.json").read_text())["is_within"] is True


def test_a_miss_ends_with_1_and_still_writes_the_device(msr: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.toml"
    assert run(msr, "--out", out, "--within", "0.000001", "--quiet") == 1
    assert "Not within" in out.read_text()


def test_the_report_compares_recorded_and_replayed(
    msr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(msr, "--out", tmp_path / "d.toml")
    out = capsys.readouterr().out
    assert "within 20 % of what was recorded" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_plot_is_a_figure(msr: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    run(msr, "--out", tmp_path / "d.toml", "--plot", tmp_path / "p.svg", "--quiet")
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_a_trace_without_completions_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("version,time,op,size,lbn\n" + "1,5,28,4096,8\n" * 200)
    with pytest.raises(BadInput, match="0 I/Os with a completion"):
        run(trace, "--out", tmp_path / "d.toml")


def test_a_base_that_is_not_there_is_refused_before_the_trace_is_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no device of this name"):
        run("/no/such/trace", "--out", tmp_path / "d.toml", "--base", "gone")
