"""The garbage collector's part in a long loop that leaves no cycles behind."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OBJECTS: Final = 200_000


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look for cycles every ``_OBJECTS`` new objects instead of every few hundred.

    What is there when the block begins is not looked at again before it ends.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
