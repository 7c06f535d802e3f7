"""The ``blkcrypto`` command from outside: output, errors, exit status."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from scenarios import cli
from scenarios.load import shipped_devices, shipped_scenarios

SHARED = Path(__file__).parents[1].parent / "shared"
TRACES = SHARED / "traces" / "public"
SMALL = ["--set", "ios=2000", "--set", "run.warmup=0"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def blkcrypto(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process: exit status, standard output, standard error."""

    def run(*args: object) -> tuple[int, str, str]:
        status = cli.main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def command(*args: str) -> list[str]:
    """The command as a process of its own."""
    return [sys.executable, "-c", "import sys; from scenarios.cli import main; sys.exit(main())", *args]


def test_a_run_prints_its_question_first(blkcrypto: Run) -> None:
    status, out, err = blkcrypto("run", "keyslot-contention", *SMALL)
    assert (status, err) == (0, "")
    assert out.startswith("What does it cost when more files are hot than the device has keyslots?")


def test_json_on_standard_output_is_alone_there(blkcrypto: Run) -> None:
    _, out, _ = blkcrypto("run", "keyslot-contention", *SMALL, "--json", "-")
    assert json.loads(out)["totals"]["bios"] == 2000


def test_a_json_file_comes_with_the_report(blkcrypto: Run, tmp_path: Path) -> None:
    _, out, _ = blkcrypto("run", "keyslot-contention", *SMALL, "--json", tmp_path / "r.json")
    assert out
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["scenario"] == "keyslot-contention"


def test_quiet_prints_nothing(blkcrypto: Run) -> None:
    assert blkcrypto("run", "keyslot-contention", *SMALL, "--quiet") == (0, "", "")


def test_equal_seeds_give_equal_bytes_and_others_do_not(blkcrypto: Run) -> None:
    outputs = [
        blkcrypto("run", "keyslot-contention", *SMALL, "--seed", seed, "--json", "-")[1] for seed in (5, 5, 6)
    ]
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["all"] != json.loads(outputs[2])["all"]


def test_the_shipped_trace_reads_back_intact(blkcrypto: Run) -> None:
    status, out, _ = blkcrypto("run", "trace-replay", "--json", "-")
    data = json.loads(out)
    # 5,532 block_bio_queue events in the recording.
    assert (status, data["totals"]["rows"], data["data"]["mismatches"]) == (0, 5532, 0)
    assert data["data"]["verified_bytes"] > 0


def test_a_corrupted_medium_is_reported_and_ends_with_1(blkcrypto: Run) -> None:
    # Every 4 KiB block of the small device is read and written again and again.
    sets = [
        "workload.read_share=0.5",
        "layout={files=1, file_size='1M', span='1M'}",
        "run.payload=verify",
        "faults.flips=[{byte=5000, after_bios=1500}]",
    ]
    options = [part for text in sets for part in ("--set", text)]
    status, out, _ = blkcrypto("run", "keyslot-contention", *SMALL, *options, "--json", "-")
    assert (status, json.loads(out)["data"]["mismatches"] > 0) == (1, True)


def test_a_comparison_runs_every_combination_and_says_what_linux_refuses(blkcrypto: Run) -> None:
    status, out, _ = blkcrypto("compare", "wrapped-versus-raw", *SMALL, "--json", "-")
    points = json.loads(out)["points"]
    assert status == 0
    assert [tuple(point["set"].values()) for point in points] == [
        ("raw", "inline"),
        ("raw", "fallback"),
        ("hw-wrapped", "inline"),
        ("hw-wrapped", "fallback"),
    ]
    assert [point["result"] is None for point in points] == [False, False, False, True]
    assert "EOPNOTSUPP" in points[3]["refused"]


def test_wrapped_and_raw_keys_cost_the_same_when_programming_is_free(blkcrypto: Run) -> None:
    free = ["--set", "device.keyslots.program_raw=0ns", "--set", "device.keyslots.program_hw_wrapped=0ns"]
    vary = ["--vary", "keys.type=raw,hw-wrapped"]
    _, out, _ = blkcrypto("compare", "wrapped-versus-raw", *SMALL, *free, *vary, "--json", "-")
    raw, wrapped = (point["result"]["all"] for point in json.loads(out)["points"])
    assert raw == wrapped


