"""Allocation contexts, and what each forbids.

A task is in one of four contexts; a primitive declares what it does, and the rules below decide.

=========  ====================================  =======================================================
context    where                                 forbidden
=========  ====================================  =======================================================
KERNEL     process, no locks                     nothing
NOFS       inside a transaction or writeback     what may re-enter a filesystem
NOIO       at or below the submission of a bio   what may start I/O
ATOMIC     completion of a bio                   sleeping
=========  ====================================  =======================================================

- A module load, and the master-key semaphore, may re-enter the filesystem: KERNEL only.  A
  ``memalloc_nofs`` scope does not make them safe: it changes allocations and nothing else.
- An allocation needs a context as permissive as its gfp; a scope lowers the gfp.
- *Strict* allows no allocation below KERNEL except from a reserve; *kernel-real* allows what the gfp allows.
- Deriving and setting keys belongs to a task: it is long, and some ciphers' setkey may wait.
- A blocking take from a reserve must be the first of its stage: a task that holds an element and waits for
  another of the same, or an earlier, stage can wait for itself.

Source: reference fscrypt.md section 6.5; Documentation/core-api/gfp_mask-from-fs-io.rst.
"""

import enum
from dataclasses import dataclass


class Ctx(enum.IntEnum):
    """Allocation context of a task; a higher one forbids less."""

    ATOMIC = 0
    NOIO = 1
    NOFS = 2
    KERNEL = 3


class Strictness(enum.Enum):
    """Which allocations below KERNEL are forgiven."""

    STRICT = "strict"
    KERNEL_REAL = "kernel-real"


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitive:
    """Something that key setup or I/O does.

    Attributes:
        name: as the kernel calls it.
        gfp: context its allocation is made for; None when it allocates nothing.
        sleeps: whether it may sleep for another reason than memory.
        loads_module: whether it may load a module.
        takes_key_semaphore: whether it takes the master-key semaphore.
        stage: of the reserve it blocks on, 1 and up; 0 when it takes from none.
        in_completion: whether it is fit for the completion of a bio, if it does not sleep.
    """

    name: str
    gfp: Ctx | None = None
    sleeps: bool = False
    loads_module: bool = False
    takes_key_semaphore: bool = False
    stage: int = 0
    in_completion: bool = True


ALLOC_SKCIPHER = Primitive(name="crypto_alloc_skcipher", gfp=Ctx.KERNEL, sleeps=True, loads_module=True)
START_USING_NEW_MODE = Primitive(
    name="blk_crypto_start_using_key, first use of the mode", gfp=Ctx.KERNEL, sleeps=True, loads_module=True
)
START_USING_KNOWN_MODE = Primitive(name="blk_crypto_start_using_key, mode in use", in_completion=False)
INIT_KEY = Primitive(name="blk_crypto_init_key")
KMALLOC_KEY_OBJECT = Primitive(name="kmalloc of a key object", gfp=Ctx.KERNEL)
KEY_SEMAPHORE = Primitive(name="master-key semaphore", sleeps=True, takes_key_semaphore=True)
HKDF_EXPAND = Primitive(name="HKDF-Expand", in_completion=False)
SETKEY = Primitive(name="crypto_skcipher_setkey", in_completion=False)
TAKE_TRANSFORM = Primitive(name="take a transform from its pool", sleeps=True, stage=1)
TAKE_KEY_OBJECT = Primitive(name="take a key object from its pool", sleeps=True, stage=1)
GET_KEYSLOT = Primitive(name="blk_crypto_get_keyslot", sleeps=True, stage=2)
EVICT_KEY = Primitive(name="blk_crypto_evict_key", sleeps=True)
CRYPT = Primitive(name="encrypt or decrypt on the CPU")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task is when it does something.

    Attributes:
        ctx: its context.
        scope: the gfp that a ``memalloc_*`` scope leaves of KERNEL; KERNEL without a scope.
    """

    ctx: Ctx
    scope: Ctx = Ctx.KERNEL


def objection(primitive: Primitive, place: Place, strictness: Strictness, held_stage: int = 0) -> str:
    """Why ``primitive`` is forbidden at ``place``; empty when it is allowed.

    Args:
        primitive: what is done.
        place: where.
        strictness: which allocations are forgiven.
        held_stage: highest stage the task holds an element of; 0 for none.
    """
    ctx = place.ctx
    if primitive.loads_module and ctx < Ctx.KERNEL:
        return "may load a module, which reads files"
    if primitive.takes_key_semaphore and ctx < Ctx.KERNEL:
        return "takes a lock that others hold while they allocate with GFP_KERNEL"
    if primitive.gfp is not None and ctx < Ctx.KERNEL:
        gfp = min(primitive.gfp, place.scope)
        if gfp > ctx:
            return f"allocates with GFP_{gfp.name}"
        if strictness is Strictness.STRICT:
            return "allocates other than from a reserve"
    if primitive.sleeps and ctx is Ctx.ATOMIC:
        return "may sleep"
    if not primitive.in_completion and ctx is Ctx.ATOMIC:
        return "belongs to a task, not to a completion"
    if primitive.stage and held_stage >= primitive.stage:
        return f"waits for stage {primitive.stage} while holding an element of stage {held_stage}"
    return ""
