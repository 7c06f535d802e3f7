"""What setting up a key takes, where, and which rules it breaks: found by doing it once.

Variants V1 to V6 are run on one extent each, with the context checker looking on; the other designs' steps
are given as the primitives they take.  Counts times prices are CPU time; what the checker objected to once,
it would object to every time.

Places: files are opened in process context (KERNEL); writes are encrypted in writeback, and extent maps are
read, under NOFS with its memalloc scope; reads are decrypted by a worker below bio submission (NOIO).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.waiting import RunLoop, Task, run_to_end
from blkcrypto.fs.inline_data.region import PER_MODE_MUTEX
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import (
    ALLOC_SKCIPHER,
    HKDF_EXPAND,
    INIT_KEY,
    KEY_SEMAPHORE,
    KMALLOC_KEY_OBJECT,
    SETKEY,
    START_USING_KNOWN_MODE,
    START_USING_NEW_MODE,
    Ctx,
    Primitive,
    Strictness,
)
from blkcrypto.fs.keysetup_io.extent_io import Extent, ExtentFile, ExtentIo, at_once
from blkcrypto.fs.keysetup_io.makers import MAKERS
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey
from scenarios.schema import Design

# Assumption: an allocation from a slab, and a lock that nobody else holds.
KMALLOC_NS: Final = 200
LOCK_NS: Final = 50
_FALLBACK_KEYSLOTS: Final = 100
_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens again and again.

    Attributes:
        ns: CPU time.
        derivations: HKDF expansions.
        violations: what the checker says, by text.
    """

    ns: int = 0
    derivations: int = 0
    violations: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class SetupTally:
    """What happened in a run.

    Attributes:
        at_open, during_io: how often a key was set up.
        open_ns: CPU time of the former; nobody's I/O waits for it.
        derivations: of both.
        violations: by text.
        crypto_ns: CPU time of ciphers outside the machine's own data path.
    """

    at_open: int = 0
    during_io: int = 0
    open_ns: int = 0
    derivations: int = 0
    crypto_ns: int = 0
    violations: Counter[str] = field(default_factory=Counter)

    def opened(self, event: Event, times: int = 1) -> None:
        """``event`` took place when a file was opened; an empty one is nothing."""
        if not event.ns:
            return
        self.at_open += times
        self.open_ns += event.ns * times
        self._count(event, times)

    def in_io(self, event: Event, times: int = 1) -> None:
        """``event`` took place during I/O; its time is charged to the bio."""
        self.during_io += times
        self._count(event, times)

    def _count(self, event: Event, times: int) -> None:
        self.derivations += event.derivations * times
        for text, count in event.violations.items():
            self.violations[text] += count * times


class Prices:
    """CPU time of primitives.

    Args:
        design: the scenario's section.
        setkey_ns: of the device's host.
    """

    def __init__(self, design: Design, setkey_ns: int) -> None:
        self.strictness = Strictness.STRICT if design.strict_contexts else Strictness.KERNEL_REAL
        self._ns = {
            ALLOC_SKCIPHER.name: design.alloc_cipher_ns,
            START_USING_NEW_MODE.name: _FALLBACK_KEYSLOTS * design.alloc_cipher_ns,
            HKDF_EXPAND.name: design.hkdf_ns,
            SETKEY.name: setkey_ns,
            KMALLOC_KEY_OBJECT.name: KMALLOC_NS,
            KEY_SEMAPHORE.name: LOCK_NS,
            PER_MODE_MUTEX.name: LOCK_NS,
        }

    def steps(self, primitives: Iterable[Primitive], ctx: Ctx) -> Event:
        """``primitives`` one after another in ``ctx``, under its memalloc scope below KERNEL."""
        checker, task = ContextChecker(self.strictness), Task("key setup")
        with checker.entering(task, ctx, memalloc_scope=ctx < Ctx.KERNEL):
            for primitive in primitives:
                checker.does(task, primitive)
        return self.event(checker)

    def event(self, checker: ContextChecker) -> Event:
        """All that ``checker`` saw."""
        return Event(
            sum(self._ns.get(name, 0) * count for name, count in checker.counts.items()),
            checker.counts[HKDF_EXPAND.name],
            Counter(f"{each.primitive} in {each.place.ctx.name}: {each.why}" for each in checker.violations),
        )


