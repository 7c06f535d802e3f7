"""The smallest machines: every figure given, nothing hidden."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey, CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from hwmodel.controller import Machine, SchedulerName, Where
from hwmodel.device import (
    Controller,
    Device,
    Engine,
    Figure,
    Host,
    Keyslots,
    Media,
    Placement,
    ServiceShape,
)
from hwmodel.faultplan import FaultPlan
from hwmodel.plane import DataPlane
from hwmodel.request import RECORD

US = 1_000
MS = 1_000_000
READ, WRITE = int(ReqOp.READ), int(ReqOp.WRITE)


def fig(value: int) -> Figure:
    return Figure(value, "test")


def device(
    *,
    tags: int = 32,
    slots: int = 2,
    program_ns: int = 10 * US,
    program_wrapped_ns: int | None = None,
    program_on_cpu: bool = False,
    units: int = 8,
    read_ns: int = 100 * US,
    write_ns: int = 200 * US,
    shape: ServiceShape = "deterministic",
    placement: Placement = "any",
    link_per_s: int = 0,
    engine_per_s: int = 0,
    engine_latency_ns: int = 0,
    cpus: int = 1,
    submit_ns: int = 0,
    setkey_ns: int = 0,
    cipher_per_s: int = 4096 * 1_000_000,
    worker_ns: int = 0,
    per_data_unit_ns: int = 0,
    drains_io: bool = False,
    drain_poll_ns: int = 0,
    reset_ns: int = 0,
    flush_ns: int = 0,
) -> Device:
    """A device whose cipher takes 1 us per 4 KiB on a CPU unless told otherwise."""
    return Device(
        name="test",
        summary="test",
        controller=Controller(tags=fig(tags), link_per_s=fig(link_per_s), reset_ns=fig(reset_ns)),
        keyslots=Keyslots(
            count=fig(slots),
            dun_bytes=fig(8),
            data_unit_sizes=fig(0x1200),
            key_types=("raw", "hw-wrapped"),
            program_raw_ns=fig(program_ns),
            program_hw_wrapped_ns=fig(program_ns if program_wrapped_ns is None else program_wrapped_ns),
            evict_ns=fig(program_ns),
            per_data_unit_ns=fig(per_data_unit_ns),
            program_on_cpu=program_on_cpu,
            drains_io=drains_io,
            drain_poll_ns=fig(drain_poll_ns),
        ),
        engine=Engine(rate_per_s=fig(engine_per_s), latency_ns=fig(engine_latency_ns)),
        media=Media(
            units=fig(units),
            stripe_bytes=fig(1 << 20),
            read_ns=fig(read_ns),
            write_ns=fig(write_ns),
            read_per_s=fig(0),
            write_per_s=fig(0),
            flush_ns=fig(flush_ns),
            discard_ns=fig(0),
            capacity_bytes=fig(1 << 37),
            shape=shape,
            placement=placement,
        ),
        host=Host(
            cpus=fig(cpus),
            submit_ns=fig(submit_ns),
            setkey_ns=fig(setkey_ns),
            cipher_per_s=fig(cipher_per_s),
            cipher_ns=fig(0),
            worker_ns=fig(worker_ns),
        ),
    )


def keys(count: int, key_type: KeyType = KeyType.RAW) -> list[BlkCryptoKey]:
    cfg = CryptoConfig(
        crypto_mode=CryptoModeNum.AES_256_XTS, data_unit_size=4096, dun_bytes=8, key_type=key_type
    )
    return [BlkCryptoKey(cfg, 12, bytes([number]) * 64, f"key {number}") for number in range(count)]


class Records:
    """What a run recorded, sorted by row; columns by name."""

    def __init__(self) -> None:
        self._batches: list[npt.NDArray[np.int64]] = []

    def add(self, batch: npt.NDArray[np.int64]) -> None:
        self._batches.append(batch)

    def __getitem__(self, column: str) -> npt.NDArray[np.int64]:
        table = np.concatenate(self._batches)
        return table[np.argsort(table[:, 0], kind="stable")][:, RECORD.index(column)]

    def completion_order(self) -> list[int]:
        rows: list[int] = np.concatenate(self._batches)[:, 0].tolist()
        return rows


class Sink(Protocol):
    """Takes record batches."""

    def add(self, records: npt.NDArray[np.int64], /) -> None: ...


def machine(
    facts: Device,
    key_objects: Sequence[BlkCryptoKey],
    records: Sink,
    *,
    where: Where = "inline",
    plane: DataPlane | None = None,
    seed: int = 1,
    fallback_holds_slot: bool = True,
    scheduler: SchedulerName = "none",
    limits: QueueLimits | None = None,
    max_in_flight: int = 1 << 16,
    faults: FaultPlan | None = None,
) -> Machine:
    return Machine(
        facts,
        where=where,
        rng=np.random.default_rng(seed),
        keys=key_objects,
        records=records.add,
        plane=plane,
        fallback_holds_slot=fallback_holds_slot,
        scheduler=scheduler,
        limits=limits,
        max_in_flight=max_in_flight,
        faults=faults,
        fault_rng=np.random.default_rng(seed + 1),
    )


Io = tuple[int, int, int]  # arrival ns, op, key number (-1: none)


def run_ios(
    facts: Device,
    ios: Iterable[Io],
    *,
    where: Where = "inline",
    key_count: int = 8,
    nbytes: int = 4096,
    queue_depth: int = 0,
    key_type: KeyType = KeyType.RAW,
    fallback_holds_slot: bool = True,
    faults: FaultPlan | None = None,
) -> tuple[Records, Machine]:
    """Run ``ios`` of 4 KiB, each at its own sector, all from CPU 0."""
    records = Records()
    built = machine(
        facts,
        keys(key_count, key_type),
        records,
        where=where,
        fallback_holds_slot=fallback_holds_slot,
        faults=faults,
    )
    rows = (
        (when, row, op, row * (nbytes >> 9), nbytes, key, row, 0) for row, (when, op, key) in enumerate(ios)
    )
    built.run(rows, queue_depth=queue_depth)
    return records, built
