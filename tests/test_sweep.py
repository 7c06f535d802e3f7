"""Sweeps: the same bytes on any number of workers, and after any interruption."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from scenarios.commands.sweep import sweep_command
from scenarios.load import load_scenario
from scenarios.report.json import run_object
from scenarios.report.sweep import merged_csv, results_csv, results_json
from scenarios.run import run
from scenarios.sweeps.executor import Workers
from scenarios.sweeps.kept import sealed, unsealed
from scenarios.sweeps.knee import Measured, knees
from scenarios.sweeps.merged import merged
from scenarios.sweeps.point import digest
from scenarios.sweeps.sweep import Ended, plan, run_points

VARY = {"keyslots": ("1", "2", "16"), "design": ("fscrypt-per-file", "fscrypt-iv-ino-lblk-64")}
PATIENCE_S = 60


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    return made(tmp_path / "made.toml", ios=300)


def made(path: Path, *, ios: int) -> str:
    path.write_text(
        f'question = "test"\ndevice = "ufs31-ice-raw"\nworkload = {{ ios = {ios}, zipf = 1.0 }}\n'
        "layout = { files = 40 }\nrun = { queue_depth = 4 }\n"
    )
    return str(path)


def texts(ended: Sequence[Ended]) -> tuple[str, str]:
    return results_json(ended, []), results_csv(ended)


def index(folder: Path, columns: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "index.sqlite")
    rows = connection.execute(f"SELECT {columns} FROM points ORDER BY number").fetchall()
    connection.close()
    return rows


def command(*arguments: str) -> object:
    """The command's exit status."""
    return sweep_command.main(args=[*arguments, "--quiet"], standalone_mode=False)


# --- the grid -----------------------------------------------------------------------------------------------


def test_repeats_have_the_following_seeds_and_vary_faster_than_the_last_key(scenario: str) -> None:
    points = plan(scenario, VARY, sets=["seed=7"], repeat=2)
    first = [(*point.labels.values(), point.seed) for point in points[:5]]
    assert first == [
        ("1", "fscrypt-per-file", 7),
        ("1", "fscrypt-per-file", 8),
        ("1", "fscrypt-iv-ino-lblk-64", 7),
        ("1", "fscrypt-iv-ino-lblk-64", 8),
        ("2", "fscrypt-per-file", 7),
    ]


