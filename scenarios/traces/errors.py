"""What is wrong with a trace, and where."""

from dataclasses import dataclass
from typing import Final

from blkcrypto.base.errors import BadInput

SKIP_HINT: Final = "repair it, or count and skip such lines with --skip-bad-lines"


class TraceError(BadInput):
    """A trace cannot be read.  ``where`` is ``file``, ``file:line`` or ``file:line:column``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The first bad line, or bad record, of some rows.

    Attributes:
        what: what is wrong with it.
        where: ``file:line:column``, or the record and its byte offset.
        rows_before: good rows of the same ``Rows`` that come before it.
    """

    what: str
    where: str
    rows_before: int

    def error(self) -> TraceError:
        """The exception that ends the reading, unless bad lines are skipped."""
        return TraceError(f"{self.what}: {SKIP_HINT}", where=self.where)
