"""Search the memory of the emulated host for secrets.

The host's memory is every object reachable from given roots, but for hardware: objects of the types that
stand for it are not entered.  Code is not data: modules, classes and globals are not entered either, the
variables that a closure or a suspended generator holds are.

A secret counts as found when any 16 bytes of it, at a multiple of 16, stand anywhere in bytes, in an array
or as an integer, or as hex in text.  What a C library keeps inside an object (an HMAC's state) is not seen:
``scenarios.report.threat`` says where that matters.
"""

import gc
import types
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

PIECE_BYTES: Final = 16
_LEAST_INT_BITS: Final = 8 * PIECE_BYTES - 16  # a key's integer may begin with zeroes
_CODE: Final = (type, types.ModuleType, types.CodeType, types.BuiltinFunctionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a search found.

    Attributes:
        found: name of a secret -> the kinds of the object that held it and of the one that held that.
        objects: objects visited.
        nbytes: bytes searched.
    """

    found: dict[str, str]
    objects: int
    nbytes: int


def scan(roots: Iterable[object], secrets: Mapping[str, bytes], *, hardware: tuple[type, ...] = ()) -> Scan:
    """Search everything reachable from ``roots`` for ``secrets`` of at least 16 bytes each.

    Args:
        secrets: by name.
        hardware: types whose objects are not entered.
    """
    text = bytearray()
    starts: list[int] = []
    holders: list[str] = []
    objects = 0
    for here, holder in _reachable(roots, hardware):
        objects += 1
        data = _bytes_of(here)
        if len(data) >= PIECE_BYTES:
            starts.append(len(text))
            holders.append(f"{type(here).__name__} in {holder}")
            text += data
            # Two objects side by side never make a secret of their own: one byte apart.
            text.append(0)
    found = {}
    for name, secret in secrets.items():
        at = _find(text, secret)
        if at >= 0:
            found[name] = holders[bisect_right(starts, at) - 1]
    return Scan(found=found, objects=objects, nbytes=len(text))


def _find(text: bytearray, secret: bytes) -> int:
    if len(secret) < PIECE_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes would be found by accident")
    for start in range(0, len(secret) - PIECE_BYTES + 1, PIECE_BYTES):
        piece = secret[start : start + PIECE_BYTES]
        for spelling in (piece, piece[::-1], piece.hex().encode()):
            at = text.find(spelling)
            if at >= 0:
                return at
    return -1


def _reachable(roots: Iterable[object], hardware: tuple[type, ...]) -> Iterator[tuple[object, str]]:
    """Objects, each once, with the kind of object that led to it."""
    todo: list[tuple[object, str]] = [(root, "the roots") for root in roots]
    seen: dict[int, object] = {}  # keeps what it knows by id alive
    while todo:
        here, holder = todo.pop()
        if id(here) in seen or isinstance(here, (*_CODE, *hardware)):
            continue
        seen[id(here)] = here
        yield here, holder
        kind = type(here).__name__
        todo.extend((each, kind) for each in _referents(here))


def _referents(here: object) -> Iterable[object]:
    """What ``here`` refers to as data."""
    if isinstance(here, types.FunctionType):
        return (here.__closure__, here.__defaults__, here.__kwdefaults__, here.__dict__)
    if isinstance(here, np.ndarray):
        return (here.base, here.tolist()) if here.dtype.hasobject else (here.base,)
    if isinstance(here, memoryview):
        return (here.obj,)
    if isinstance(here, msgspec.Struct):  # may be invisible to the garbage collector
        return [getattr(here, name) for name in here.__struct_fields__]
    return gc.get_referents(here)


def _bytes_of(here: object) -> bytes:
    """The object's own bytes; nothing for objects that only refer to others."""
    if isinstance(here, (bytes, bytearray, memoryview, array)):
        return bytes(here)
    if isinstance(here, np.ndarray):
        return b"" if here.dtype.hasobject else here.tobytes()
    if isinstance(here, str):
        return here.lower().encode("utf-8", "replace")
    if isinstance(here, int) and here.bit_length() >= _LEAST_INT_BITS:
        # Little-endian; what is big-endian is found backwards.
        return abs(here).to_bytes((here.bit_length() + 7) // 8, "little").ljust(PIECE_BYTES, b"\0")
    return b""
