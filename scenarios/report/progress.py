"""Progress on standard error, with the rate and the time left, and only on a terminal."""

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scenarios.report.console import new_console


def new_progress(*, quiet: bool = False) -> Progress:
    """A progress bar to use as a context; it vanishes at the end."""
    console = new_console(stderr=True)
    return _Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


class _Progress(Progress):
    """Older releases of rich end the line of a bar that was never drawn."""

    def stop(self) -> None:
        if not self.disable:
            super().stop()


class _Rate(ProgressColumn):
    """How many a second, lately."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        # Points of a sweep take seconds, rows of a trace microseconds.
        return Text(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")
