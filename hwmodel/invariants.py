"""What always holds, by name, and the error of a machine in which it does not.

A fact per row.  ``hwmodel.checked`` asks for those that cost time (``--check``); the others are sums that
every run keeps anyway.
"""

from dataclasses import dataclass
from typing import Final, Literal

When = Literal["always", "with faults", "--check"]


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that holds whatever a machine is asked to do.

    Attributes:
        name: as results and errors call it.
        what: how it is checked.
        when: in every run, in every run with faults, or when asked.
    """

    name: str
    what: str
    when: When


STAGE_SUMS: Final = Invariant(
    "stage times sum to each bio's total", "of each record; --check: as it is made", "always"
)
NO_NEGATIVE_STAGE: Final = Invariant(
    "no stage is negative", "of each record; --check: as it is made", "always"
)
ACQUIRES_ADD_UP: Final = Invariant(
    "every keyslot acquired was a hit or a program", "or a failure, or a power cut's; counted", "always"
)
NOTHING_LEFT: Final = Invariant(
    "nothing is left in flight", "at the end every tag is free and no keyslot held", "always"
)
NO_EVICTED_KEY: Final = Invariant(
    "no bio is served with an evicted key", "the key in the hardware as each bio completes", "with faults"
)
EXACTLY_ONCE: Final = Invariant(
    "every bio completes exactly once", "counted; --check: bio by bio, as each completes", "with faults"
)
NO_FLUSHED_WRITE_LOST: Final = Invariant(
    "no flushed write is lost", 'after each power cut, with run.payload = "verify"', "with faults"
)
TIME_GOES_ON: Final = Invariant(
    "time never goes back", "after each event, and of each event queued", "--check"
)
REFERENCES: Final = Invariant(
    "every keyslot is referenced by the bios that hold it",
    "references of each slot against the requests that say they hold it; none by a bio that completes",
    "--check",
)
LRU_ORDER: Final = Invariant(
    "the slot programmed is idle, and was idle longest",
    "of each victim; times of release are kept apart from the idle list",
    "--check",
)
ONE_SLOT_PER_KEY: Final = Invariant(
    "no key is in two keyslots", "of each key installed, against all other slots", "--check"
)
ONE_HOLDER: Final = Invariant(
    "the profile lock has one holder", "each time it is taken for writing, or dropped", "--check"
)
OWN_KEY: Final = Invariant(
    "each bio is served by a keyslot with its own key",
    "what the hardware holds, as the device begins and as it is done",
    "--check",
)
TAGS: Final = Invariant(
    "tags are conserved", "free ones and those that were given out, after each event", "--check"
)
NO_IDLE_WAIT: Final = Invariant(
    "nobody waits for what is free", "a tag, an idle keyslot or the lock, after each event", "--check"
)
BYTES: Final = Invariant(
    "bytes are conserved",
    "parts of each split bio and bios of each merged request, end to end; and what arrives completes",
    "--check",
)
DUN_CONTINUITY: Final = Invariant(
    "DUNs go on through splits and merges",
    "the first DUN of each part and of each merged bio, of the same key",
    "--check",
)
CIPHERTEXT: Final = Invariant(
    "the medium holds only ciphertext",
    'every 16 bytes of each data unit written, against its plaintext; with run.payload = "verify"',
    "--check",
)

INVARIANTS: Final = (
    STAGE_SUMS,
    NO_NEGATIVE_STAGE,
    ACQUIRES_ADD_UP,
    NOTHING_LEFT,
    NO_EVICTED_KEY,
    EXACTLY_ONCE,
    NO_FLUSHED_WRITE_LOST,
    TIME_GOES_ON,
    REFERENCES,
    LRU_ORDER,
    ONE_SLOT_PER_KEY,
    ONE_HOLDER,
    OWN_KEY,
    TAGS,
    NO_IDLE_WAIT,
    BYTES,
    DUN_CONTINUITY,
    CIPHERTEXT,
)


class InvariantBroken(Exception):
    """A machine did what must never happen: the fault is the program's, never the input's.

    Attributes:
        invariant: which.
        what: what was found instead.
        history: of the bio that was moved when it was found; empty while none is known.
    """

    def __init__(self, invariant: Invariant, what: str, history: str = "") -> None:
        super().__init__(invariant, what, history)  # all of it, or the error cannot come from another process
        self.invariant = invariant
        self.what = what
        self.history = history

    def __str__(self) -> str:
        return f"broken invariant: {self.invariant.name}: {self.what}; {self.history or 'no bio was moved'}"
