"""The page on trace formats names everything there is."""

from pathlib import Path

import pytest

from scenarios.traces.columns import REQUIRED, SPELLINGS, TIME_DIGITS
from scenarios.traces.formats import FORMATS
from scenarios.traces.tally import COUNTS

PAGE = (Path(__file__).parents[1] / "docs" / "trace-formats.md").read_text()


@pytest.mark.parametrize("name", [*FORMATS, *COUNTS, *REQUIRED, *SPELLINGS, *TIME_DIGITS])
def test_the_page_on_trace_formats_names(name: str) -> None:
    assert f"`{name}`" in PAGE
