"""Exit statuses of ``blkcrypto``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scenarios.results.result import RunResult

DONE: Final = 0
CHECK_FAILED: Final = 1  # data that differs, an invariant, the self-test
BAD_REQUEST: Final = 2
POINTS_FAILED: Final = 3  # of a sweep
INVARIANT_BROKEN: Final = 4  # ``--check`` ended the run
INTERRUPTED: Final = 130


def status_of(results: "Iterable[RunResult]") -> int:
    """Whether all data was as written and all checks held."""
    failed = any(result.mismatches or not all(result.checks.values()) for result in results)
    return CHECK_FAILED if failed else DONE
