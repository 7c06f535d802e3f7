"""Which runs are led by compiled code: those that ask for it, and can be."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec

from blkcrypto.base.errors import BadInput
from hwmodel.columns import Columns
from hwmodel.controller import Machine
from scenarios.model import Model

Lead = Callable[[Machine, Iterator[Columns], int], None]


def need_numba() -> None:
    """Say now what every run would.

    Raises:
        BadInput: numba is not installed.
    """
    if find_spec("numba") is None:
        raise BadInput("compiled runs need numba: pip install 'blkcrypto[fast]'", where="--compiled")


def compiled_way_of(model: Model) -> Lead | None:
    """What leads the machine of ``model``; None, saying why on standard error, when it goes the usual way.

    Raises:
        BadInput: numba is not installed.
    """
    need_numba()
    from hwmodel.compiled.way import compiled_way, why_not

    reason = why_not(model.machine)
    if not reason:
        return compiled_way
    _say(f"blkcrypto: {model.scenario.name} is not run compiled: {reason}")
    return None


@cache
def _say(line: str) -> None:
    """Once, however many runs of a sweep it is true of."""
    print(line, file=sys.stderr)
