"""A batch cut into parts for several cores is done whole, and once, and what fails in a part is heard of."""

import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.crypto.parallel import for_parts


@given(count=st.integers(0, 50), threads=st.integers(1, 8))
def test_the_parts_cover_everything_once(count: int, threads: int) -> None:
    done: list[range] = []

    for_parts(count, threads, lambda start, stop: done.append(range(start, stop)))

    assert Counter(at for part in done for at in part) == Counter(range(count))
    assert len(done) <= threads


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_part_is_raised_once_nobody_works_any_more(failing: int) -> None:
    failed, finished = threading.Event(), []

    def work(start: int, _stop: int) -> None:
        if start == failing:
            failed.set()
            raise ZeroDivisionError(f"part {start}")
        if failing == 0:  # the caller's own part: who does not wait for the others would be back by now
            failed.wait(60)
            time.sleep(0.05)
        finished.append(start)

    with pytest.raises(ZeroDivisionError, match=f"part {failing}"):
        for_parts(3, 3, work)

    assert sorted([*finished, failing]) == [0, 1, 2]
