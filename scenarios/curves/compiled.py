"""Loops that no vectorised form does well, compiled by numba where the extra ``fast`` is installed.

There is one text of each loop: without numba the interpreter runs it, with the same results.
"""

import functools
import importlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Args = ParamSpec("Args")
Result = TypeVar("Result")


@functools.cache
def compiled(function: Callable[Args, Result]) -> Callable[Args, Result] | None:
    """``function`` compiled at its first call, or None without numba.

    It may use integers and arrays only; it runs without the interpreter's lock.
    """
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return None
    machine_code: Callable[Args, Result] = numba.njit(nogil=True)(function)
    return machine_code
