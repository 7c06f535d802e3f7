"""Fit a device's media model to recorded completion times, and say how well it fits.

The fit sees a part of the recording (``recording``, ``mediafit``).  The judge is the whole machine: all
requests of the recording are replayed through the fitted device at the times they were issued, several
times with different draws, and what was held back is compared with what was recorded.

From issue to completion the recording contains link, controller and media together, so the fitted device's
media contains all three and its link takes no time.  Crypto hardware, tags and host come from another
device, the base, with their own sources.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from hwmodel.clock import Row
from hwmodel.controller import Machine
from hwmodel.device import Controller, Device, Figure, Media, Quantiles
from hwmodel.request import RECORD
from scenarios.calibration.cachefit import CacheFit
from scenarios.calibration.mediafit import MediaFit, OpFit, fit_media
from scenarios.calibration.recording import Bools, Recording
from scenarios.calibration.servicetimes import WHOLE
from scenarios.streams import stream
from scenarios.traces.batch import Int64

PERCENTS: Final = (10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0)
JUDGED: Final = (50.0, 99.0)
FEWEST_JUDGED: Final = 100  # below, a 99th percentile is the largest value or nearly
_REPLAYED_ROWS: Final = 200_000
_MOST_REPLAYS: Final = 20
_GIB: Final = 1 << 30
_DEVICE_COLUMNS: Final = [RECORD.index(name) for name in ("device_queue", "transfer", "media")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Held-back latencies of one direction, recorded and replayed.

    Attributes:
        direction: ``read``, ``write`` or ``all``.
        rows: how many were held back.
        recorded_ns, replayed_ns: by percentage.
        fitted_ns: the same percentages in the part the model was fitted to: where they are far from
            ``recorded_ns``, it was the device that changed.
        p99_interval_ns: 95 % interval of the recorded 99th percentile, from its order statistics.
        recorded_sorted, replayed_sorted: all values, to plot.
    """

    direction: str
    rows: int
    recorded_ns: dict[float, int]
    replayed_ns: dict[float, int]
    fitted_ns: dict[float, int]
    p99_interval_ns: tuple[int, int]
    recorded_sorted: Int64
    replayed_sorted: Int64

    def error(self, percent: float) -> float:
        """Replayed against recorded, e.g. -0.05 for 5 % less."""
        return self.replayed_ns[percent] / max(1, self.recorded_ns[percent]) - 1

    def is_within(self, share: float) -> bool:
        """Whether median and 99th percentile are off by at most ``share``; True with too few to judge."""
        return self.rows < FEWEST_JUDGED or all(abs(self.error(percent)) <= share for percent in JUDGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted device and how well it replays what it has not seen; ``replays`` is the number of draws."""

    recording: Recording
    fit: MediaFit
    device: Device
    replays: int
    fidelity: tuple[Fidelity, ...]

    def is_within(self, share: float) -> bool:
        """Whether every direction is."""
        return all(each.is_within(share) for each in self.fidelity)


def calibrate(recording: Recording, base: Device, *, name: str, seed: int = 1) -> Calibration:
    """Fit a device called ``name`` and judge it.

    Args:
        base: gives everything but the media and the link.
        seed: of the replays' draws.

    Raises:
        BadInput: the recording has too few reads and too few writes.
    """
    fit = fit_media(recording)
    if not fit.ops.keys() & {ReqOp.READ, ReqOp.WRITE} and fit.cache is None:
        raise BadInput("too few reads and writes among its completed I/Os to fit", where=recording.name)
    device = fitted_device(recording, fit, base, name=name)
    replays = int(np.clip(_REPLAYED_ROWS // len(recording), 1, _MOST_REPLAYS))
    replayed = [replay(device, recording, seed=seed, number=number) for number in range(replays)]
    reads, writes = recording.op == ReqOp.READ, recording.op == ReqOp.WRITE
    chosen = {"read": reads, "write": writes, "all": np.ones(len(recording), dtype=np.bool_)}
    return Calibration(
        recording=recording,
        fit=fit,
        device=device,
        replays=replays,
        fidelity=tuple(
            _fidelity(direction, rows, recording, replayed)
            for direction, rows in chosen.items()
            if (rows & recording.held_back).any() and (rows & ~recording.held_back).any()
        ),
    )


def replay(device: Device, recording: Recording, *, seed: int, number: int = 0) -> Int64:
    """Latencies of a recording's requests, issued to ``device`` when they were; ``int64[n]``, in ns.

    Never are more in flight than there were in the recording: whoever issued them waited for completions, and
    would wait for slower ones too.  Such a request is issued when there is room, and its latency counts
    from then.  ``number`` chooses the draws.  Submission costs nothing here: it was over when a request was
    issued.
    """
    at_once = msgspec.structs.replace(device.host, submit_ns=Figure(0, "before the issue"))
    batches: list[Int64] = []
    machine = Machine(
        msgspec.structs.replace(device, host=at_once),
        where="inline",
        rng=stream(seed, f"media {number}"),
        keys=(),
        records=batches.append,
        max_in_flight=int(recording.in_flight.max()) + 1,
    )
    machine.run(iter(_rows(recording)))
    records = np.concatenate(batches)
    latencies = np.empty(len(recording), dtype=np.int64)
    latencies[records[:, RECORD.index("row")]] = records[:, _DEVICE_COLUMNS].sum(axis=1)
    return latencies


def _rows(recording: Recording) -> list[Row]:
    count = len(recording)
    plain = [-1] * count
    zeroes = [0] * count
    columns = (recording.op, recording.sector, recording.nbytes)
    times = recording.issued_ns.tolist()
    return list(
        zip(times, range(count), *(each.tolist() for each in columns), plain, zeroes, zeroes, strict=True)
    )


def _fidelity(direction: str, rows: Bools, recording: Recording, replayed: list[Int64]) -> Fidelity:
    held = rows & recording.held_back
    recorded = np.sort(recording.latency_ns[held])
    drawn = np.sort(np.concatenate([each[held] for each in replayed]))
    return Fidelity(
        direction=direction,
        rows=len(recorded),
        recorded_ns=_percentiles(recorded),
        replayed_ns=_percentiles(drawn),
        fitted_ns=_percentiles(recording.latency_ns[rows & ~recording.held_back]),
        p99_interval_ns=_interval(recorded, 0.99),
        recorded_sorted=recorded,
        replayed_sorted=drawn,
    )


def _percentiles(values: Int64) -> dict[float, int]:
    found = np.rint(np.percentile(values, PERCENTS)).astype(np.int64).tolist()
    return dict(zip(PERCENTS, found, strict=True))


def _interval(ordered: Int64, share: float) -> tuple[int, int]:
    """Values whose ranks are 1.96 standard deviations of a binomial count around the quantile's rank."""
    count = len(ordered)
    middle, reach = count * share, 1.96 * float(np.sqrt(count * share * (1 - share)))
    low, high = np.clip(np.rint((middle - reach, middle + reach)).astype(np.int64), 0, count - 1).tolist()
    return int(ordered[low]), int(ordered[high])


# --- the device -------------------------------------------------------------------------------------------


def fitted_device(recording: Recording, fit: MediaFit, base: Device, *, name: str) -> Device:
    """``base`` with fitted media, tags that allow what was seen in flight, and no link of its own."""
    fitted_to = recording.fitted_to
    tags = base.controller.tags
    in_flight = int(recording.take(~recording.held_back).in_flight.max()) + 1
    if tags.value < in_flight:
        seen = f"{fitted_to}: so many were in flight at once, more than the {tags.value} of {base.name}"
        tags = Figure(in_flight, seen)
    controller = Controller(
        tags=tags,
        link_per_s=Figure(0, f"{fitted_to}: part of the media's times, which are from issue to completion"),
    )
    return msgspec.structs.replace(
        base,
        name=name,
        summary=f"Storage fitted to {recording.name}, everything else as {base.name}",
        controller=controller,
        media=_media(recording, fit, base.media),
    )


def _media(recording: Recording, fit: MediaFit, base: Media) -> Media:
    fitted_to = recording.fitted_to
    read = fit.ops.get(ReqOp.READ)
    write = fit.ops.get(ReqOp.WRITE)
    either = read or write or _accepting(fit.cache)
    tables: dict[str, Quantiles | None] = {}
    if fit.shape == "empirical":
        for field, op in (("read", read), ("write", write), ("flush", fit.ops.get(ReqOp.FLUSH))):
            wanted = op if field == "flush" else op or either
            source = f"{fitted_to}: " + _rows_text(wanted, ", less the size-dependent part")
            tables[field] = wanted.table(source) if wanted is not None else None
    media = Media(
        units=_units(fit, fitted_to),
        stripe_bytes=_stripe(fit, fitted_to),
        read_ns=_fixed(read, either, "reads", fitted_to),
        read_per_s=_rate(read, either, "reads", fitted_to),
        write_ns=_fixed(write, either, "writes", fitted_to),
        write_per_s=_rate(write, either, "writes", fitted_to),
        flush_ns=_mean(fit.ops.get(ReqOp.FLUSH), base.flush_ns, fitted_to),
        discard_ns=_mean(fit.ops.get(ReqOp.DISCARD), base.discard_ns, fitted_to),
        capacity_bytes=_capacity(recording),
        shape=fit.shape,
        placement="any" if fit.structure.stripe_bytes == WHOLE else "striped",
        read_quantiles=tables.get("read"),
        write_quantiles=tables.get("write"),
        flush_quantiles=tables.get("flush"),
    )
    return media if fit.cache is None else _behind(fit.cache, media, fitted_to)


def _accepting(cache: CacheFit | None) -> OpFit:
    """What stands for reads where all that is known is how long a cache takes."""
    assert cache is not None, "refused before"
    return OpFit(rows=cache.rows, sizes=(), fixed_ns=cache.write_ns, per_s=0, quantiles=())


def _behind(cache: CacheFit, media: Media, fitted_to: str) -> Media:
    """``media`` behind a write cache that drains beside its reads: what these lose is in their times."""
    source = f"{fitted_to}: {cache.rows} writes, of which {cache.waited} waited for room"
    each = round(cache.drain_per_s / media.units.value)
    return msgspec.structs.replace(
        media,
        cache_bytes=Figure(cache.nbytes, f"{source}; it explains {cache.explained:.0%} of their deviation"),
        cache_write_ns=Figure(cache.write_ns, f"{source}; median of the others"),
        write_ns=Figure(0, f"{fitted_to}: the cache's drain rate is all that writes tell"),
        write_per_s=Figure(each, f"{source}: {cache.drain_per_s / 1e6:.0f} MB/s over all units"),
        write_quantiles=None,
        programs="apart",
    )


def _rows_text(op: OpFit | None, more: str) -> str:
    return f"{op.rows} requests{more}" if op is not None else ""


def _units(fit: MediaFit, fitted_to: str) -> Figure:
    units = fit.structure.units
    if fit.most_in_flight == 1:
        return Figure(units, f"assumption: {fitted_to}, where no two were in flight at once: nothing tells")
    why = f"of 1 to {fit.most_in_flight}, the fewest that leave service times hardly dependent on load"
    return Figure(units, f"{fitted_to}: {why} (rank correlation {fit.dependence:.2f})")


def _stripe(fit: MediaFit, fitted_to: str) -> Figure:
    if fit.structure.stripe_bytes == WHOLE:
        return Figure(_GIB, f"{fitted_to}: not used, any idle unit serves a request whole")
    return Figure(fit.structure.stripe_bytes, f"{fitted_to}: leaves service times hardly dependent on load")


def _fixed(op: OpFit | None, either: OpFit, what: str, fitted_to: str) -> Figure:
    if op is None:
        return Figure(either.fixed_ns, f"assumption: {fitted_to}, which has too few {what}: as the others")
    return Figure(op.fixed_ns, f"{fitted_to}: {_rows_text(op, ', mean less the size-dependent part')}")


def _rate(op: OpFit | None, either: OpFit, what: str, fitted_to: str) -> Figure:
    if op is None:
        return Figure(either.per_s, f"assumption: {fitted_to}, which has too few {what}: as the others")
    if len(op.sizes) == 1:
        only = f"where all {what} have {op.sizes[0]} bytes: nothing tells what larger ones take"
        return Figure(op.per_s, f"assumption: {fitted_to}, {only}")
    line = f"line through the medians of sizes from {op.sizes[0]} to {op.sizes[-1]} bytes"
    return Figure(op.per_s, f"{fitted_to}: {line}")


def _mean(op: OpFit | None, base: Figure, fitted_to: str) -> Figure:
    return base if op is None else Figure(op.fixed_ns, f"{fitted_to}: {_rows_text(op, ', mean')}")


def _capacity(recording: Recording) -> Figure:
    end = int((recording.sector * 512 + recording.nbytes).max())
    value = -(-max(end, 1) // _GIB) * _GIB
    return Figure(value, f"the highest address in {recording.name}, up to whole GiB; it decides no latency")
