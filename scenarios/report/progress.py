"""Progress on standard error, and only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Bar:
    """How far something is; this one shows nobody."""

    def advance(self, count: int) -> None:
        """``count`` more are done."""

    def reach(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """``done`` in all are done, of ``total``, doing ``what``; None leaves these as they were."""


@contextmanager
def progress(what: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Bar]:
    """A bar with the rate and the time left that vanishes at the end.

    Args:
        total: None when nobody knows.
        quiet: show nothing, wherever standard error goes.
    """
    if quiet or not sys.stderr.isatty():
        yield Bar()
        return
    # What draws takes a tenth of the time from start to first I/O.
    from scenarios.report.terminalbar import terminal_bar

    with terminal_bar(what, total) as bar:
        yield bar
