"""The progress bar that a terminal shows, with the rate and the time left."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scenarios.report.console import new_console
from scenarios.report.progress import Bar


@contextmanager
def terminal_bar(what: str, total: int | None) -> Iterator[Bar]:
    """See ``scenarios.report.progress.progress``."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=new_console(stderr=True), transient=True) as drawn:
        yield _TerminalBar(drawn, drawn.add_task(what, total=total))


class _TerminalBar(Bar):
    def __init__(self, drawn: Progress, task: TaskID) -> None:
        self._drawn = drawn
        self._task = task

    def advance(self, count: int) -> None:
        self._drawn.advance(self._task, count)

    def reach(self, done: int, total: int | None = None, what: str | None = None) -> None:
        self._drawn.update(self._task, completed=done, total=total, description=what)


class _Rate(ProgressColumn):
    """How many a second, lately."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        # Points of a sweep take seconds, rows of a trace microseconds.
        return Text(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")
