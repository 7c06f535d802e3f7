"""``blkcrypto compare every-device``: one table of all devices and ways, with intervals and refusals."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from scenarios.compare import Point, run_grid
from scenarios.load import load_device, load_scenario, shipped_devices
from scenarios.report.compare import print_compare

# Raw keys in hardware, raw keys in software, hardware-wrapped keys in hardware.
WAYS = (("raw", "inline"), ("raw", "fallback"), ("hw-wrapped", "inline"))


@pytest.fixture(scope="module")
def points() -> Sequence[Point]:
    return run_grid("every-device", sets=["ios=400", "warmup=0"])


def printed(points: Sequence[Point]) -> str:
    out = io.StringIO()
    print_compare(Console(file=out, width=80), points)
    return out.getvalue()


def way(point: Point) -> tuple[str, str]:
    return point.labels["keys.type"], point.labels["keys.engine"]


def test_every_shipped_device_is_compared() -> None:
    assert sorted(load_scenario("every-device").vary["device"]) == sorted(shipped_devices())


def test_each_device_runs_what_its_profile_offers_and_refuses_the_rest(points: Sequence[Point]) -> None:
    ran = {(point.labels["device"], *way(point)) for point in points if point.result is not None}
    expected = set()
    for name in shipped_devices():
        slots = load_device(name).keyslots
        offered = () if slots is None else slots.key_types
        expected |= {(name, kind, engine) for kind, engine in WAYS if engine == "fallback" or kind in offered}
    assert ran == expected


def test_every_row_has_an_interval_or_is_refused_with_linux_s_answer(points: Sequence[Point]) -> None:
    text = printed(points)
    rows = [line for line in text.splitlines() if line.split()[:1] and line.split()[0] in shipped_devices()]
    assert len(rows) == len(points) == 4 * len(shipped_devices())
    for point, row in zip(points, rows, strict=True):
        assert ("±" if point.result is not None else "refused (") in row
    assert "Linux answers EOPNOTSUPP" in text
    assert "Linux would use the fallback" in " ".join(text.split())


def test_a_reason_that_devices_share_is_told_once(points: Sequence[Point]) -> None:
    text = " ".join(printed(points).split())
    assert text.count("takes raw keys only") == 1
