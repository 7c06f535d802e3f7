"""A run whose invariant breaks says which, and shows the bio that broke it."""

import numpy as np
import pytest

from blkcrypto.block.op import ReqOp
from hwmodel.request import RECORD_WIDTH
from scenarios import run as running
from scenarios.load import load_scenario
from scenarios.results.measure import Measure
from scenarios.results.records import COLUMN, Records


def records(**changes: int) -> Records:
    """Two bios: 5 us of media each, arrived at 0 and 5 us; ``changes`` are of the second."""
    made = np.zeros((2, RECORD_WIDTH), dtype=np.int64)
    for row in (0, 1):
        bio = {"row": row, "done_ns": 5000 * (row + 1), "op": ReqOp.WRITE, "nbytes": 4096}
        for name, value in {**bio, "total": 5000, "media": 5000, **(changes if row else {})}.items():
            made[row, COLUMN[name]] = value
    return made


def test_bios_whose_stages_sum_break_nothing() -> None:
    measure = Measure()
    measure.add(records())
    assert (measure.stages_sum_to_total, measure.no_negative_time, measure.first_broken) == (True, True, "")


@pytest.mark.parametrize(
    ("changes", "held", "stages"),
    [
        ({"media": 4999}, (False, True), "media 4999"),
        ({"media": 5001, "queued": -1}, (True, False), "queued -1, media 5001"),
    ],
)
def test_the_first_bio_that_breaks_a_check_is_shown(
    changes: dict[str, int], held: tuple[bool, bool], stages: str
) -> None:
    measure = Measure()
    measure.add(records(**changes))
    measure.add(records(media=1))
    assert (measure.stages_sum_to_total and held[0], measure.no_negative_time) == (False, held[1])
    assert measure.first_broken == (
        "bio 1: WRITE of 4096 bytes, arrived at 5000 ns, done at 10000 ns, 5000 ns in all; "
        f"stages in ns: {stages}"
    )


def test_the_history_is_a_note_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Measure.add

    def add(self: Measure, given: Records) -> None:
        damaged = given.copy()
        damaged[0, COLUMN["media"]] += 1
        whole(self, damaged)

    monkeypatch.setattr(Measure, "add", add)
    result = running.run(load_scenario("keyslot-contention", sets=("ios=50", "run.warmup=0")))
    assert result.checks["stage times sum to each bio's total"] is False
    assert any(note.startswith("the first bio that breaks a check: bio ") for note in result.notes)
