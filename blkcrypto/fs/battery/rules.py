"""Which context rules a design's key setup breaks while it goes through the battery."""

import numpy as np

from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.waiting import RunLoop, Task
from blkcrypto.fs.battery.rows import Row
from blkcrypto.fs.battery.subject import Subject
from blkcrypto.fs.battery.trial import run_battery
from blkcrypto.fs.battery.unit_files import UnitSubject
from blkcrypto.fs.inline_data.subject import InlineSubject
from blkcrypto.fs.keysetup_io.always_blk_crypto import AlwaysBlkCrypto
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import Strictness
from blkcrypto.fs.keysetup_io.extent_io import Extent, ExtentFile
from blkcrypto.fs.keysetup_io.master import EXTENT_NONCE_BYTES, ExtentMasterKey
from blkcrypto.fs.keysetup_io.unit_medium import ExtentUnits

_SEED = 4


def _checker(subject: Subject) -> ContextChecker | None:
    if isinstance(subject, InlineSubject):
        return subject.checker
    if isinstance(subject, UnitSubject) and isinstance(subject.medium, ExtentUnits):
        return subject.medium.checker
    return None


def broken_rules(row: Row) -> tuple[str, ...] | None:
    """Primitives done where they are forbidden, by the rules of a real kernel, in order of first occurrence.

    None where key setup is not judged: the design has no checker.
    """
    subject = row.make(np.random.default_rng(_SEED))
    checker = _checker(subject)
    if checker is None:
        return None
    for _ in run_battery(subject, np.random.default_rng(_SEED + 1), row.limits):
        pass
    return _names(checker)


def broken_by_version_7() -> tuple[str, ...]:
    """The same of loading one extent as version 7 of the series does, of a mode that is in use already."""
    checker, task = ContextChecker(Strictness.KERNEL_REAL), Task("load")
    variant = AlwaysBlkCrypto(checker, Fallback(Kernel(), RunLoop(), np.random.default_rng(_SEED)))
    extent = Extent(bytes(EXTENT_NONCE_BYTES))
    file = ExtentFile(ExtentMasterKey(bytes(range(64))), [extent])
    variant.open_file(task, file)
    variant.load_as_posted(task, file, extent)
    return _names(checker)


def _names(checker: ContextChecker) -> tuple[str, ...]:
    return tuple(dict.fromkeys(violation.primitive for violation in checker.violations))
