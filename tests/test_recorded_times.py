"""Replays whose time at the device is what the trace recorded, with crypto on top."""

from pathlib import Path

import numpy as np
import pytest

from blkcrypto.base.errors import BadInput
from hwmodel.request import RECORD
from scenarios.load import load_scenario, replay_scenario
from scenarios.results.records import Records
from scenarios.run import run

# ftrace's block events: issue and completion of two reads and a write; the second read overtakes the first.
TRACE = """\
 a-7 [000] ..... 1.000000: block_rq_issue: 7,0 R 4096 () 0 + 8 [a]
 b-8 [000] ..... 1.000010: block_rq_issue: 7,0 R 8192 () 64 + 16 [b]
 c-9 [000] ..s.. 1.000060: block_rq_complete: 7,0 R () 64 + 16 [0]
 c-9 [000] ..s.. 1.000200: block_rq_complete: 7,0 R () 0 + 8 [0]
 a-7 [000] ..... 1.001000: block_rq_issue: 7,0 W 4096 () 8 + 8 [a]
 c-9 [000] ..s.. 1.001033: block_rq_complete: 7,0 W () 8 + 8 [0]
"""
US = 1_000
NO_COST = ["device.host.submit=0ns", "device.engine.rate=2048MB/s", "device.engine.latency=3us"]


@pytest.fixture
def trace(tmp_path: Path) -> str:
    file = tmp_path / "two.ftrace"
    file.write_text(TRACE)
    return str(file)


def replayed(trace: str, design: str = "fscrypt-per-file") -> dict[str, list[int]]:
    """Columns of the records by row."""
    kept: list[Records] = []

    class Sink:
        def add(self, records: Records) -> None:
            kept.append(records.copy())

    sets = [*NO_COST, "layout.span=1M", "layout.file_size=1M", "keyslots=4"]
    run(replay_scenario(trace, media="recorded", design=design, sets=sets), sinks=[Sink()])
    table = np.concatenate(kept)
    table = table[np.argsort(table[:, 0])]
    return {name: table[:, RECORD.index(name)].tolist() for name in RECORD}


def test_without_crypto_the_device_takes_what_the_trace_recorded(trace: str) -> None:
    records = replayed(trace, design="none")
    assert records["media"] == [200 * US, 50 * US, 33 * US]
    assert records["total"] == records["media"]
    assert records["done_ns"] == [200 * US, 60 * US, 1033 * US]


def test_crypto_comes_on_top(trace: str) -> None:
    # 4096 bytes at 2048 MB/s are 2 us, and the engine's latency is 3; the link is in the recorded times.
    records = replayed(trace)
    assert records["media"] == [200 * US, 50 * US, 33 * US]
    assert records["transfer"] == [5 * US, 7 * US, 5 * US]


def test_the_issuing_process_chooses_the_cpu_not_the_interrupt(trace: str) -> None:
    # Both reads are submitted within 20 us, by processes of which each has its CPU.
    sets = ["device.host.submit=20us", "layout.span=1M", "layout.file_size=1M"]
    result = run(replay_scenario(trace, media="recorded", design="none", sets=sets))
    assert result.directions["read"].stage_ns["queued"] == 0


def test_a_trace_without_completions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "queued.ftrace"
    file.write_text(" a-7 [000] ..... 1.000000: block_bio_queue: 7,0 R 0 + 8 [a]\n")
    with pytest.raises(BadInput, match="no I/O with a completion"):
        run(replay_scenario(str(file), media="recorded"))


def test_a_generator_has_no_recorded_times() -> None:
    with pytest.raises(BadInput, match="only a trace has recorded times"):
        load_scenario("keyslot-contention", sets=["run.media=recorded"])
