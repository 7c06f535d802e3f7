"""Which format a trace is in, by its content.

Binary formats by magic number or by records that make sense one after another; text by its first line, or by
half of its first lines looking like the format's, so that one damaged line does not hide it.
"""

from typing import Final

from scenarios.traces.errors import TraceError
from scenarios.traces.formats import FORMATS, Format
from scenarios.traces.source import Source

_HEAD_BYTES: Final = 65_536
_LINES: Final = 20


def detect(source: Source) -> Format:
    """The format of a trace that has not been read from yet.

    Raises:
        TraceError: it is empty, or in none of the formats.
    """
    head = source.peek(_HEAD_BYTES)
    if not head:
        source.read(1)  # damage at the very beginning has a message of its own
        raise TraceError("the trace is empty", where=source.name)
    if len(head) == _HEAD_BYTES and not any(head):
        raise TraceError("begins with nothing but zeroes: this is no trace", where=source.name)
    rows = FORMATS.values()
    for row in rows:
        if row.binary and row.binary(head) and (b"\0" in head or row.name == "parquet"):
            return row
    lines = _first_lines(head)
    for row in rows:
        if lines and row.header and row.header.fullmatch(lines[0]):
            return row
    content = [line for line in lines if not line.startswith(b"#")]
    for row in rows:
        if row.line and 2 * sum(bool(row.line.match(line)) for line in content) > max(len(content) - 1, 0):
            return row
    raise TraceError(_unknown(), where=source.name)


def _first_lines(head: bytes) -> list[bytes]:
    lines = head.removeprefix(b"\xef\xbb\xbf").splitlines()
    if len(head) == _HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may go on
    return [line for line in lines if line.strip()][:_LINES]


def _unknown() -> str:
    names = ", ".join(FORMATS)
    example = "time=1:s,op=2:rw,offset=3:bytes,size=4:bytes"
    return (
        f"the format is not recognised: name it with --format (there are {names}), "
        f"or describe a table with --columns, as {example}"
    )
