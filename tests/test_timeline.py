"""A timeline is valid, tells the run's own numbers, and shows what the shipped scenarios are about."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from blkcrypto.base.errors import BadInput
from scenarios.cli import main
from scenarios.load import load_scenario, replay_scenario
from scenarios.report.json import run_json
from scenarios.results.result import RunResult
from scenarios.run import run
from scenarios.schema import Scenario
from scenarios.timeline.range import BioRange, parse_bios
from scenarios.timeline.recorder import Timeline as Recorder
from scenarios.timeline.tracefile import TraceFile
from tests.timeline_reader import Timeline

FEW = "ios=2000"
EVERY_BIO = BioRange(0, 1 << 62)


def draw(scenario: Scenario, file: Path, bios: BioRange = EVERY_BIO) -> RunResult:
    with TraceFile(str(file)) as target:
        recorder = Recorder(target, scenario, bios)
        result = run(scenario, observer=recorder)
        recorder.finish()
    return result


@cache
def drawn(name: str, *sets: str) -> tuple[RunResult, Timeline]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "t.json"
        return draw(load_scenario(name, sets=sets), file), Timeline(file)


def test_ten_thousand_bios_are_a_valid_trace_whose_stages_are_the_result_s(tmp_path: Path) -> None:
    result = draw(load_scenario("keyslot-contention", sets=["ios=10000"]), tmp_path / "t.json")
    timeline = Timeline(tmp_path / "t.json")
    used = {stage: ns for stage, ns in result.directions["all"].stage_ns.items() if ns}
    assert (len(list(timeline.bios())), timeline.stages()) == (10_000, used)


# Every path a bio can take: who encrypts, hardware that drains or sleeps, merges, splits, faults.
KINDS = {
    "inline": ("keyslot-contention", FEW),
    "fallback": ("keyslot-contention", FEW, "engine=fallback", "run.kernel=6.18"),
    "fallback-now": ("keyslot-contention", FEW, "engine=fallback"),
    "fs-layer": ("keyslot-contention", FEW, "engine=fs-layer"),
    "plain": ("keyslot-contention", FEW, "design=none"),
    "draining": ("kdn-drain", FEW),
    "merging": ("merging", FEW),
    "splitting": ("merging", FEW, "block.max_request_bytes=4k"),
    "starving": ("tag-starvation", FEW, "run.warmup=0"),
    "write cache": ("keyslot-contention", FEW, "device.media.cache_bytes=1M"),
    "cache that yields": (
        "keyslot-contention",
        FEW,
        "device.media.cache_bytes=1M",
        "device.media.programs=yield",
    ),
    "cache that suspends": (
        "keyslot-contention",
        FEW,
        "device.media.cache_bytes=64k",
        "device.media.programs=suspend",
    ),
    "cache beside the reads": (
        "keyslot-contention",
        FEW,
        "device.media.cache_bytes=1M",
        "device.media.programs=apart",
    ),
    "channels": ("keyslot-contention", FEW, "device.media.channels=2", "device.media.channel_per_s=100MB/s"),
    "cache over channels": (
        "keyslot-contention",
        FEW,
        "device.media.cache_bytes=1M",
        "device.media.channels=2",
        "device.media.channel_per_s=100MB/s",
    ),
    "reset": ("controller-reset", FEW),
    "programs on the CPU": ("keyslot-contention", FEW, "device.keyslots.program_on_cpu=true"),
    "dm-crypt": ("keyslot-contention", FEW, "design=dm-crypt"),
    "design with I/O of its own": ("keyslot-contention", FEW, "design=aead-table"),
    "short DUNs": ("keyslot-contention", FEW, "design=fscrypt-iv-ino-lblk-32"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_stage_sums_of_every_kind_of_run_are_the_result_s(kind: str) -> None:
    result, timeline = drawn(*KINDS[kind])
    used = {stage: ns for stage, ns in result.directions["all"].stage_ns.items() if ns}
    assert timeline.stages() == used


@pytest.mark.parametrize("kind", KINDS)
def test_a_bio_s_stages_follow_one_another_without_a_gap(kind: str) -> None:
    _, timeline = drawn(*KINDS[kind])
    for bio, parts in timeline.bios():
        ends = [part.end for part in parts]
        assert [part.begin for part in parts] == [bio.begin, *ends[:-1]]
        assert bio.end == (ends[-1] if ends else bio.begin)


@pytest.mark.parametrize("kind", KINDS)
def test_watching_a_run_changes_nothing(kind: str) -> None:
    name, *sets = KINDS[kind]
    assert run_json(drawn(name, *sets)[0]) == run_json(run(load_scenario(name, sets=sets)))


def test_the_lock_track_holds_what_the_result_says() -> None:
    result, timeline = drawn("keyslot-contention", FEW, "keyslots=8")
    held = timeline.of("profile lock", "holder", "bio")
    programs = [one for one in timeline.of("keyslots") if one.name.startswith("program ")]
    waits = timeline.of("profile lock", "waiter")
    slots = result.keyslots
    assert sum(one.ns for one in held) == slots.lock_held_ns
    assert len(held) == len(programs) == slots.programs
    assert sum(one.ns for one in waits) == result.directions["all"].stage_ns["keyslot_lock"]


def test_a_keyslot_never_holds_two_keys_and_a_key_is_used_where_it_was_programmed() -> None:
    _, timeline = drawn("keyslot-contention", FEW, "keyslots=8")
    names = {one.thread for one in timeline.of("keyslots", "keyslot")}
    assert names == {f"keyslot {slot}" for slot in range(8)}
    for name in names:
        held = ""
        for one in sorted(timeline.of("keyslots", f"{name}"), key=lambda one: one.begin):
            if one.thread != name:
                continue
            if one.name.startswith("program "):
                held = one.name.removeprefix("program ")
            else:
                assert one.name.removesuffix(", idle") == held


def test_bios_name_the_keyslot_that_held_their_key() -> None:
    _, timeline = drawn("keyslot-contention", FEW, "keyslots=8")
    in_use = {(one.thread, one.name): list[tuple[int, int]]() for one in timeline.of("keyslots", "keyslot")}
    for one in timeline.of("keyslots", "keyslot"):
        in_use[one.thread, one.name].append((one.begin, one.end))
    for bio, parts in timeline.bios():
        served = next(part for part in parts if part.name == "media")
        there = in_use[f"keyslot {bio.args['keyslot']}", bio.args["key"]]
        assert any(begin <= served.begin and served.end <= end for begin, end in there)


def test_cpus_tags_and_media_are_as_busy_as_the_result_says() -> None:
    result, timeline = drawn("keyslot-contention", FEW, "engine=fallback")
    worked = dict.fromkeys(("submit", "crypto", "program"), 0)
    for one in timeline.of("CPUs"):
        if one.name in worked:
            worked[one.name] += one.ns
    cpu = result.cpu
    assert worked == {"submit": cpu.submit_ns, "crypto": cpu.crypto_ns, "program": cpu.setkey_ns}
    # One piece of 4 KiB is one visit to one unit.
    assert sum(one.ns for one in timeline.of("media")) == result.directions["all"].stage_ns["media"]


@pytest.mark.parametrize("kind", ["inline", "fallback-now", "draining"])
def test_stages_lie_where_cpus_lock_and_media_say(kind: str) -> None:
    # Slices of CPUs, lock and units are told as they happen, a bio's stages are placed when it is complete.
    _, timeline = drawn(*KINDS[kind])
    parts = {
        (bio.args["bio"], part.name): (part.begin, part.end) for bio, ps in timeline.bios() for part in ps
    }
    stage_of = {"submit": "submit", "crypto": "cpu crypto"}
    for one in timeline.of("CPUs"):
        if one.name in stage_of:
            assert parts[one.args["bio"], stage_of[one.name]] == (one.begin, one.end)
    for one in timeline.of("profile lock", "holder", "bio"):
        # Who holds the lock may wait for a CPU before it programs.
        queued = parts.get((one.args["bio"], "queued"), (0, 0))
        begin, end = parts[one.args["bio"], "keyslot program"]
        assert end == one.end
        assert begin == one.begin or queued == (one.begin, begin)
    for one in timeline.of("media"):
        assert parts[one.args["bio"], "media"] == (one.begin, one.end)
    for one in timeline.of("tags"):
        waited = parts.get((one.args["bio"], "tag wait"))
        assert waited is None or waited[1] == one.begin


@pytest.mark.parametrize("kind", ["write cache", "cache that yields", "cache beside the reads"])
def test_units_show_when_what_is_in_the_cache_goes_to_the_flash(kind: str) -> None:
    _, timeline = drawn(*KINDS[kind])
    written = {bio.args["bio"] for bio, _ in timeline.bios() if bio.name.startswith("write")}
    shown = [one for one in timeline.of("media") if int(one.name.split()[1].rstrip(",")) in written]
    # All but what may still be in the cache of 1 MiB when the run ends: a write of 4 KiB is one program.
    assert len(shown) == len({one.name for one in shown})
    assert len(written) - 256 <= len(shown) <= len(written)


def test_there_are_never_more_tags_than_the_device_has() -> None:
    _, timeline = drawn("tag-starvation", "ios=4000")
    tags = load_scenario("tag-starvation").device.controller.tags.value
    assert {one.thread for one in timeline.of("tags")} == {f"tag {number}" for number in range(tags)}


def test_the_number_in_flight_is_that_of_the_bios_at_every_change() -> None:
    _, timeline = drawn("keyslot-contention", FEW)
    changes = [(bio.begin, 1) for bio, _ in timeline.bios()] + [(bio.end, -1) for bio, _ in timeline.bios()]
    inside = 0
    at_end: dict[int, int] = {}
    for at, by in sorted(changes):
        inside += by
        at_end[at] = inside
    shown = dict(timeline.counter("bios in flight"))
    assert {at: at_end[at] for at in shown} == shown
    assert max(shown.values()) == max(at_end.values())


def test_arrows_lead_from_a_bio_through_everything_done_for_it() -> None:
    _, timeline = drawn("keyslot-contention", FEW, "keyslots=8")
    touched: dict[int, int] = {}
    for event in timeline.events:
        if event["ph"] in "stf":
            touched[event["id"]] = touched.get(event["id"], 0) + 1
    slices = dict.fromkeys(touched, 0)
    for one in timeline.slices:
        if one.kind == "bio" and "bio" in one.args:
            slices[one.args["bio"]] += 1
    assert touched == slices
    assert len(touched) == 2000


# --- what the shipped scenarios are about is seen, and not without its cause ------------------------------


def test_a_draining_device_shows_its_drains_and_one_that_need_not_shows_none() -> None:
    _, drains = drawn("kdn-drain", FEW)
    _, free = drawn("kdn-drain", FEW, "device.keyslots.drains_io=false")
    shown, none = (
        [one for one in t.of("profile lock", "holder") if one.name == "drain"] for t in (drains, free)
    )
    poll = load_scenario("kdn-drain").device.keyslots
    assert poll is not None
    assert shown
    assert {one.ns % poll.drain_poll_ns.value for one in shown} == {0}
    assert none == []


def programs_while_media_serve(timeline: Timeline) -> int:
    served = [(one.begin, one.end) for one in timeline.of("media")]
    parts = [one for one in timeline.of("profile lock", "holder") if one.name == "program"]
    return sum(any(begin < one.end and one.begin < end for begin, end in served) for one in parts)


def test_no_unit_serves_while_a_drained_device_is_programmed_and_some_do_without_draining() -> None:
    _, drains = drawn("kdn-drain", FEW, "workload.rate_per_s=5000")
    _, free = drawn("kdn-drain", FEW, "workload.rate_per_s=5000", "device.keyslots.drains_io=false")
    assert programs_while_media_serve(drains) == 0
    assert programs_while_media_serve(free) > 0


def test_a_convoy_shows_waiters_for_the_lock_and_slots_for_all_keys_show_almost_none() -> None:
    convoy, calm = drawn("lock-convoy", "ios=5000")[1], drawn("lock-convoy", "ios=5000", "keyslots=64")[1]
    most = max(value for _, value in convoy.counter("waiting for the profile lock"))
    assert most > 4
    late = convoy.slices[-1].end // 2  # after the first programs
    assert [one for one in calm.of("profile lock", "waiter") if one.begin > late] == []
    assert [one for one in convoy.of("profile lock", "waiter") if one.begin > late]


def test_starved_bios_are_counted_waiting_for_a_tag_only_when_keyslots_are_few() -> None:
    _, starved = drawn("tag-starvation", "ios=4000")
    _, fed = drawn("tag-starvation", "ios=4000", "keyslots=60")
    assert max(value for _, value in starved.counter("waiting for a tag")) > 10
    assert fed.counter("waiting for a tag") == []


# --- how much is shown ------------------------------------------------------------------------------------


def test_a_chosen_range_shows_its_bios_as_the_whole_timeline_does(tmp_path: Path) -> None:
    scenario = load_scenario("keyslot-contention", sets=[FEW])
    draw(scenario, tmp_path / "t.json", BioRange(500, 700))
    part, (_, whole) = Timeline(tmp_path / "t.json"), drawn("keyslot-contention", FEW)
    chosen = {bio.args["bio"]: (bio, parts) for bio, parts in part.bios()}
    assert chosen == {
        bio.args["bio"]: (bio, parts) for bio, parts in whole.bios() if 500 <= bio.args["bio"] < 700
    }
    counted = part.counter("bios in flight")
    everything = dict(whole.counter("bios in flight"))
    assert all(everything[at] == value for at, value in counted[1:])


def test_a_cut_timeline_says_so_and_a_whole_one_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "t.json")
    small = ["run", "keyslot-contention", "--set", "ios=100", "--timeline", file]
    assert main([*small, "--timeline-bios", "20"]) == 0
    assert "bios 0 to 19 of 100" in " ".join(capsys.readouterr().out.split())
    assert Timeline(Path(file)).facts["note"].startswith("the timeline shows bios 0 to 19 of 100")
    assert main(small) == 0
    assert "timeline" not in capsys.readouterr().out
    assert "note" not in Timeline(Path(file)).facts


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("10", (0, 10)), ("5:7", (5, 7)), ("5:", (5, 1 << 62)), ("20_000", (0, 20_000))],
)
def test_bios_are_chosen_by_number_or_range(text: str, chosen: tuple[int, int]) -> None:
    assert parse_bios(text) == BioRange(*chosen)


@pytest.mark.parametrize("text", ["", "7:5", "a", "1:2:3", "0", "-1"])
def test_another_choice_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="timeline-bios"):
        parse_bios(text)


def test_a_packed_timeline_is_the_same_and_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    scenario = load_scenario("keyslot-contention", sets=["ios=200"])
    for name in ("a.json", "b.json.gz", "c.json.gz"):
        draw(scenario, tmp_path / name)
    assert Timeline(tmp_path / "a.json").events == Timeline(tmp_path / "b.json.gz").events
    assert (tmp_path / "b.json.gz").read_bytes() == (tmp_path / "c.json.gz").read_bytes()


def test_a_run_that_fails_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "t.json"
    arguments = ["run", "trace-replay", "--set", f"workload.trace={tmp_path / 'none.csv'}"]
    assert main([*arguments, "--timeline", str(target), "--quiet"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--timeline", "-"], ["--timeline-bios", "5"], ["--timeline", "no/t.json"]]
)
def test_a_timeline_that_cannot_be_written_is_refused_before_the_run(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "keyslot-contention", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_replayed_trace_has_a_timeline_too(tmp_path: Path) -> None:
    scenario = replay_scenario("builtin:ext4-db-log-scan.ftrace.txt.xz", limit=1500)
    result = draw(scenario, tmp_path / "t.json")
    used = {stage: ns for stage, ns in result.directions["all"].stage_ns.items() if ns}
    assert Timeline(tmp_path / "t.json").stages() == used
