"""Progress on standard error, with the time left, and only on a terminal."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scenarios.report.console import new_console


def new_progress(*, quiet: bool = False) -> Progress:
    """A progress bar to use as a context; it vanishes at the end."""
    console = new_console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
