"""Which column of a table is what, written as text.

    time=time:s,op=op:scsi,size=size:bytes,offset=lbn:sectors

``field=column:unit``, separated by commas.  A column is a name from the header line or a position, counted
from 1, or from the row's end when negative.

=========  ===================================================  ==========================================
field      unit                                                 meaning
=========  ===================================================  ==========================================
time       ``s``, ``ms``, ``us``, ``ns``, ``filetime`` (100 ns) when the I/O arrived; may have a fraction
op         ``rw`` (the default), ``rw-or-blank``, ``rwbs``,     how the operation is spelt
           ``scsi``, ``req_op``, ``read1``, ``bit0``
size       ``bytes``, ``sectors``, or a block size as ``4k``    length
offset     as size                                              address of the first byte
stream     none                                                 number of the process, job or host; optional
volume     none                                                 name of the device or volume; optional
latency    as time                                              from issue to completion; optional
queued     as time                                              from arrival to issue; optional
=========  ===================================================  ==========================================

An empty column gives every row the same: ``op=:read``, ``size=:4k``.  A column that may be missing from the
header ends in ``?``.  Settings, among the fields:

- ``delimiter=``: ``comma`` (the default), ``tab``, ``semicolon``, ``pipe``, ``space`` (runs of white space).
- ``header=``: ``yes``, ``no`` or ``auto`` (the default): there is one when a column is given by name, or when
  nothing in the first line begins like a number.
- ``clock=``: ``arrival`` (the default) or ``completion``: what the time column tells.  With ``completion``,
  arrival is time less latency and queued.
- ``free=NAME``: the column that may contain the delimiter; those after it are counted from the row's end.
- ``least=N``: a row has at least so many columns (by default, as many as are needed).
"""

import dataclasses
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import UnitError, parse_size
from scenarios.traces import ops

_WHERE: Final = "--columns"
REQUIRED: Final = ("time", "op", "size", "offset")
_OPTIONAL: Final = ("stream", "volume", "latency", "queued")

# Unit of time -> decimal digits from there to a nanosecond.
TIME_DIGITS: Final = {"s": 9, "ms": 6, "us": 3, "ns": 0}
FILETIME: Final = "filetime"
FILETIME_NS: Final = 100

SPELLINGS: Final[dict[str, ops.Spelling]] = {
    "rw": ops.by_table(ops.WORDS),
    "rw-or-blank": ops.by_table(ops.WORDS_OR_BLANK),
    "scsi": ops.by_table(ops.SCSI_HEX),
    "req_op": ops.by_table(ops.NUMBERS),
    "read1": ops.by_table(ops.READ_IS_1),
    "bit0": ops.by_table(ops.READ_BIT_0),
    "rwbs": ops.rwbs,
}
_DELIMITERS: Final = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """One ``field=column:unit``."""

    field: str
    column: str
    unit: str
    optional: bool = False

    @property
    def position(self) -> int | None:
        """Index from 0, or negative from the end; None when the column is given by name."""
        try:
            number = int(self.column)
        except ValueError:
            return None
        return number - 1 if number > 0 else number


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMap:
    """A whole column map.

    Attributes:
        uses: by field.
        delimiter: one character; a space stands for runs of white space.
        header: whether the first line is one; None to look.
        completion_clock: the time column tells completions.
        free: name of the column that may contain the delimiter, or empty.
        least: columns a row has at least; 0 for as many as are needed.
    """

    uses: dict[str, ColumnUse]
    delimiter: str = ","
    header: bool | None = None
    completion_clock: bool = False
    free: str = ""
    least: int = 0

    def has_names(self) -> bool:
        """Whether a header line is needed to find the columns."""
        return any(use.column and use.position is None for use in self.uses.values())


def parse_columns(text: str) -> ColumnMap:
    """Read a column map.

    Raises:
        BadInput: a field, unit or setting is unknown, or a required field is missing.
    """
    columns = ColumnMap(uses={})
    for part in text.split(","):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals:
            raise BadInput(f"{part!r} is not field=column:unit", where=_WHERE)
        if key in REQUIRED or key in _OPTIONAL:
            if key in columns.uses:
                raise BadInput(f"{key} is given twice", where=_WHERE)
            columns.uses[key] = _use(key, value.strip())
        else:
            columns = _with_setting(columns, key, value.strip())
    if missing := [field for field in REQUIRED if field not in columns.uses]:
        raise BadInput(f"{', '.join(missing)} missing: give each a column, as time=1:s", where=_WHERE)
    if columns.header is False and columns.has_names():
        raise BadInput("header=no leaves only positions: write 1 for the first column", where=_WHERE)
    return columns


def _use(field: str, value: str) -> ColumnUse:
    column, colon, unit = value.rpartition(":")
    if not colon:
        column, unit = value, ""
    optional = column.endswith("?")
    use = ColumnUse(field, column.removesuffix("?").strip(), unit.strip(), optional)
    if use.position == 0 and not int(use.column):
        raise BadInput(f"{field}={value}: positions are counted from 1", where=_WHERE)
    _check_unit(use)
    return use if use.unit or field != "op" else ColumnUse(field, use.column, "rw", optional)


def _check_unit(use: ColumnUse) -> None:
    given = f"{use.field}={use.column}:{use.unit}"
    if use.field in ("stream", "volume"):
        if use.unit or not use.column:
            raise BadInput(f"{given}: {use.field} takes a column and no unit", where=_WHERE)
    elif use.field in ("time", "latency", "queued"):
        units = (*TIME_DIGITS, FILETIME)
        if use.unit not in units or not use.column:
            raise BadInput(
                f"{given}: write {use.field}=column:unit, unit one of {', '.join(units)}", where=_WHERE
            )
    elif use.field == "op":
        allowed = SPELLINGS if use.column else {word.decode(): None for word in ops.WORDS}
        if use.unit not in allowed and (use.unit or not use.column):
            raise BadInput(f"{given}: op is one of {', '.join(allowed)}", where=_WHERE)
    else:
        unit_bytes(use)


def unit_bytes(use: ColumnUse) -> int:
    """Bytes one unit of a size or an offset stands for; the constant itself when the column is empty."""
    named = {"bytes": 1, "sectors": 512}
    if use.unit in named and use.column:
        return named[use.unit]
    try:
        size = parse_size(use.unit)
    except UnitError:
        size = 0
    if not size:
        raise BadInput(
            f"{use.field}={use.column}:{use.unit}: the unit is bytes, sectors or a size as 4k", where=_WHERE
        )
    return size


def _with_setting(columns: ColumnMap, key: str, value: str) -> ColumnMap:
    choices: dict[str, dict[str, object]] = {
        "delimiter": dict(_DELIMITERS),
        "header": {"yes": True, "no": False, "auto": None},
        "clock": {"arrival": False, "completion": True},
    }
    if key == "free":
        return dataclasses.replace(columns, free=value)
    if key == "least" and value.isdecimal():
        return dataclasses.replace(columns, least=int(value))
    if key not in choices:
        known = ", ".join((*REQUIRED, *_OPTIONAL, *choices, "free", "least"))
        raise BadInput(f"{key}={value} is no field or setting: there are {known}", where=_WHERE)
    if value not in choices[key]:
        raise BadInput(f"{key}={value}: {key} is one of {', '.join(choices[key])}", where=_WHERE)
    chosen = choices[key][value]
    if key == "delimiter":
        return dataclasses.replace(columns, delimiter=str(chosen))
    if key == "header":
        return dataclasses.replace(columns, header=None if chosen is None else bool(chosen))
    return dataclasses.replace(columns, completion_clock=bool(chosen))
