"""Traces read one line at a time with split(), int() and Fraction: slow, obvious, and sharing no code.

Each function takes the whole text and gives ``(time_ns, op, sector, nbytes, stream)`` per I/O, times as
recorded.  ``op`` is a REQ_OP number.  Source of each format: docs/trace-formats.md.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction

Row = tuple[int, int, int, int, int]
READ, WRITE, FLUSH, DISCARD = 0, 1, 2, 3


def ns(text: str, unit_ns: int = 1_000_000_000) -> int:
    """Exact nanoseconds of a decimal number of units."""
    return int(Fraction(text) * unit_ns)


def since_first(rows: list[Row]) -> list[Row]:
    """Times from the first row, clamped so that they never decrease."""
    out: list[Row] = []
    latest = rows[0][0]
    for time, *rest in rows:
        latest = max(latest, time)
        out.append((latest - rows[0][0], *rest))  # type: ignore[arg-type]  # a star loses the tuple's length
    return out


def blkparse(text: str) -> Iterator[Row]:
    """Queue events of blkparse's default text."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 9 and "," in words[0] and words[5] == "Q":
            op = WRITE if "W" in words[6] else READ
            yield ns(words[3]), op, int(words[7]), 512 * int(words[9]), int(words[4])


def ftrace(text: str) -> Iterator[Row]:
    """``block_bio_queue`` events of ftrace text."""
    for line in text.splitlines():
        before, found, after = line.partition(": block_bio_queue: ")
        if not found or line.startswith("#"):
            continue
        pid = int(before.split("[")[0].rstrip().rpartition("-")[2])
        _device, rwbs, sector, _plus, count = after.split()[:5]
        op = WRITE if "W" in rwbs else READ
        yield ns(before.split()[-1]), op, int(sector), 512 * int(count), pid


def fio_v3(text: str) -> Iterator[Row]:
    """fio's log, version 3, with one header or with two of which the first begins an empty log."""
    actions = {"read": READ, "write": WRITE, "trim": DISCARD, "sync": FLUSH, "datasync": FLUSH}
    for line in text.splitlines():
        words = line.split()
        if words[2] in actions:
            op = actions[words[2]]
            offset, length = (0, 0) if op == FLUSH else (int(words[3]), int(words[4]))
            yield 1000 * int(words[0]), op, offset // 512, length, -1


def cloudphysics(text: str) -> Iterator[Row]:
    """CloudPhysics-like CSV."""
    for line in text.splitlines()[1:]:
        _version, time, op, size, lbn = line.split(",")
        yield ns(time), {"2a": WRITE, "28": READ}[op], int(lbn), int(size), -1


def vscsi1(data: bytes) -> Iterator[Row]:
    """vscsi records, version 1."""
    for _sn, size, _nsg, cmd, _ver, lbn, ts in struct.iter_unpack("<IIIHHQQ", data):
        yield 1000 * ts, {0x2A: WRITE, 0x28: READ}[cmd], lbn, size, -1


def oracle_general(data: bytes) -> Iterator[Row]:
    """oracleGeneral records."""
    for time, block, size, _next in struct.iter_unpack("<IQIq", data):
        yield ns(str(time)), READ, block, size, -1


def five_numbers(text: str, unit_ns: int) -> Iterator[Row]:
    """MQSim, SSDsim (ns) and DiskSim (ms): time device block count flag, where an odd flag is a read."""
    for line in text.splitlines():
        time, device, block, count, flag = line.split()
        op = READ if int(flag, 16) & 1 else WRITE
        yield ns(time, unit_ns), op, int(block), 512 * int(count), int(device)


def blktrace(data: bytes) -> Iterator[Row]:
    """Queue events of blktrace records, version 7, little-endian."""
    at = 0
    while at < len(data):
        record = struct.unpack_from("<IIQQIIIIIHH", data, at)
        _magic, _sequence, time, sector, size, action, pid = record[:7]
        if action & 0xFF == 1 and not action >> 26 & 1:
            yield time, WRITE if action >> 17 & 1 else READ, sector, size, pid
        at += 48 + record[-1]


def biosnoop(text: str) -> Iterator[Row]:
    """biosnoop's default columns; the time of arrival is the printed one less the latency."""
    for line in text.splitlines()[1:]:
        time, _comm, pid, _disk, kind, sector, size, latency = line.split()
        op = WRITE if kind == "W" else READ
        yield ns(time) - ns(latency, 1_000_000), op, int(sector), int(size), int(pid)
