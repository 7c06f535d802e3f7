"""What all users of polars need: whether it is there, and what it raises."""

import os
from pathlib import Path

from blkcrypto.base.errors import BadInput


def need_polars() -> None:
    """Refuse Parquet where polars is not installed.

    Raises:
        BadInput: it is not.
    """
    try:
        import polars  # noqa: F401  (only to see whether it is there)
    except ImportError:
        raise BadInput("Parquet needs polars: pip install 'blkcrypto[trace]'") from None


def polars_errors() -> tuple[type[BaseException], ...]:
    """What polars raises for files that it cannot read or write.

    Damage it has no check for ends in a panic of its own, which is no ``Exception``.
    """
    import polars as pl

    return (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


def polars_path(path: str | Path) -> str:
    """``path`` as polars takes it.

    Raises:
        BadInput: it is not UTF-8.
    """
    try:
        return os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("Parquet files need a name in UTF-8: rename it", where=ascii(str(path))) from None
