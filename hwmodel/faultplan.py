"""What goes wrong in a run, and when: frozen structs, without behaviour.

Every fault on a schedule begins ``at_ns`` after ``after_bios`` bios are done (0: after the run's start).
``Rates`` adds faults at random, from a stream of their own.
"""

from typing import Literal

import msgspec

ErrorName = Literal["EIO", "EINVAL", "EBUSY", "ENOMEM", "ETIMEDOUT"]
KeyOperationName = Literal["import", "generate", "prepare", "derive_sw_secret"]


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The controller is reset: every key in the hardware is lost, requests in flight are requeued.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
    """

    at_ns: int = 0
    after_bios: int = 0


class ProgramFailure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The next ``count`` programs of a keyslot fail.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
        count: programs that fail.
        error: what the driver answers.
        takes_ns: how long it takes to fail, e.g. a timeout; 0 for as long as a program that works.
        clobbers: the hardware lost the slot's old key, while software still believes it there.
    """

    at_ns: int = 0
    after_bios: int = 0
    count: int = 1
    error: ErrorName = "EIO"
    takes_ns: int = 0
    clobbers: bool = False


class Hang(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Secure firmware answers nothing for ``duration_ns``: a program begun then ends after ``timeout_ns``.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
        duration_ns: how long the firmware hangs.
        timeout_ns: what a program begun meanwhile takes.
        error: what the driver answers then.
    """

    duration_ns: int
    timeout_ns: int
    at_ns: int = 0
    after_bios: int = 0
    error: ErrorName = "ETIMEDOUT"


class MediaError(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The next ``count`` read requests meet data that the medium cannot give back.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
        count: read requests that fail.
    """

    at_ns: int = 0
    after_bios: int = 0
    count: int = 1


class PowerCut(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Power fails, and comes back: whatever was not flushed is lost, kept or torn.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
        outage_ns: until the device takes I/O again, which later bios wait for; 0 for the time of a reset.
        tear_bytes: what the medium writes as a whole; a data unit larger than this may be torn.
    """

    at_ns: int = 0
    after_bios: int = 0
    outage_ns: int = 0
    tear_bytes: int = 512


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The device is gone for good.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
    """

    at_ns: int = 0
    after_bios: int = 0


class Slowdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Media, link and engine take ``percent`` of their time for ``duration_ns``: the device is too hot.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
        duration_ns: how long the device is hot.
        percent: of the normal time.
    """

    duration_ns: int
    at_ns: int = 0
    after_bios: int = 0
    percent: int = 200


class Eviction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Key number ``key`` (in order of first use) is evicted, as when its file's inode leaves memory.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
        key: number of the key.
    """

    key: int
    at_ns: int = 0
    after_bios: int = 0


class KeyOperation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody else's hardware-wrapped keys are worked on, as when a user unlocks: the profile lock is held.

    Attributes:
        at_ns: counted from the completion of ``after_bios``.
        after_bios: bios that complete before; 0 for the run's start.
        op: what the key-wrapping unit does, and so how long it takes.
        count: how many, one after another; others get the lock in between.
    """

    op: KeyOperationName
    at_ns: int = 0
    after_bios: int = 0
    count: int = 1


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Faults at random.

    Attributes:
        resets_per_s: controller resets, as a Poisson process; each comes with the next request sent.
        program_failure: probability that a program fails, with ``EIO``.
        clobber: probability that a failed program lost the slot's old key.
        media_error: probability that a read request fails.
    """

    resets_per_s: float = 0.0
    program_failure: float = 0.0
    clobber: float = 0.0
    media_error: float = 0.0


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that goes wrong in one run."""

    resets: tuple[Reset, ...] = ()
    program_failures: tuple[ProgramFailure, ...] = ()
    hangs: tuple[Hang, ...] = ()
    media_errors: tuple[MediaError, ...] = ()
    power_cuts: tuple[PowerCut, ...] = ()
    removals: tuple[Removal, ...] = ()
    slowdowns: tuple[Slowdown, ...] = ()
    evictions: tuple[Eviction, ...] = ()
    key_operations: tuple[KeyOperation, ...] = ()
    rates: Rates = Rates()

    def scheduled(self) -> "tuple[Fault, ...]":
        """Every fault on a schedule."""
        return (
            *self.resets,
            *self.program_failures,
            *self.hangs,
            *self.media_errors,
            *self.power_cuts,
            *self.removals,
            *self.slowdowns,
            *self.evictions,
            *self.key_operations,
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing goes wrong."""
        return not self.scheduled() and self.rates == Rates()


Fault = Reset | ProgramFailure | Hang | MediaError | PowerCut | Removal | Slowdown | Eviction | KeyOperation
