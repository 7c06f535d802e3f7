"""Rows of arrays by their address, for compiled code.

numba counts references to the arrays that functions hand each other, with atomic operations; a loop whose
parts were functions of arrays took ten times as long.  An address is a number, and a row of it a record.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import numba
from numba.core import types
from numba.extending import intrinsic

from hwmodel.compiled.state import Bio, Cpu, Event, Float, InFlight, Int, Op, Queue, Slot, Stock, dtype_of

Function = TypeVar("Function", bound=Callable[..., object])
Row = TypeVar("Row")


def compiled(function: Function) -> Function:
    """``function`` as machine code, made at its first call and kept for the next process.

    What is kept belongs to the text of this package, because ``state.State`` bears its digest.  Nothing
    divides by zero here, so that numpy's way of dividing spares the question.
    """
    code = numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)
    with suppress(RuntimeError):  # nowhere to keep it
        code.enable_caching()
    return cast(Function, code)


def _at(kind: type[Row]) -> Callable[[int, int], Row]:
    """Compiled: the row at an index of those that begin at an address.  Nobody checks the index."""
    record = numba.from_dtype(dtype_of(kind))

    def row_at(_context: Any, _address: Any, _index: Any) -> Any:  # numba's own, which have no types
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, index = arguments
            size = context.get_constant(types.int64, record.size)
            return builder.inttoptr(
                builder.add(address, builder.mul(index, size)), context.get_value_type(record)
            )

        return record(types.int64, types.int64), generate

    return cast(Callable[[int, int], Row], intrinsic(row_at))


bio_at = _at(Bio)
cpu_at = _at(Cpu)
event_at = _at(Event)
float_at = _at(Float)
int_at = _at(Int)
op_at = _at(Op)
queue_at = _at(Queue)
request_at = _at(InFlight)
slot_at = _at(Slot)
stock_at = _at(Stock)
