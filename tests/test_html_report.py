"""Pages: one file that loads nothing, the same bytes again, and the run's own numbers."""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.units import format_duration
from blkcrypto.block.op import ReqOp
from hwmodel.request import RECORD_WIDTH
from scenarios.campaign import Campaign, run_campaign
from scenarios.cli import main
from scenarios.compare import Point, run_grid
from scenarios.curves.curve import Curve, curve
from scenarios.load import load_scenario
from scenarios.report import axes
from scenarios.report.compare import answers
from scenarios.report.html import run_page
from scenarios.report.html_compare import compare_page
from scenarios.report.html_curve import curve_page
from scenarios.report.html_faults import faults_page
from scenarios.report.html_sweep import sweep_page
from scenarios.results.latencies import LatencyProfile
from scenarios.results.observed import Observed
from scenarios.results.overtime import OverTime
from scenarios.results.records import COLUMN, Records
from scenarios.results.result import STAGES, RunResult
from scenarios.results.slotuse import SlotUse
from scenarios.run import run
from scenarios.schema import Scenario
from scenarios.sweeps.knee import Measured, knees
from scenarios.sweeps.store import metrics
from scenarios.sweeps.sweep import Ended, plan, run_points
from tests.machines import keys

SMALL = ["ios=3000"]
# Elements that HTML never closes.
VOID = {"meta", "br", "hr", "img", "input", "link"}


def page_of(scenario: Scenario) -> tuple[str, RunResult]:
    observed = Observed.of(scenario)
    result = run(scenario, sinks=observed.sinks, observer=observed.slot_use)
    return run_page(scenario, result, observed), result


@pytest.fixture(scope="module")
def contention() -> tuple[str, RunResult]:
    return page_of(load_scenario("keyslot-contention", sets=SMALL))


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return run_grid("wrapped-versus-raw", sets=SMALL)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    vary = {"keyslots": ("8", "32", "64"), "design": ("fscrypt-per-file", "fscrypt-iv-ino-lblk-64")}
    grid = plan("keyslot-contention", vary, sets=["ios=500"], repeat=2)
    return run_points(grid, tmp_path_factory.mktemp("sweep"), on="local:1")


def measured(ended: Sequence[Ended]) -> list[Measured]:
    found = [(one.point.labels, metrics(one.result)) for one in ended if one.result is not None]
    return [
        Measured(
            labels=labels,
            keyslots=int(values["keyslot_count"] or 0),
            iops=values["iops"] or 0.0,
            latency_ns=values["lat_mean_ns"] or 0.0,
        )
        for labels, values in found
    ]


@pytest.fixture(scope="module")
def both_pages(contention: tuple[str, RunResult], points: list[Point], swept: list[Ended]) -> dict[str, str]:
    long_word = "question=What does a-volume-whose-name-is-longer-than-any-phone-is-wide.csv.zst cost?"
    few, _ = page_of(load_scenario("lock-convoy", sets=["ios=1500", long_word]))
    return {
        "run": contention[0],
        "few programs": few,
        "compare": compare_page(points),
        "curve": curve_page(*curved()),
        "sampled curve": curve_page([sampled()], [SLOTS]),
        "many runs": compare_page(run_grid("every-device", sets=["ios=100", "warmup=0"])),
        "faults": faults_page(run_campaign(8, 1, on="local:1")),
        "sweep": sweep_page(swept, knees(measured(swept), 0.05)),
        "sweep as bars": sweep_page(
            [one for one in swept if one.point.labels["keyslots"] == "8" and not one.point.repeat], []
        ),
    }


KINDS = [
    "faults",
    "run",
    "few programs",
    "compare",
    "many runs",
    "curve",
    "sampled curve",
    "sweep",
    "sweep as bars",
]


SLOTS = load_scenario("keyslot-contention", sets=SMALL)


def curved() -> tuple[list[Curve], list[Scenario]]:
    other = load_scenario("keyslot-contention", sets=[*SMALL, "design=fscrypt-iv-ino-lblk-64"])
    return [curve(one, max_keyslots=24) for one in (SLOTS, other)], [SLOTS, other]


def sampled() -> Curve:
    # A real sample needs more rows than are quick.
    whole = curve(SLOTS, max_keyslots=24, optimal=False)
    return replace(whole, sampled_share=0.1, distinct_keys=None, halfwidth95=(0.02,) * 24)


