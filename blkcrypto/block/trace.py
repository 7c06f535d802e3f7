"""Block-layer events, under the names of the kernel's tracepoints.

Source: include/trace/events/block.h.
"""

import enum
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from blkcrypto.block.op import ReqOp


class Tracepoint(enum.Enum):
    """What happened."""

    BIO_QUEUE = "block_bio_queue"
    SPLIT = "block_split"
    BIO_BACKMERGE = "block_bio_backmerge"
    BIO_FRONTMERGE = "block_bio_frontmerge"
    BIO_REMAP = "block_bio_remap"
    GETRQ = "block_getrq"
    RQ_INSERT = "block_rq_insert"
    RQ_MERGE = "block_rq_merge"
    RQ_ISSUE = "block_rq_issue"
    RQ_REQUEUE = "block_rq_requeue"
    RQ_COMPLETE = "block_rq_complete"


class BlockEvent(NamedTuple):
    """One event.

    Attributes:
        tracepoint: what happened.
        device: name of the disk.
        op: operation of the bio or request.
        sector: its first sector.
        arg: sectors; for a split, the sector of the cut.
    """

    tracepoint: Tracepoint
    device: str
    op: ReqOp
    sector: int
    arg: int


Tracer: TypeAlias = Callable[[BlockEvent], None]


def no_trace(_event: BlockEvent) -> None:
    """Drop the event."""