def test_a_comparison_prints_a_table(blkcrypto: Run) -> None:
    _, out, _ = blkcrypto("compare", "keyslot-contention", *SMALL, "--vary", "keyslots=64,8")
    assert "Where the difference of the mean comes from" in out


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("devices", shipped_devices()),
        ("scenarios", shipped_scenarios()),
        ("designs", ("none", "fscrypt-per-file")),
        ("formats", ("ftrace", "fio", "blkparse", "msr")),
    ],
)
def test_lists_have_every_name_in_text_and_json(blkcrypto: Run, what: str, names: tuple[str, ...]) -> None:
    _, text, _ = blkcrypto("list", what)
    _, data, _ = blkcrypto("list", what, "--json")
    assert set(names) <= {line.split()[0] for line in text.splitlines() if line}
    assert set(names) <= {row["name"] for row in json.loads(data)}


def test_a_device_is_shown_with_the_unit_and_the_source_of_every_figure(blkcrypto: Run) -> None:
    _, text, _ = blkcrypto("list", "devices", "tensor-kdn")
    _, data, _ = blkcrypto("list", "devices", "tensor-kdn", "--json")
    (shown,) = json.loads(data)
    figures = {each["name"]: each for each in shown["figures"]}
    poll = figures["keyslots.drain_poll_ns"]
    assert (poll["value"], poll["unit"], poll["assumption"]) == (20_000_000, "ns", False)
    assert "drain_poll_ns = 20 ms" in text
    assert shown["choices"]["keyslots.drains_io"] is True
    assert "keyslots.drains_io = true" in " ".join(text.split())
    assert all(figure["source"] and figure["source"] in text for figure in figures.values())


