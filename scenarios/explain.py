"""One bio among the others of its run: where its time went, from the records that ``--parquet`` kept."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.op import ReqOp
from hwmodel.request import RECORD
from scenarios.results.records import scan_records
from scenarios.results.result import STAGES
from scenarios.traces.with_polars import polars_errors

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """What one stage took: this bio, and its like (bios of the same operation) on average, in ns."""

    stage: str
    ns: int
    mean_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One record among those of the same operation.

    Attributes:
        bio: its number; the pieces of a bio that was cut in two have the same.
        arrived_ns, done_ns: simulated time.
        alike: bios of the same operation in the run.
        faster: how many of those took less time.
        stages: all stages; ``ns`` sum to ``total_ns``.
    """

    bio: int
    op: str
    nbytes: int
    status: str
    arrived_ns: int
    done_ns: int
    total_ns: int
    mean_total_ns: float
    alike: int
    faster: int
    stages: tuple[StageTime, ...]


def explain_bio(file: str, bio: int | None = None) -> list[Explanation]:
    """What became of ``bio``, or of the slowest; one entry per piece when it was cut in several.

    Args:
        file: records that ``scenarios.results.records.ParquetRecords`` wrote.

    Raises:
        BadInput: the file is no such file, or has no such bio.
    """
    import polars as pl

    records = scan_records(file)
    # Of equally slow bios the first to complete, so that the answer does not depend on threads.
    order = records.sort("total", "done_ns", "row", descending=[True, False, False])
    wanted = order.head(1) if bio is None else records.filter(pl.col("row") == bio)
    try:
        rows = wanted.select(RECORD).collect().rows(named=True)
        if not rows:
            last = records.select(pl.max("row")).collect().item()
            known = "there are no bios" if last is None else f"the last is {last}"
            raise BadInput(f"no bio {bio} completed in this run: {known}", where=file)
        return [_explanation(records, row) for row in rows]
    except polars_errors() as error:
        raise BadInput(f"the Parquet file is damaged ({error})", where=file) from None


def _explanation(records: "pl.LazyFrame", row: dict[str, int]) -> Explanation:
    import polars as pl

    (others,) = (
        records.filter(pl.col("op") == row["op"])
        .select(
            alike=pl.len(),
            faster=(pl.col("total") < row["total"]).sum(),
            mean=pl.col("total").mean(),
            **{stage: pl.col(stage).mean() for stage in STAGES},
        )
        .collect()
        .rows(named=True)
    )
    return Explanation(
        bio=row["row"],
        op=ReqOp(row["op"]).name,
        nbytes=row["nbytes"],
        status=str(BlkStatus(row["status"])),
        arrived_ns=row["done_ns"] - row["total"],
        done_ns=row["done_ns"],
        total_ns=row["total"],
        mean_total_ns=others["mean"],
        alike=others["alike"],
        faster=others["faster"],
        stages=tuple(StageTime(stage=stage, ns=row[stage], mean_ns=others[stage]) for stage in STAGES),
    )
