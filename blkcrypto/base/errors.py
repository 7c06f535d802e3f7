"""The two families of errors.

``BlkCryptoError``: what Linux would answer with an errno.  One subclass per cause, defined next to
the rule that raises it; each names its errno.  ``BadInput``: a file, option or value a person gave us
is wrong; it says what, where and what to do, and ends the command with exit status 2.
"""

import errno as _errno
from pathlib import Path
from typing import ClassVar

_LINUX_NAMES = {_errno.EOPNOTSUPP: "EOPNOTSUPP", _errno.EAGAIN: "EAGAIN", _errno.EDEADLK: "EDEADLK"}


class BlkCryptoError(Exception):
    """An error that Linux reports as an errno.  ``errno`` is positive, as in ``<errno.h>``."""

    errno: ClassVar[int]

    @property
    def errno_name(self) -> str:
        """``EINVAL`` and its like, spelt as Linux does where a number has two names."""
        return _LINUX_NAMES.get(self.errno) or _errno.errorcode[self.errno]

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.errno_name}]"


class BadInput(Exception):
    """Something a person gave us is wrong.

    Attributes:
        what: what is wrong, and what to do instead.
        where: file, line, column or key; empty when there is no such place.
    """

    def __init__(self, what: str, *, where: str = "") -> None:
        super().__init__(what, where)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


def at_line(path: Path | str, line: int, column: int | None = None) -> str:
    """``path:line[:column]``, lines and columns counted from 1, as compilers print them."""
    return f"{path}:{line}" if column is None else f"{path}:{line}:{column}"
