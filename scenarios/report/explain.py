"""Where a bio's time went, for people and for programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.text import Text

from blkcrypto.base.units import format_duration
from scenarios.explain import Explanation, StageTime
from scenarios.report.console import new_table, print_table, trimmed
from scenarios.report.stages import STAGE_LOOKS, stage_words

_BAR_COLUMNS: Final = 20


def explain_json(explanations: Sequence[Explanation]) -> str:
    """``explanations`` as JSON text."""
    rows = [asdict(one) for one in explanations]
    return json.dumps({"bios": rows}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def print_explanations(console: Console, explanations: Sequence[Explanation]) -> None:
    """A few sentences and a table of stages for each."""
    with trimmed(console):
        for number, one in enumerate(explanations):
            if number:
                console.print()
            _print(console, one)


def _print(console: Console, one: Explanation) -> None:
    console.print(Text(_title(one), style="bold"))
    for sentence in _sentences(one):
        console.print(Text(sentence))
    table = new_table(console, "Where its time went", "stage", "time", "share", "", "mean of its like")
    table.columns[3].justify = "left"
    for stage in one.stages:
        if stage.ns or stage.mean_ns:
            table.add_row(*_cells(one, stage))
    table.add_section()
    table.add_row("total", format_duration(one.total_ns), "", "", format_duration(one.mean_total_ns))
    print_table(console, table)


def _title(one: Explanation) -> str:
    return f"Bio {one.bio}: {one.op} of {one.nbytes:,} bytes took {format_duration(one.total_ns)}"


def _sentences(one: Explanation) -> Iterator[str]:
    ended = "" if one.status == "BLK_STS_OK" else f", with {one.status}"
    arrived, done = format_duration(one.arrived_ns), format_duration(one.done_ns)
    yield f"It arrived at {arrived} and completed at {done}{ended}."
    others = one.alike - 1
    if others:
        slower_than = f"{one.faster:,} of the {others:,} other {one.op}s ({_share(one.faster, others)})"
        yield f"It took longer than {slower_than}."
    longest = max(one.stages, key=lambda stage: stage.ns)
    if longest.ns:
        words, meaning = stage_words(longest.stage), STAGE_LOOKS[longest.stage].meaning
        yield f"Most of it, {_share(longest.ns, one.total_ns)}, was {words}: {meaning}."
    unusual = max(one.stages, key=lambda stage: stage.ns - stage.mean_ns)
    if others and unusual is not longest and unusual.ns > unusual.mean_ns:
        more = format_duration(unusual.ns - unusual.mean_ns)
        yield f"What it has most over its like is {stage_words(unusual.stage)}: {more} more than their mean."


def _cells(one: Explanation, stage: StageTime) -> tuple[str, str, str, str, str]:
    bar = "#" * round(_BAR_COLUMNS * stage.ns / one.total_ns) if one.total_ns else ""
    return (
        stage_words(stage.stage),
        format_duration(stage.ns),
        _share(stage.ns, one.total_ns),
        bar,
        format_duration(stage.mean_ns),
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""