def test_a_point_is_the_same_as_long_as_its_scenario_and_its_trace_are(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    path = tmp_path / "replay.toml"
    path.write_text('question = "test"\ndevice = "ufs31-ice-raw"\nworkload = { trace = "trace.csv" }\n')
    found = []
    for content, seed in (("1,2\n", 1), ("1,2\n", 1), ("1,3\n", 1), ("1,2\n", 2)):
        trace.write_text(content)
        found.append(digest(load_scenario(str(path), sets=[f"seed={seed}"])))
    assert [found[0] == other for other in found[1:]] == [True, False, False]


def test_what_linux_refuses_is_reported_and_is_no_failure(scenario: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    status = command(scenario, "--vary", "keys.type=raw,hw-wrapped", "--on", "local:1", "--out", str(folder))
    statuses = [point["status"] for point in json.loads((folder / "results.json").read_text())["points"]]
    assert (status, statuses) == (0, ["done", "refused"])


# --- workers ------------------------------------------------------------------------------------------------


def test_one_worker_and_two_leave_the_same_bytes(scenario: str, tmp_path: Path) -> None:
    points = plan(scenario, VARY, repeat=2)
    found = [texts(run_points(points, tmp_path / on[-1], on=on)) for on in ("local:1", "local:2")]
    assert found[0] == found[1]


def test_a_point_of_a_sweep_is_the_run_of_its_scenario(scenario: str, tmp_path: Path) -> None:
    (point,) = plan(scenario, {"keyslots": ("2",)}, sets=["seed=5"])
    (ended,) = run_points([point], tmp_path / "out", on="local:1")
    assert ended.result == json.loads(
        json.dumps(run_object(run(load_scenario(scenario, sets=["keyslots=2", "seed=5"]))))
    )


def test_combinations_that_are_the_same_scenario_run_once(scenario: str, tmp_path: Path) -> None:
    points = plan(scenario, {"data_unit_size": ("4096", "4k")})
    ended = run_points(points, tmp_path / "out", on="local:1")
    files = list((tmp_path / "out/points").iterdir())
    assert (len(files), [one.status for one in ended]) == (1, ["done", "done"])


def test_a_worker_that_dies_costs_time_but_no_point(scenario: str, tmp_path: Path) -> None:
    points = plan(scenario, VARY, repeat=3)
    killed: list[int] = []

    def kill_a_worker(done: int, _count: int) -> None:
        if done and not killed:
            worker = multiprocessing.active_children()[0]
            assert worker.pid is not None
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    disturbed = run_points(points, tmp_path / "one", on="local:2", progress=kill_a_worker)
    undisturbed = run_points(points, tmp_path / "two", on="local:2")
    assert killed
    assert texts(disturbed) == texts(undisturbed)


def test_a_point_that_fails_is_tried_once_more_and_reported_with_status_3(
    scenario: str, tmp_path: Path
) -> None:
    folder, good, missing = tmp_path / "out", tmp_path / "good.csv", tmp_path / "missing.csv"
    good.write_text("0,0,R,4096\n")
    path = tmp_path / "replay.toml"
    path.write_text(
        'question = "test"\ndevice = "ufs31-ice-raw"\n'
        'workload = { trace = "x", columns = "time=1:s,offset=2:bytes,op=3,size=4:bytes" }\n'
    )
    status = command(
        str(path), "--vary", f"workload.trace={missing},{good}", "--on", "local:1", "--out", str(folder)
    )
    assert (status, index(folder, "status, attempts")) == (3, [("failed", 2), ("done", 1)])
    assert str(missing) in json.loads((folder / "results.json").read_text())["points"][0]["error"]


@pytest.mark.parametrize("where", ["locally", "local:0", "dask://nowhere", "tcp://host:1"])
def test_workers_that_do_not_exist_are_refused(where: str) -> None:
    with pytest.raises(BadInput, match="local, local:N or dask"):
        Workers(where)


# --- interruptions ------------------------------------------------------------------------------------------

_COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from scenarios.cli import cli, main
from scenarios.commands.sweep import sweep_command
cli.add_command(sweep_command)
sys.exit(main(sys.argv[1:]))
"""


def start(scenario: str, folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    arguments = ["sweep", scenario, *options, "--on", "local:2", "--out", str(folder), "--quiet"]
    # A session of its own, so that an interrupt reaches it and its workers as one from a terminal does.
    return subprocess.Popen([sys.executable, "-c", _COMMAND, *arguments], start_new_session=True)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def finished(folder: Path) -> dict[str, int]:
    """Files of finished points, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("points/*.json")}


def session_is_gone(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path, signal_number: signal.Signals) -> None:
    scenario = made(tmp_path / "made.toml", ios=4000)
    folder = tmp_path / "disturbed"
    options = ["--vary", "keyslots=1,2,3,4,5,6", "--repeat", "2"]
    first = start(scenario, folder, *options)
    wait_until(lambda: len(finished(folder)) >= 2)
    if signal_number == signal.SIGINT:
        os.killpg(first.pid, signal_number)
    else:
        first.kill()
    status = first.wait(PATIENCE_S)
    wait_until(lambda: session_is_gone(first.pid))
    kept = finished(folder)
    assert status == (130 if signal_number == signal.SIGINT else -signal.SIGKILL)
    assert not (folder / "results.json").exists()
    assert len(kept) < 12

    assert command(scenario, *options, "--on", "local:2", "--out", str(folder)) == 0
    assert command(scenario, *options, "--on", "local:1", "--out", str(tmp_path / "whole")) == 0
    assert finished(folder).items() >= kept.items()
    for name in ("results.json", "results.csv", "merged.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_sweep_runs_nothing_again(scenario: str, tmp_path: Path) -> None:
    points = plan(scenario, VARY)
    folder = tmp_path / "out"
    before, written = texts(run_points(points, folder, on="local:1")), finished(folder)
    spent = index(folder, "attempts, wall_s")
    # No such workers: asking for one would fail.
    after = texts(run_points(points, folder, on="nowhere"))
    assert (after, finished(folder), index(folder, "attempts, wall_s")) == (before, written, spent)


def test_a_damaged_point_is_run_again(scenario: str, tmp_path: Path) -> None:
    points = plan(scenario, VARY)
    before = texts(run_points(points, tmp_path / "out", on="local:1"))
    next((tmp_path / "out/points").iterdir()).write_text('{"cut')
    assert texts(run_points(points, tmp_path / "out", on="local:1")) == before


def test_a_folder_takes_one_sweep_at_a_time(scenario: str, tmp_path: Path) -> None:
    points = plan(scenario, VARY)

    def start_another(_done: int, _count: int) -> None:
        with pytest.raises(BadInput, match="another sweep"):
            run_points(points, tmp_path / "out", on="local:1")

    assert len(run_points(points, tmp_path / "out", on="local:1", progress=start_another)) == 6


# --- a cluster ----------------------------------------------------------------------------------------------


@pytest.fixture
def dask_address(tmp_path: Path) -> Iterator[str]:
    """A scheduler and two workers, each a process of its own."""
    pytest.importorskip("distributed", reason="the extra sweep is not installed")
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file)]
    module = [sys.executable, "-m", "dask"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes = [subprocess.Popen([*module, "scheduler", *options, *common], stderr=subprocess.DEVNULL)]
    try:
        wait_until(lambda: file.exists() and file.stat().st_size > 0)
        address = str(json.loads(file.read_text())["address"]).removeprefix("tcp://")
        worker = [*module, "worker", "--nthreads", "1", "--no-dashboard", "--no-nanny", *common]
        processes += [subprocess.Popen(worker, cwd=tmp_path, stderr=subprocess.DEVNULL) for _ in range(2)]
        yield f"dask://{address}"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_dask_cluster_leaves_the_same_bytes_as_this_machine(
    scenario: str, tmp_path: Path, dask_address: str
) -> None:
    points = plan(scenario, VARY, repeat=2)
    wait_until(lambda: _workers(dask_address) == 2)
    found = []
    for name, on in (("local", "local:1"), ("dask", dask_address)):
        ended = run_points(points, tmp_path / name, on=on)
        together = merged(ended, tmp_path / name)
        found.append((results_json(ended, [], together), results_csv(ended), merged_csv(together)))
    assert len(points) == 12
    assert found[0] == found[1]


def _workers(where: str) -> int:
    try:
        with Workers(where) as workers:
            return workers.width
    except BadInput:
        return 0


# --- the knee -----------------------------------------------------------------------------------------------


def measured(figures: dict[int, tuple[float, float]], **others: str) -> list[Measured]:
    return [
        Measured(labels={"keyslots": str(count), **others}, keyslots=count, iops=iops, latency_ns=latency)
        for count, (iops, latency) in figures.items()
    ]


def test_the_knee_is_the_fewest_keyslots_from_which_on_the_loss_is_small() -> None:
    # Against 100 I/O per s with 32 slots: 4 lose 4 %, but 8 lose 6 %, so 4 were lucky.
    figures = {1: (50.0, 9.0), 4: (96.0, 9.0), 8: (94.0, 9.0), 16: (95.0, 9.0), 32: (100.0, 9.0)}
    throughput, latency = knees(measured(figures), loss=0.05)
    assert (throughput.keyslots, throughput.too_few, latency.keyslots, latency.too_few) == (16, 8, 1, None)


def test_repeats_count_with_their_mean_and_other_keys_have_knees_of_their_own() -> None:
    one = measured({2: (80.0, 12.0), 4: (100.0, 10.0)}, design="a")
    two = measured({2: (116.0, 8.0), 4: (100.0, 10.0)}, design="a")
    other = measured({2: (10.0, 99.0), 4: (100.0, 10.0)}, design="b")
    found = knees([*one, *two, *other], loss=0.05)
    # (80 + 116) / 2 is 2 % less than 100; 10 is 90 % less.
    assert [(knee.labels["design"], knee.metric, knee.keyslots) for knee in found] == [
        ("a", "throughput", 2),
        ("a", "latency", 2),
        ("b", "throughput", 4),
        ("b", "latency", 4),
    ]


def test_a_sweep_over_keyslots_states_its_knees(scenario: str, tmp_path: Path) -> None:
    command(scenario, "--vary", "keyslots=1,64", "--on", "local:1", "--out", str(tmp_path), "--loss", "90%")
    found = json.loads((tmp_path / "results.json").read_text())["knees"]
    assert [knee["metric"] for knee in found] == ["throughput", "latency"]


def test_a_loss_that_is_no_share_is_refused(scenario: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="share"):
        command(scenario, "--vary", "keyslots=1", "--out", str(tmp_path), "--loss", "5 percent")


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_kept_point_with_any_bit_flipped_is_no_point(at: int, bit: int) -> None:
    kept = sealed({"totals": {"bios": 12345}, "name": "point"}, {"all": {}})
    data = bytearray(kept.encode())
    data[at % len(data)] ^= 1 << bit
    assert unsealed(kept.encode()) is not None
    assert unsealed(bytes(data)) is None
