"""The compiled way without its compiler: the same source, run by Python, so that every index is checked.

Machine code asks nobody whether a row exists, and coverage cannot look into it.  Here ``hwmodel.compiled`` is
imported a second time, over rows that refuse an address at which nothing was laid and an index past its end.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Literal

import hwmodel

PACKAGE = "hwmodel.compiled"
Format = Literal["q", "d"]
FORMATS: dict[object, Format] = {"int": "q", int: "q", "float": "d", float: "d"}


class Row:
    """A row where it lies; subclasses have a property for each field."""

    __slots__ = ("_begin", "_numbers")  # fields have no underscore

    def __init__(self, numbers: Any, begin: int) -> None:
        self._numbers = numbers
        self._begin = begin


def row_type(kind: type) -> tuple[type[Row], int, Format]:
    """A ``Row`` with the fields of ``kind``, how many these are, and the format of each."""

    def field(position: int) -> property:
        def get(row: Row) -> Any:
            return row._numbers[row._begin + position]

        def put(row: Row, value: Any) -> None:
            row._numbers[row._begin + position] = value

        return property(get, put)

    names = kind.__annotations__
    (number,) = {FORMATS[of] for of in names.values()}
    fields: dict[str, object] = {name: field(position) for position, name in enumerate(names)}
    return type(kind.__name__, (Row,), fields | {"__slots__": ()}), len(names), number


class Laid:
    """Arrays by the address that the code was given for each."""

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._bytes: dict[int, memoryview] = {}

    def lay(self, name: str, array: Any) -> None:
        """``array`` takes the place of what had the name."""
        self._bytes.pop(self._addresses.get(name, 0), None)
        self._addresses[name] = array.ctypes.data
        self._bytes[array.ctypes.data] = memoryview(array).cast("B")

    def at(self, kind: type) -> Callable[[int, int], Row]:
        """What ``rows`` has for ``kind``, each index checked."""
        row, width, number = row_type(kind)

        def row_at(address: int, index: int) -> Row:
            numbers = self._bytes[address].cast(number)
            rows = len(numbers) // width
            assert 0 <= index < rows, f"{kind.__name__} {index} of {rows}"
            return row(numbers, index * width)

        return row_at


@contextmanager
def _imported_anew() -> Iterator[None]:
    """What is imported of the package meanwhile is nobody else's."""

    def taken() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]
        return {name: sys.modules.pop(name) for name in names}

    kept, attribute = taken(), vars(hwmodel).pop("compiled", None)
    try:
        yield
    finally:
        taken()
        sys.modules.update(kept)
        vars(hwmodel).pop("compiled", None)
        if attribute is not None:
            vars(hwmodel)["compiled"] = attribute


@cache
def interpreted() -> Any:
    """The module ``hwmodel.compiled.way``, interpreted."""
    laid = Laid()
    with _imported_anew():
        state = importlib.import_module(f"{PACKAGE}.state")
        rows = ModuleType(f"{PACKAGE}.rows")
        vars(rows)["compiled"] = lambda function: function
        for name in ("Bio", "Cpu", "Event", "Float", "Int", "Op", "Queue", "Slot", "Stock"):
            vars(rows)[f"{name.lower()}_at"] = laid.at(getattr(state, name))
        vars(rows)["request_at"] = laid.at(state.InFlight)
        sys.modules[rows.__name__] = rows
        way: Any = importlib.import_module(f"{PACKAGE}.way")
    one_state, _, number = row_type(state.State)
    advance, lay = way.advance, way._Way._lay

    def noted(self: Any, name: str, array: Any) -> None:
        lay(self, name, array)
        laid.lay(name, array)

    way.advance = lambda states: advance([one_state(memoryview(states).cast("B").cast(number), 0)])
    way._Way._lay = noted
    return way
