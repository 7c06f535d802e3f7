"""Shipped devices against public figures (reference block-layer.md 6.2 and 6.3), and the page about them."""

from pathlib import Path

import pytest

from scenarios.load import load_device, shipped_devices
from tests.published_figures import PUBLISHED, WITHIN, Published, with_table

PAGE = Path(__file__).parents[1] / "docs" / "devices.md"


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda each: f"{each.device}: {each.what}")
def test_the_matching_workload_is_within_15_percent(published: Published) -> None:
    assert published.ours == pytest.approx(published.figure, rel=WITHIN)


def test_the_page_has_every_figure_as_it_is_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run python -m tests.published_figures docs/devices.md"


def test_every_device_with_a_medium_has_a_figure() -> None:
    # null_blk's medium takes no time, so there is nothing to measure.
    with_medium = {name for name in shipped_devices() if load_device(name).media.read_ns.value}
    assert {each.device for each in PUBLISHED} == with_medium
