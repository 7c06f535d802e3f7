"""One mutant."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong line.

    Attributes:
        guards: what it breaks: ``7.1/5`` is invariant 5 of reference block-layer.md section 7.1; other
            entries name the section.
        path: file in the repository.
        right: text that is there exactly once.
        wrong: what it becomes.
        tests: file below ``tests`` and, after a space, the ``-k`` expression of the tests that must fail.
    """

    guards: str
    path: str
    right: str
    wrong: str
    tests: str

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.guards} {self.path}: {' '.join(self.wrong.split()) or 'nothing'}"[:100]
