"""Where dm-crypt encrypts: the way of a bio through its work queues, and what the table's flags leave out.

Rules (drivers/md/dm-crypt.c; Documentation/admin-guide/device-mapper/dm-crypt.rst):

- A read goes to the device at once; when it completes, a ``kcryptd`` worker decrypts it in place.
- A write is encrypted by a ``kcryptd`` worker into bounce pages, then a thread sorts writes by sector and
  submits them.
- ``submit_from_crypt_cpus`` leaves the thread out.  ``no_write_workqueue`` leaves worker and thread out: the
  submitter encrypts and submits.
- ``no_read_workqueue`` decrypts in the completion; one in hard interrupt context, or with interrupts off,
  hands it to a softirq worker first, since ciphers refuse to work there.
- ``same_cpu_crypt`` binds workers to the CPU that queued the work, else any CPU may take it.
  ``high_priority`` changes scheduling only.
- A bio larger than the limit is split: 128 KiB for reads and writes, rounded down to whole sectors.
"""

import enum
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.fs.keysetup_io.contexts import Ctx
from blkcrypto.fs.keysetup_io.progress import Take

DEFAULT_MAX_BYTES: Final = 131072

# Pages for a whole part at once (a mutex keeps two writers from holding half each), then crypto requests.
WRITE_PATH: Final = (Take("bounce pages", 1, 256, 32), Take("crypto requests", 2, 64))


class CryptFlag(enum.Enum):
    """Options of a ``crypt`` table that move work about."""

    SAME_CPU_CRYPT = "same_cpu_crypt"
    SUBMIT_FROM_CRYPT_CPUS = "submit_from_crypt_cpus"
    HIGH_PRIORITY = "high_priority"
    NO_READ_WORKQUEUE = "no_read_workqueue"
    NO_WRITE_WORKQUEUE = "no_write_workqueue"


class Where(enum.Enum):
    """Who does a step."""

    SUBMITTER = "submitter"
    KCRYPTD = "kcryptd worker"
    DMCRYPT_WRITE = "dmcrypt_write thread"
    COMPLETION = "completion"
    SOFTIRQ_WORKER = "softirq worker"


@dataclass(frozen=True, slots=True)
class CryptPath:
    """The way of one bio.

    Attributes:
        crypt: who encrypts or decrypts.
        submit: who submits to the device.
        crypt_context: allocation context of ``crypt``.
        handovers: how often the bio changes hands before its owner is told.
        sorted_writes: whether writes reach the device in order of sector.
        bound: whether workers stay on the CPU that queued the work.
    """

    crypt: Where
    submit: Where
    crypt_context: Ctx
    handovers: int
    sorted_writes: bool
    bound: bool


def write_path(flags: frozenset[CryptFlag]) -> CryptPath:
    """The way of a write."""
    bound = CryptFlag.SAME_CPU_CRYPT in flags
    if CryptFlag.NO_WRITE_WORKQUEUE in flags:
        return CryptPath(Where.SUBMITTER, Where.SUBMITTER, Ctx.NOIO, 0, False, bound)
    if CryptFlag.SUBMIT_FROM_CRYPT_CPUS in flags:
        return CryptPath(Where.KCRYPTD, Where.KCRYPTD, Ctx.NOIO, 1, False, bound)
    return CryptPath(Where.KCRYPTD, Where.DMCRYPT_WRITE, Ctx.NOIO, 2, True, bound)


def read_path(flags: frozenset[CryptFlag], *, interrupts_off: bool = False) -> CryptPath:
    """The way of a read.

    Args:
        flags: of the table.
        interrupts_off: whether the device completes in hard interrupt context, or with interrupts off.
    """
    bound = CryptFlag.SAME_CPU_CRYPT in flags
    if CryptFlag.NO_READ_WORKQUEUE not in flags:
        return CryptPath(Where.KCRYPTD, Where.SUBMITTER, Ctx.NOIO, 1, False, bound)
    if interrupts_off:
        return CryptPath(Where.SOFTIRQ_WORKER, Where.SUBMITTER, Ctx.ATOMIC, 1, False, bound)
    return CryptPath(Where.COMPLETION, Where.SUBMITTER, Ctx.ATOMIC, 0, False, bound)


def split_sectors(sectors: int, sector_size: int, max_bytes: int = DEFAULT_MAX_BYTES) -> list[int]:
    """Lengths, in 512-byte sectors, of the parts a bio is cut into.

    Args:
        sectors: of the bio.
        sector_size: of the mapping: a part is whole units, and at least one.
        max_bytes: module parameter ``max_read_size`` or ``max_write_size``.
    """
    most = max(max_bytes - max_bytes % sector_size, sector_size) >> SECTOR_SHIFT
    whole, rest = divmod(sectors, most)
    return [most] * whole + ([rest] if rest else [])
