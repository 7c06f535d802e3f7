"""What a self-test found."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that Linux wrote and we computed differently.

    Attributes:
        case: golden file, relative to the golden directory.
        subject: the file, directory entry, vector or table.
        what: kind of check: contents, name, identifier ...
        where: for contents, the run and the first data unit that differs; else what differs.
    """

    case: str
    subject: str
    what: str
    where: str = ""

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.case}: {self.subject}: {self.what} differs{place}"


@dataclass(slots=True)
class SelfTestReport:
    """Counts of a self-test, and every mismatch.

    Attributes:
        matched: checks that agree with Linux, by kind.
        mismatches: those that do not.
        skipped: checks not made, by reason.
    """

    matched: Counter[str] = field(default_factory=Counter)
    mismatches: list[Mismatch] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def check(self, agrees: bool, case: str, subject: str, what: str, where: str = "") -> None:
        """Count one check."""
        if agrees:
            self.matched[what] += 1
        else:
            self.mismatches.append(Mismatch(case, subject, what, where))

    def skip(self, reason: str, count: int = 1) -> None:
        """Count checks not made."""
        self.skipped[reason] += count

    @property
    def passed(self) -> bool:
        """Whether nothing differs; skipped checks do not fail a self-test."""
        return not self.mismatches

    def summary(self) -> str:
        """``N matched, N mismatched, N skipped``."""
        bad = len(self.mismatches)
        return f"{self.matched.total()} matched, {bad} mismatched, {self.skipped.total()} skipped"