# A file-wide key of fscrypt: allocated, derived and set when the file is opened.
FILE_KEY: Final = (KEY_SEMAPHORE, KMALLOC_KEY_OBJECT, HKDF_EXPAND, INIT_KEY, START_USING_KNOWN_MODE)
# A file's cipher where the filesystem encrypts.
FILE_CIPHER: Final = (KEY_SEMAPHORE, KMALLOC_KEY_OBJECT, ALLOC_SKCIPHER, HKDF_EXPAND, SETKEY)
# An extent's key as versions 5 to 7 of the series load it, and the heavyweight one before them.
EXTENT_KEY: Final = (KMALLOC_KEY_OBJECT, KEY_SEMAPHORE, START_USING_KNOWN_MODE, HKDF_EXPAND, INIT_KEY)
# The inode's region under inline_data, by the posted helper.
REGION_KEY: Final = (PER_MODE_MUTEX, KEY_SEMAPHORE, ALLOC_SKCIPHER, HKDF_EXPAND, SETKEY)


@dataclass(frozen=True, slots=True)
class VariantEvents:
    """A variant's events.

    Attributes:
        open_file: once per file, however many extents.
        open_extent: for each extent that exists when the file is opened.
        new_write: first write of an extent made since; ``write`` every later one, and any of a known one.
        read: of an extent used before, or known when the file was opened.
    """

    open_file: Event
    open_extent: Event
    new_write: Event
    write: Event
    read: Event


def variant_events(name: str, prices: Prices) -> VariantEvents:
    """Run variant ``name`` once through every situation."""
    nothing = _seen(name, prices, known=0, act=lambda *_: None)
    one = _seen(name, prices, known=1, act=lambda *_: None)
    two = _seen(name, prices, known=2, act=lambda *_: None)
    per_extent = _less(two, one)
    return VariantEvents(
        open_file=nothing if per_extent.ns else one,
        open_extent=per_extent,
        new_write=_less(_seen(name, prices, known=1, act=_write_new), one),
        write=_less(_seen(name, prices, known=1, act=_write_twice), _seen(name, prices, 1, _write_known)),
        read=_less(_seen(name, prices, known=1, act=_write_and_read), _seen(name, prices, 1, _write_known)),
    )


class _Once:
    """One variant with one file open."""

    def __init__(self, name: str, prices: Prices, known: int) -> None:
        self.checker = ContextChecker(prices.strictness)
        fallback = Fallback(Kernel(), RunLoop(), np.random.default_rng(0), num_keyslots=_FALLBACK_KEYSLOTS)
        self.variant = MAKERS[name](self.checker, fallback, at_once)
        self.extents = [Extent(bytes((number, *bytes(15)))) for number in range(known)]
        self.file = ExtentFile(ExtentMasterKey(bytes(range(64))), self.extents)
        self.task = Task("io")
        self.variant.open_file(self.task, self.file)

    def io(self, extent: Extent, ctx: Ctx, *, encrypt: bool) -> None:
        unit = np.zeros((1, _BLOCK), np.uint8)
        with self.checker.entering(self.task, ctx, memalloc_scope=True):
            run_to_end(self.variant.crypt(self.task, self.file, ExtentIo(extent, 0, unit, encrypt)))


def _write_known(once: _Once) -> None:
    once.io(once.extents[0], Ctx.NOFS, encrypt=True)


def _write_twice(once: _Once) -> None:
    _write_known(once)
    _write_known(once)


def _write_and_read(once: _Once) -> None:
    _write_known(once)
    once.io(once.extents[0], Ctx.NOIO, encrypt=False)


def _write_new(once: _Once) -> None:
    once.io(Extent(bytes(range(100, 116))), Ctx.NOFS, encrypt=True)


def _seen(name: str, prices: Prices, known: int, act: Callable[[_Once], None]) -> Event:
    once = _Once(name, prices, known)
    act(once)
    return prices.event(once.checker)


def _less(both: Event, first: Event) -> Event:
    violations = Counter(both.violations)
    violations.subtract(first.violations)
    return Event(both.ns - first.ns, both.derivations - first.derivations, +violations)