def test_a_device_file_of_ones_own_is_shown_the_same_way(blkcrypto: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    shipped = files("hwmodel").joinpath("devices", "none.toml").read_text(encoding="utf-8")
    own.write_text(shipped.replace('name = "none"', 'name = "mine"'))
    status, data, _ = blkcrypto("list", "devices", str(own), "--json")
    assert (status, json.loads(data)[0]["name"]) == (0, "mine")


@pytest.mark.parametrize(
    "name",
    [
        "recorded/ext4-db-log-scan.ftrace.txt.xz",
        "recorded/db-v3.iolog.xz",
        "blktrace-viewer-sample.blkparse.txt.xz",
        "excerpts/msr-cambridge-prxy.csv",
        "cloudphysics-io.csv.xz",
    ],
)
def test_a_trace_is_replayed_without_being_told_its_format(blkcrypto: Run, name: str) -> None:
    path = TRACES / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside this checkout")
    status, out, err = blkcrypto("replay", path, "--limit", 500, "--json", "-")
    assert (status, err) == (0, "")
    assert json.loads(out)["totals"]["bios"] > 0


def test_a_trace_may_come_from_standard_input() -> None:
    iolog = "fio version 3 iolog\n0 /f add\n0 /f open\n1 /f write 0 4096\n2 /f read 0 4096\n3 /f close\n"
    options = ["--payload", "verify", "--json", "-"]
    done = subprocess.run(
        command("replay", "-", *options), input=iolog.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["data"] | {"medium_sha256": ""} == {
        "verified_bytes": 4096,
        "mismatches": 0,
        "medium_sha256": "",
    }


def test_a_damaged_line_is_named_by_its_number(blkcrypto: Run, tmp_path: Path) -> None:
    trace = tmp_path / "t.iolog"
    lines = ["fio version 3 iolog", "0 /f add", "0 /f open", "1 /f read 0 4096", "2 /f read zero 4096"]
    trace.write_text("\n".join([*lines, "3 /f read 4096 4096", ""]), encoding="utf-8")
    status, out, err = blkcrypto("replay", trace)
    assert (status, out) == (2, "")
    assert f"{trace}:5" in err
    assert len(err.splitlines()) == 1


def test_a_damaged_line_can_be_skipped_and_is_counted(blkcrypto: Run, tmp_path: Path) -> None:
    trace = tmp_path / "t.iolog"
    lines = ["fio version 3 iolog", "0 /f add", "0 /f open", "1 /f read 0 4096", "2 /f read zero 4096"]
    trace.write_text("\n".join([*lines, "3 /f read 4096 4096", ""]), encoding="utf-8")
    status, out, _ = blkcrypto("replay", trace, "--skip-bad-lines", "--json", "-")
    totals = json.loads(out)["totals"]
    assert (status, totals["rows"], totals["skipped"]["bad_lines"]) == (0, 2, 1)


# A command, and what its one line has to say.
MISTAKES = [
    (["runn"], "did you mean 'run'"),
    (["run", "keyslot-contentio"], "did you mean 'keyslot-contention'"),
    (["run"], "SCENARIO"),
    (["run", "mm1", "--sett", "x=1"], "--set"),
    (["run", "mm1", "--set", "rum.seed=1"], "did you mean 'run'"),
    (["run", "mm1", "--seed", "x"], "--seed"),
    (["run", "mm1", "--json", "/none/r.json"], "/none does not exist"),
    (["replay", "no-such-file"], "no-such-file"),
    (["replay", "t", "--device", "ufs31-ice"], "did you mean 'ufs31-ice-raw'"),
    (["replay", "t", "--design", "fscrypt"], "--design"),
    (["replay", "t", "--keys", "rwa"], "hw-wrapped"),
    (["replay", "t", "--program-time", "80"], "time unit"),
    (["replay", "t", "--data-unit-size", "4x"], "suffix"),
    (["compare", "mm1"], "--vary"),
    (["compare", "mm1", "--vary", "seed"], "KEY=V1,V2"),
    (["compare", "keyslot-contention", "--vary", "keyslots=8,x"], "expected a whole number"),
    (["compare", "mm1", "--vary", "seed=1", "--vary", "seed=2"], "twice"),
    (["list", "device"], "devices"),
    (["list", "devices", "ufs31-ice"], "did you mean 'ufs31-ice-raw'"),
    (["list", "designs", "none"], "only devices"),
    (["selftest", "--golden", "/none"], "/none"),
]


@pytest.mark.parametrize(
    ("args", "expected"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_takes_one_line_and_ends_with_2(blkcrypto: Run, args: list[str], expected: str) -> None:
    status, out, err = blkcrypto(*args)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert expected in err


def test_a_point_that_linux_refuses_everywhere_ends_with_2(blkcrypto: Run) -> None:
    status, _, err = blkcrypto("compare", "keyslot-contention", "--vary", "device=none")
    assert (status, "no inline encryption hardware" in err) == (2, True)


def test_selftest_prints_what_matched_and_what_was_skipped(blkcrypto: Run) -> None:
    golden = SHARED / "golden"
    if not golden.is_dir():
        pytest.skip("golden data is not beside this checkout")
    status, out, _ = blkcrypto("selftest", "--golden", golden)
    assert status == 0
    assert " matched, 0 mismatched, " in out.splitlines()[-1]


def test_selftest_ends_with_1_on_a_mismatch(blkcrypto: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from blkcrypto.fs import selftest

    def differing(_directory: Path) -> selftest.SelfTestReport:
        report = selftest.SelfTestReport()
        report.check(False, "case.json", "file 12", "contents")
        return report

    monkeypatch.setattr(selftest, "run_golden", differing)
    status, out, _ = blkcrypto("selftest", "--golden", ".")
    assert (status, out.splitlines()) == (
        1,
        ["MISMATCH case.json: file 12: contents differs", "0 matched, 1 mismatched, 0 skipped"],
    )


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody:
        done = subprocess.run(command("list", "devices"), stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupted_run_ends_with_130_and_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    # It tells by its first row that it is running: the rows come through a pipe that stays open.
    process = subprocess.Popen(
        command("replay", "-", "--json", str(target)), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"fio version 3 iolog\n0 /f add\n0 /f open\n" + b"1 /f read 0 4096\n" * 100_000)
    process.stdin.flush()  # returns once nearly all of it has been read
    process.send_signal(signal.SIGINT)
    process.wait()
    assert (process.returncode, list(tmp_path.iterdir())) == (130, [])
    process.communicate()


def test_help_does_not_load_what_it_does_not_need() -> None:
    code = "import sys; from scenarios.cli import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "simpy", "rich", "msgspec", "cryptography", "polars"}
    assert not heavy & set(done.stdout.replace("'", " ").replace(",", " ").split())


@pytest.mark.parametrize("group", [[], ["key"], ["image"]])
def test_a_group_without_a_command_shows_its_help_line_by_line(blkcrypto: Run, group: list[str]) -> None:
    status, out, err = blkcrypto(*group)
    assert (status, out) == (2, "")
    assert err == blkcrypto(*group, "--help")[1]


@pytest.mark.parametrize("group", [[], ["key"], ["image"]])
def test_no_command_s_summary_is_cut_short(blkcrypto: Run, group: list[str]) -> None:
    assert "..." not in blkcrypto(*group, "--help")[1].partition("Commands:")[2]


def test_shell_completion_knows_the_shipped_scenarios() -> None:
    environment = {
        **os.environ,
        "_BLKCRYPTO_COMPLETE": "bash_complete",
        "COMP_WORDS": "blkcrypto run keyslot",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(command(), capture_output=True, text=True, check=False, env=environment)
    assert "keyslot-contention" in done.stdout


def test_version_is_that_of_the_package(blkcrypto: Run) -> None:
    import blkcrypto as package

    assert package.__version__ in blkcrypto("--version")[1]


def test_an_error_of_ours_in_the_middle_of_a_run_ends_with_2(
    blkcrypto: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise BadInput("damaged", where="t.csv:7")

    monkeypatch.setattr("scenarios.run.run", fail)
    assert blkcrypto("run", "mm1") == (2, "", "blkcrypto: t.csv:7: damaged\n")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("blkcrypto r", {"run", "replay"}),
        ("blkcrypto run keyslot-c", {"keyslot-contention"}),
        ("blkcrypto replay t --format alib", {"alibaba"}),
        ("blkcrypto replay t --device ufs31-ice-r", {"ufs31-ice-raw"}),
        ("blkcrypto replay t --design dm-def", {"dm-default-key"}),
        ("blkcrypto run x --timeline-b", {"--timeline-bios"}),
        ("blkcrypto run x --set keysl", {"keyslots="}),
        ("blkcrypto compare x --vary device.media.u", {"device.media.units="}),
    ],
)
def test_names_complete_in_a_shell(words: str, offered: set[str]) -> None:
    asked = {
        "_BLKCRYPTO_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from scenarios.cli import main; main([])"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **asked},
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered


def test_progress_on_a_terminal_shows_rate_and_time_left() -> None:
    leader, follower = os.openpty()
    slow = "import sys; sys.stdout.write('fio version 3 iolog\\n0 /f add\\n0 /f open\\n')\n"
    slow += "for n in range(300000): print(n + 1, '/f read 0 4096')"
    with subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE) as rows:
        done = subprocess.Popen(
            command("replay", "-", "--limit", "300000", "--json", os.devnull),
            stdin=rows.stdout,
            stdout=subprocess.DEVNULL,
            stderr=follower,
            env={**os.environ, "COLUMNS": "80", "TERM": "xterm"},
        )
        os.close(follower)
        shown = b""
        while piece := _read(leader):
            shown += piece
        assert done.wait() == 0
    os.close(leader)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"/300000 +[0-9,]+/s +[0-9]:[0-9]{2}:[0-9]{2}", text)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how a terminal ends
        return b""