class Outline(HTMLParser):
    """What is open, what was closed wrongly, and every text and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.texts: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data.strip())


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    return parser


@pytest.mark.parametrize("kind", KINDS)
def test_every_element_is_closed_in_order(both_pages: dict[str, str], kind: str) -> None:
    parsed = outline(both_pages[kind])
    assert (parsed.open, parsed.wrong) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_from_anywhere(both_pages: dict[str, str], kind: str) -> None:
    parsed = outline(both_pages[kind])
    assert (parsed.references, {"link", "img", "iframe"} & set(parsed.tags)) == ([], set())
    style_and_script = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", both_pages[kind], re.DOTALL)
    assert not re.search(r"https?://|@import|url\(|fetch\(", "".join(style_and_script))


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_has_a_title_for_those_who_do_not_see_it(both_pages: dict[str, str], kind: str) -> None:
    drawings = re.findall(r"<svg [^>]*>\s*(<title>[^<]+</title>)?", both_pages[kind])
    assert drawings or kind == "faults"
    assert all(drawings)


def test_equal_runs_give_equal_pages(contention: tuple[str, RunResult]) -> None:
    assert page_of(load_scenario("keyslot-contention", sets=SMALL))[0] == contention[0]


def test_the_page_shows_the_result_s_own_numbers(contention: tuple[str, RunResult]) -> None:
    page, result = contention
    texts = set(outline(page).texts)
    every, slots = result.directions["all"], result.keyslots
    wanted = {
        result.question,
        f"{result.bios:,}",
        f"{slots.hits:,}",
        f"{slots.programs:,}",
        f"{every.iops:,.0f}",
    }
    for name in ("read", "write", "all"):
        one = result.directions[name]
        latencies = [
            one.lat_ns.mean,
            one.lat_ns.max,
            one.lat_ns.percentile[99.0],
            one.lat_ns.percentile[99.9],
        ]
        stages = [ns / one.total_ios for ns in one.stage_ns.values() if ns]
        wanted |= {format_duration(ns) for ns in (*latencies, *stages)}
    wanted |= {format_duration(ns) for ns in (result.cpu.submit_ns, result.cpu.program_ns)}
    assert wanted - texts == set()


def test_the_page_lists_every_assumption_and_every_changed_key(contention: tuple[str, RunResult]) -> None:
    page, result = contention
    texts = set(outline(page).texts)
    assert set(result.assumptions) <= texts
    assert {"workload.ios", "3000", "run.queue_depth", "layout.files"} <= texts


def test_a_comparison_shows_each_difference_with_its_interval(points: list[Point]) -> None:
    texts = " ".join(outline(compare_page(points)).texts)
    ran = [point.result.directions["all"].lat_ns for point in points if point.result is not None]
    for latency in ran[1:]:
        half = (latency.mean_halfwidth95**2 + ran[0].mean_halfwidth95 ** 2) ** 0.5
        assert f"{format_duration(abs(latency.mean - ran[0].mean))} ± {format_duration(half)}" in texts
    assert "EOPNOTSUPP" in texts


def test_a_sweep_shows_means_over_seeds_with_intervals_and_its_knees(swept: list[Ended]) -> None:
    found = knees(measured(swept), 0.05)
    page = " ".join(outline(sweep_page(swept, found)).texts)
    latencies = [
        metrics(one.result or {})["lat_mean_ns"] or 0.0
        for one in swept
        if one.point.labels == {"keyslots": "8", "design": "fscrypt-per-file"}
    ]
    # Two seeds: Student's t of one degree of freedom, 12.706, times half the difference.
    first, second = latencies
    assert format_duration((first + second) / 2) in page
    assert f"± {format_duration(12.706 * abs(first - second) / 2)}" in page
    for knee in found:
        assert f"{knee.keyslots} of {knee.most} keyslots cost at most 5% in {knee.metric}" in page


def test_the_page_of_a_curve_has_every_number_of_keyslots_and_the_optimum() -> None:
    curves, scenarios = curved()
    texts = set(outline(curve_page(curves, scenarios)).texts)
    for one in curves:
        assert one.optimal_hits is not None
        wanted = {f"{one.accesses - hits:,}" for hits in (*one.hits, *one.optimal_hits)}
        assert wanted - texts == set()


def test_a_refused_and_a_failed_point_are_told(swept: list[Ended]) -> None:
    failed = replace(swept[0], status="failed", result=None, error="its worker died")
    refused = replace(swept[1], status="refused", result=None, error="EOPNOTSUPP")
    page = sweep_page([failed, refused, *swept[2:]], [])
    top, below = page.split("<h2>", maxsplit=1)
    assert "its worker died" in top
    assert "EOPNOTSUPP" in below


def test_a_campaign_s_violations_are_told_at_the_top_with_their_seeds() -> None:
    found = Campaign(runs=3, counts=Counter(resets=7), violations=Counter(lost=2), failed_seeds=(41, 43))
    top, below = faults_page(found).split("<h2>", maxsplit=1)
    assert "VIOLATION: lost: 2" in top
    assert "41, 43" in top
    assert "7" in outline(below).texts


def test_a_failed_check_and_a_mismatch_are_told_at_the_top() -> None:
    scenario = load_scenario("keyslot-contention", sets=SMALL)
    observed = Observed.of(scenario)
    result = replace(
        run(scenario, sinks=observed.sinks, observer=observed.slot_use),
        mismatches=3,
        checks={"all is well": False},
    )
    top = run_page(scenario, result, observed).split("<h2>")[0]
    assert "CHECK FAILED: all is well" in top
    assert "3 data units did not read back as written" in top


def test_text_from_outside_stays_text() -> None:
    scenario = load_scenario("keyslot-contention", sets=SMALL)
    page, _ = page_of(
        load_scenario("keyslot-contention", sets=[*SMALL, "name=<b>&<script>alert(1)</script>"])
    )
    assert outline(page).tags.count("script") == outline(page_of(scenario)[0]).tags.count("script") == 1
    assert "&lt;script&gt;alert(1)" in page


def test_no_key_and_no_wrapped_blob_is_in_a_page() -> None:
    page, result = page_of(
        load_scenario("wrapped-versus-raw", sets=[*SMALL, "keys=hw-wrapped", "run.payload=verify"])
    )
    assert result.verified_bytes
    # 16 bytes in hexadecimal; nothing on a page is that long a number.
    assert not re.search(r"(?i)(?<![\w-])[0-9a-f]{32,}", page)


def test_the_command_writes_pages(tmp_path: Path) -> None:
    run_file, compare_file = tmp_path / "r.html", tmp_path / "c.html"
    small = ["keyslot-contention", "--set", "ios=500", "--quiet"]
    statuses = (
        main(["run", *small, "--html", str(run_file)]),
        main(["compare", *small, "--vary", "keyslots=8,64", "--html", str(compare_file)]),
    )
    assert statuses == (0, 0)
    for file in (run_file, compare_file):
        assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_two_results_cannot_both_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "keyslot-contention", "--html", "-", "--json", "-"]) == 2
    assert "standard output" in capsys.readouterr().err


def test_a_page_does_not_grow_with_the_run() -> None:
    # The most a page can have: every interval, every point of the distribution.
    bios = 1_000_000
    rng = np.random.default_rng(1)
    slots = SlotUse(200)
    observed = Observed(LatencyProfile(), OverTime(), slots)
    scenario = load_scenario("keyslot-contention", sets=SMALL)
    result = run(scenario)
    many = keys(250)
    for number in range(200_000):
        when = number * 5_000
        slots.programmed(number * 7 % 200, many[number * 11 % 250], number, when, when)
        slots.arrived((when, number, 0, 0, 4096, number % 3_000, 0, 0))
    for first in range(0, bios, 100_000):
        total = rng.integers(1_000, 10_000_000, 100_000)
        done = 10_000_000 + 1_000 * np.arange(first, first + 100_000)
        observed.latencies.add(records(done, total, rng.integers(0, 2, 100_000)))
        observed.over_time.add(records(done, total, rng.integers(0, 2, 100_000)))
        slots.completed(records(done, total, rng.integers(0, 2, 100_000)))
    assert len(run_page(scenario, result, observed)) < 3_000_000


Column = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def records(done: Column, total: Column, op: Column) -> Records:
    """Bios of 4 KiB that spent all their time on flash."""
    made = np.zeros((len(done), RECORD_WIDTH), dtype=np.int64)
    made[:, COLUMN["row"]] = np.arange(len(done))
    made[:, COLUMN["done_ns"]] = done
    made[:, COLUMN["op"]] = op
    made[:, COLUMN["nbytes"]] = 4096
    made[:, COLUMN["total"]] = made[:, COLUMN["media"]] = total
    return made


RUNS = st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 400_000)), min_size=1, max_size=60)


@given(bios=RUNS, pieces=st.integers(1, 5))
def test_intervals_hold_every_bio_second_and_byte(bios: list[tuple[int, int]], pieces: int) -> None:
    ended = np.sort(np.array([arrived + took for arrived, took in bios], dtype=np.int64))
    total = np.minimum(np.array([took for _, took in bios], dtype=np.int64), ended)
    made = records(ended, total, np.zeros(len(bios), dtype=np.int64))
    over_time = OverTime()
    for piece in np.array_split(made, min(pieces, len(bios))):
        over_time.add(piece)
    series = over_time.series()
    if not ended[-1]:
        assert not len(series.begin_ns)
        return
    assert int(series.length_ns.sum()) == ended[-1]
    # The area under the number in the system is the sum of all latencies.
    assert float((series.inflight * series.length_ns).sum()) == pytest.approx(float(total.sum()), abs=1e-3)
    read = float((series.read_bytes_per_s * series.length_ns).sum()) / 1e9
    assert read == pytest.approx(4096 * len(bios))


@given(bios=RUNS)
def test_the_number_in_flight_is_that_of_a_count_at_every_ns(bios: list[tuple[int, int]]) -> None:
    ended = np.sort(np.array([arrived // 100 + took // 100 + 1 for arrived, took in bios], dtype=np.int64))
    total = np.minimum(np.array([took // 100 for _, took in bios], dtype=np.int64), ended)
    over_time = OverTime()
    over_time.add(records(ended, total, np.zeros(len(bios), dtype=np.int64)))
    series = over_time.series()
    inside = np.zeros(int(ended[-1]))
    for done, took in zip(ended.tolist(), total.tolist(), strict=True):
        inside[done - took : done] += 1
    means = [inside[begin : begin + series.interval_ns].mean() for begin in series.begin_ns.tolist()]
    assert series.inflight.tolist() == pytest.approx(means)


def test_percentiles_up_to_five_nines_are_those_of_the_sorted_latencies() -> None:
    total = np.random.default_rng(3).lognormal(11, 1, 200_000).astype(np.int64)
    profile = LatencyProfile()
    profile.add(records(np.arange(200_000), total, np.zeros(200_000, dtype=np.int64)))
    ordered = np.sort(total)
    for percentage in (50.0, 99.0, 99.99, 99.999):
        exact = int(ordered[int(np.ceil(percentage * 2000)) - 1])
        assert profile.percentile("read", percentage) == pytest.approx(exact, rel=1e-3)
    assert profile.percentile("read", 99.9999) is None
    assert profile.percentile("write", 50.0) is None


@pytest.mark.parametrize("direction", ["read", "write"])
def test_times_in_a_stage_are_those_of_the_sorted_records(direction: str) -> None:
    rng = np.random.default_rng(7)
    op = rng.integers(0, 2, 20_000)
    lock = np.where(rng.random(20_000) < 0.3, 0, rng.lognormal(9, 1, 20_000)).astype(np.int64)
    made = records(np.arange(20_000), lock + 1000, op)
    made[:, COLUMN["keyslot_lock"]], made[:, COLUMN["media"]] = lock, 1000
    profile = LatencyProfile()
    profile.add(made)
    ordered = np.sort(lock[op == int(ReqOp[direction.upper()])])
    for percentage, ns in profile.stage_cdf(direction, "keyslot_lock"):
        rank = max(1, int(np.ceil(percentage / 100 * len(ordered))))
        assert ns == pytest.approx(int(ordered[rank - 1]), rel=1e-3)


def test_bands_share_out_every_bio_and_every_ns() -> None:
    total = np.random.default_rng(4).integers(1, 1_000_000, 5_000)
    profile = LatencyProfile()
    profile.add(records(np.arange(5_000), total, np.zeros(5_000, dtype=np.int64)))
    bands = profile.bands()
    assert sum(band.bios for band in bands) == pytest.approx(5_000)
    spent = sum(band.bios * band.stage_ns["media"] for band in bands)
    assert spent == pytest.approx(float(total.sum()))
    # The fast half: 2,500 of the 5,000, to the width of a bucket.
    assert bands[0].stage_ns["media"] == pytest.approx(float(np.sort(total)[:2_500].mean()), rel=1e-3)


def test_the_warm_up_is_left_out_of_latencies_as_in_the_result() -> None:
    scenario = load_scenario("keyslot-contention", sets=[*SMALL, "run.warmup=1000"])
    observed = Observed.of(scenario)
    result = run(scenario, sinks=observed.sinks, observer=observed.slot_use)
    counts = {name: observed.latencies.count(name) for name in ("read", "write", "all")}
    assert counts == {name: one.total_ios for name, one in result.directions.items()}
    sums = dict.fromkeys(STAGES, 0.0)
    for band in observed.latencies.bands():
        for stage, ns in band.stage_ns.items():
            sums[stage] += ns * band.bios
    assert sums == pytest.approx(result.directions["all"].stage_ns)


def test_the_slowest_bios_are_kept_whatever_the_batches() -> None:
    total = np.random.default_rng(5).permutation(10_000)
    made = records(np.arange(10_000), total, np.full(10_000, int(ReqOp.WRITE)))
    profile = LatencyProfile()
    for piece in np.array_split(made, 17):
        profile.add(piece)
    assert profile.slowest[:, COLUMN["total"]].tolist() == list(range(9_999, 9_979, -1))


@given(low=st.floats(-1e9, 0), most=st.floats(1, 1e12))
def test_a_linear_axis_has_a_few_round_ticks_around_its_values(low: float, most: float) -> None:
    axis = axes.linear_axis("", most, low=low)
    assert 2 <= len(axis.ticks) <= 7
    assert axis.place(low) >= -1e-9
    assert axis.place(most) <= 1 + 1e-9


def test_few_far_values_leave_an_axis_and_many_do_not() -> None:
    assert axes.readable_most([10.0, 11.0, 12.0, 13.0, 700.0]) == 39.0  # three times 13
    assert axes.readable_most([10.0, 500.0, 600.0, 700.0]) == 700.0
    assert axes.readable_most([0.0, 0.0, 0.0, 0.0, 5.0]) == 5.0


def test_many_runs_are_answered_by_their_extremes_and_few_one_by_one(points: list[Point]) -> None:
    ran = [(point, point.result) for point in points if point.result is not None]
    assert len(list(answers(ran))) == len(ran) - 1
    many = [ran[0], *ran, *ran]
    means = [result.directions["all"].lat_ns.mean for _, result in many]
    (only,) = answers(many)
    assert only.startswith(f"Of {len(many)} runs the quickest")
    assert format_duration(min(means)) in only
    assert format_duration(max(means)) in only


def test_a_comparison_lists_what_its_runs_have_in_common_and_not_what_is_varied(points: list[Point]) -> None:
    below = compare_page(points).partition("Configuration</h2>")[2].partition("Every key")[0]
    assert "workload.ios" in below
    assert "keys.type" not in below


# What a browser finds wrong with a page: it runs inside, before the page's own script.
_LOOK = """<script>
const wrong = [];
addEventListener("error", (event) => wrong.push("error: " + event.message));
for (const kind of ["error", "warn"]) console[kind] = (...words) => wrong.push(`console.${kind}: ${words}`);
addEventListener("load", () => {
  if (innerWidth !== WIDTH) wrong.push("the window is " + innerWidth + " wide");
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) wrong.push(`the page is ${wide} wide in a window of ${innerWidth}`);
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")];
    const words = texts.map((one) => [one.textContent, one.getBoundingClientRect()]);
    for (const [text, box] of words) {
      const cut = box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
      if (cut) wrong.push("cut off: " + text);
    }
    words.forEach(([text, box], at) => {
      for (const [other, next] of words.slice(at + 1)) {
        const across = Math.min(box.right, next.right) - Math.max(box.left, next.left);
        const down = Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top);
        if (across > 1 && down > 4) wrong.push(`overlap: ${text} / ${other}`);
      }
    });
  }
  for (const one of performance.getEntriesByType("resource")) wrong.push("loaded: " + one.name);
  const head = document.querySelectorAll("table.sorts thead button");
  if (!head.length) wrong.push("no table sorts");
  for (const button of head) button.click();
  const report = document.createElement("pre");
  report.id = "wrong";
  report.textContent = JSON.stringify(wrong);
  top.document.body.append(report);
});
</script>"""


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_cut_off_or_overlaps_in_a_browser(
    both_pages: dict[str, str], kind: str, width: int, tmp_path: Path
) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    look = _LOOK.replace("WIDTH", str(width))
    page = escape(both_pages[kind].replace("<script>", f"{look}<script>", 1))
    file = tmp_path / "frame.html"
    # In a frame: a window of a browser is never narrower than 500.
    frame = f'<iframe style="width: {width}px; height: 2000px; border: 0" srcdoc="{page}"></iframe>'
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{frame}", encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [browser, *flags, "--window-size=1400,2000", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'<pre id="wrong">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None
    assert json.loads(found[1]) == []
