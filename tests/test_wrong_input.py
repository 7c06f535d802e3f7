"""Whatever is misspelt, one line says what is wrong and what to do, and the nearest valid name."""

from pathlib import Path

import pytest

from scenarios.cli import main

RUN = ["run", "keyslot-contention"]
# Arguments, and what the line has to say.  trace.csv and mine.toml are there.
WRONG = {
    "command": (["rnu"], "did you mean 'run'?"),
    "subcommand": (["image", "lss"], "did you mean 'ls'?"),
    "no argument": (["run"], "Write `blkcrypto run [OPTIONS] SCENARIO`"),
    "too many arguments": ([*RUN, "again"], "Write `blkcrypto run [OPTIONS] SCENARIO`"),
    "option": ([*RUN, "--timelin", "t.json"], "--timeline"),
    "option of another kind": ([*RUN, "--keyslots", "8"], "changed with --set KEY=VALUE"),
    "key": ([*RUN, "--set", "keyslts=3"], "did you mean 'keyslots'?"),
    "dotted key": ([*RUN, "--set", "workload.iso=3"], "did you mean 'ios'?"),
    "figure of a device": ([*RUN, "--set", "program_raw=3us"], "did you mean 'device.keyslots.program_raw'?"),
    "key like no other": ([*RUN, "--set", "qqqqqqqqqqqq=3"], "the closest are"),
    "no value": ([*RUN, "--set", "keyslots"], "write KEY=VALUE"),
    "number": ([*RUN, "--set", "keyslots=many"], "expected a whole number"),
    "unit of a key": ([*RUN, "--set", "device.keyslots.program_raw=80parsec"], "use ns, us, ms, s, min or h"),
    "part of a nanosecond": (
        [*RUN, "--set", "device.keyslots.program_raw=0.5ns"],
        "not a whole number of ns",
    ),
    "three thousand years": (
        [*RUN, "--set", "device.keyslots.program_raw=26280000h"],
        f"too large for a duration: at most {2**63 - 1} ns",
    ),
    "unit of a rate": (
        [*RUN, "--set", "device.media.read_per_s=5MB"],
        "use kB/s, MB/s, GB/s, MiB/s or GiB/s",
    ),
    "unit of an option": (["replay", "trace.csv", "--program-time", "80"], "use ns, us, ms, s, min or h"),
    "size": (["replay", "trace.csv", "--data-unit-size", "4q"], "use k, M, G, T, P or E"),
    "word of a key": ([*RUN, "--set", "keys.engine=inlin"], "did you mean 'inline'?"),
    "word of an option": (["replay", "trace.csv", "--pace", "asp"], "is not one of 'recorded', 'asap'"),
    "scenario": (["run", "keyslot-contetion"], "did you mean 'keyslot-contention'?"),
    "scenario file": (["run", "mine.tom"], "did you mean 'mine.toml'?"),
    "device": ([*RUN, "--set", "device=ufs31-ice-rw"], "did you mean 'ufs31-ice-raw'?"),
    "design": (["replay", "trace.csv", "--design", "dm-crypd"], "did you mean 'dm-crypt'?"),
    "file": (["replay", "trac.csv"], "did you mean 'trace.csv'?"),
    "folder": (["replay", "nowhere/trace.csv"], "there is no folder 'nowhere'"),
    "file like no other": (["curve", "zzzzzzzz"], "a trace is a file, - or builtin:NAME"),
    "shipped trace": (["replay", "builtin:ext4"], "did you mean 'ext4-db-log-scan.ftrace.txt.xz'?"),
    "format": (["replay", "trace.csv", "--format", "msrr"], "did you mean 'msr'?"),
    "unrecognised format": (["replay", "trace.csv"], "name it with --format"),
    "column": (["replay", "trace.csv", "--columns", "time=t:x"], "unit one of s, ms, us, ns"),
    "what is varied": (["compare", "keyslot-contention", "--vary", "keyslot=3"], "did you mean 'keyslots'?"),
    "workers": (["sweep", "keyslot-contention", "--out", "s", "--on", "cluster"], "is not local, local:N or"),
    "list": (["list", "device"], "is not one of 'devices'"),
    "folder of a result": ([*RUN, "--json", "nowhere/r.json"], "the folder nowhere does not exist"),
    "records": (["explain", "trace.csv"], "cannot read it as Parquet"),
    "bios of a timeline": (
        [*RUN, "--timeline", "t.json", "--timeline-bios", "x"],
        "write N, FIRST:LAST or FIRST:",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_one_line_says_what_to_do(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trace.csv").write_text("nothing that is a trace\n")
    (tmp_path / "mine.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    arguments, said = WRONG[kind]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("blkcrypto: ")
    assert said in line
    assert len(line) < 400


def test_a_wrong_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, "--json", "r.json", "--timeline", "t.json", "--set", "keyslots=many"]) == 2
    assert list(tmp_path.iterdir()) == []
