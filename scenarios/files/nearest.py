"""What a wrong name was probably meant to be, for errors."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MOST_LISTED: Final = 24


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest of ``names``, else all of them, or three if they are many."""
    known = sorted(set(names))
    close = difflib.get_close_matches(name, known, n=1) or [each for each in known if each.startswith(name)]
    if close:
        return f"; did you mean {close[0]!r}?"
    if len(known) > _MOST_LISTED:
        some = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        return f"; of {len(known)} names the closest are {', '.join(map(repr, some))}"
    return f"; it is one of: {', '.join(known)}" if known else ""


def nearest_file(path: str) -> str:
    """``; did you mean 'x'?`` for a file beside the missing ``path`` whose name is close; else empty."""
    missing = Path(path)
    try:
        names = [each.name for each in missing.parent.iterdir()]
    except OSError:
        return f"; there is no folder {str(missing.parent)!r}"
    close = difflib.get_close_matches(missing.name, names, n=1)
    return f"; did you mean {str(missing.parent / close[0])!r}?" if close else ""
