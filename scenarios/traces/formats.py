"""Every trace format: its facts, how it is recognised and who reads it.  A format is a row here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scenarios.traces import blkparse, blktrace, fio, ftrace, parquet, records
from scenarios.traces.columns import parse_columns
from scenarios.traces.parsing import RowReader
from scenarios.traces.table import table_reader

MAPPED_TABLE: Final = "csv"
_BLKTRACE_WINDOW: Final = 65_536
_COMPLETION_WINDOW: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        name: for ``--format``.
        description: what it is, in a few words.
        units: of time, address and length.
        source: where it is defined.
        read: its row reader; None for the mapped table, whose reader is made from the column map.
        line: what a line of it looks like; at least half of the first lines must.
        header: the whole first line, for tables recognised by it.
        binary: whether the first bytes can be its.
        sort_window: rows within which times may be out of order (``order.py``, rule 3).
        names_files: rows are for files, whose offsets they give, instead of for a device.
    """

    name: str
    description: str
    units: str
    source: str
    read: RowReader | None
    line: re.Pattern[bytes] | None = None
    header: re.Pattern[bytes] | None = None
    binary: Callable[[bytes], bool] | None = None
    sort_window: int = 0
    names_files: bool = False


def _line(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode())


def _table(columns: str) -> RowReader:
    return table_reader(parse_columns(columns))


_CLOUDPHYSICS: Final = "time=time:s,op=op:scsi,size=size:bytes,offset=lbn:sectors"

_ROWS: Final = (
    Format(
        name="parquet",
        description="what 'blkcrypto convert' writes",
        units="ns, 512-byte sectors, bytes",
        source="docs/trace-formats.md",
        read=parquet.read,
        binary=lambda head: head.startswith(parquet.MAGIC),
    ),
    Format(
        name="blktrace",
        description="blktrace's binary records, versions 7 and 8",
        units="ns, 512-byte sectors, bytes",
        source="include/uapi/linux/blktrace_api.h",
        read=blktrace.read,
        binary=blktrace.is_blktrace,
        sort_window=_BLKTRACE_WINDOW,
    ),
    Format(
        name="fio",
        description="fio's I/O log (write_iolog), versions 2 and 3",
        units="us, bytes in a file, bytes",
        source="fio HOWTO, TRACE FILE FORMAT",
        read=fio.read,
        header=_line(r"fio version [0-9]+ iolog"),
        names_files=True,
    ),
    Format(
        name="ftrace",
        description="block events of ftrace, trace-cmd report or perf script",
        units="s, 512-byte sectors, sectors",
        source="include/trace/events/block.h",
        read=ftrace.read,
        header=_line(r"# tracer: .*"),
        line=_line(r"\s*\S.*\s\d+\.\d+:\s+(block:)?block_\w+:\s"),
    ),
    Format(
        name="blkparse",
        description="blkparse's default text",
        units="s, 512-byte sectors, sectors",
        source="blkparse(1)",
        read=blkparse.read,
        header=_line(r"Input file .* added"),
        line=_line(r"\s*\d+,\d+\s+\d+\s+\d+\s+\d+\.\d{9}\s+\d+\s+[A-Za-z]{1,2}\s"),
    ),
    Format(
        name="biosnoop",
        description="biosnoop of bcc",
        units="s (of completion), 512-byte sectors, bytes",
        source="bcc tools/biosnoop.py",
        read=_table(
            "time=TIME(s):s,stream=PID,volume=DISK,op=T:rwbs,offset=SECTOR:sectors,size=BYTES:bytes,"
            "latency=LAT(ms):ms,queued=QUE(ms)?:ms,delimiter=space,free=COMM,clock=completion"
        ),
        header=_line(r"TIME\(s\)\s+COMM\s+PID\s+DISK\s+T\s+SECTOR\s+BYTES\s.*LAT\(ms\)\s*"),
        sort_window=_COMPLETION_WINDOW,
    ),
    Format(
        name="cloudphysics",
        description="CloudPhysics-like CSV, as libCacheSim ships it",
        units="s, 512-byte sectors, bytes",
        source="libCacheSim data/",
        read=_table(_CLOUDPHYSICS),
        header=_line(r"version,time,op,size,lbn"),
    ),
    Format(
        name="msr",
        description="MSR Cambridge CSV",
        units="100 ns (Windows filetime), bytes, bytes",
        source="SNIA IOTTA 387; Narayanan et al., FAST 2008",
        read=_table("time=1:filetime,stream=3,op=4:rw,offset=5:bytes,size=6:bytes,latency=7:filetime"),
        header=_line(r"Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime"),
        line=_line(r"\d+,[^,]*,\d+,(Read|Write),\d+,\d+,\d+\s*$"),
    ),
    Format(
        name="systor",
        description="Systor '17 VDI traces, CSV",
        units="s, bytes, bytes",
        source="SNIA IOTTA 4928; Lee et al., SYSTOR 2017",
        read=_table("time=1:s,latency=2:s,op=3:rw-or-blank,volume=4,offset=5:bytes,size=6:bytes"),
        header=_line(r"Timestamp,Response,IOType,LUN,Offset,Size"),
        line=_line(r"\d+\.\d+,[0-9.]*,[RW]?,\d+,\d+,\d+\s*$"),
    ),
    Format(
        name="alibaba",
        description="Alibaba block traces of 2020, CSV",
        units="us, bytes, bytes",
        source="github.com/alibaba/block-traces; Li et al., IISWC 2020",
        read=_table("volume=1,op=2:rw,offset=3:bytes,size=4:bytes,time=5:us"),
        header=_line(r"device_id,opcode,offset,length,timestamp"),
        line=_line(r"\d+,[RW],\d+,\d+,\d+\s*$"),
    ),
    Format(
        name="tencent",
        description="Tencent CBS traces of 2018, CSV",
        units="s, 512-byte sectors, sectors",
        source="SNIA IOTTA 27917; Zhang et al., USENIX ATC 2020",
        read=_table("time=1:s,offset=2:sectors,size=3:sectors,op=4:req_op,volume=5"),
        header=_line(r"Timestamp,Offset,Size,IOType,VolumeID"),
        line=_line(r"\d+,\d+,\d+,[01],\d+\s*$"),
    ),
    Format(
        name="spc",
        description="Storage Performance Council traces (UMass Financial, WebSearch)",
        units="s, 512-byte blocks, bytes",
        source="SPC Trace File Format Specification 1.0.1",
        read=_table("volume=1,offset=2:sectors,size=3:bytes,op=4:rw,time=5:s"),
        line=_line(r"\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*[RrWw]\s*,\s*\d*\.?\d+"),
    ),
    Format(
        name="fiu",
        description="FIU I/O deduplication traces",
        units="ns, 512-byte sectors, sectors",
        source="SNIA IOTTA 391, 411; Koller and Rangaswami, FAST 2010",
        read=_table("time=1:ns,stream=2,offset=-6:sectors,size=-5:sectors,op=-4:rw,delimiter=space,least=9"),
        line=_line(r"\d+\s+\d+\s+\S.*\s\d+\s+\d+\s+[RW]\s+\d+\s+\d+\s+[0-9a-fA-F]{32}\s*$"),
    ),
    Format(
        name="mqsim",
        description="MQSim's ASCII traces",
        units="ns, 512-byte sectors, sectors",
        source="CMU-SAFARI/MQSim, traces/",
        read=_table("time=1:ns,volume=2,offset=3:sectors,size=4:sectors,op=5:read1,delimiter=space"),
        line=_line(r"\d+\s+\d+\s+\d+\s+\d+\s+[01]\s*$"),
    ),
    Format(
        name="ssdsim",
        description="SSDsim's ASCII traces (the same columns as MQSim's, and recognised as those)",
        units="ns, 512-byte sectors, sectors",
        source="SSDsim, example.ascii",
        read=_table("time=1:ns,volume=2,offset=3:sectors,size=4:sectors,op=5:read1,delimiter=space"),
    ),
    Format(
        name="disksim",
        description="DiskSim's ASCII traces",
        units="ms, 512-byte blocks, blocks",
        source="DiskSim 4.0 reference manual, ascii format",
        read=_table("time=1:ms,volume=2,offset=3:sectors,size=4:sectors,op=5:bit0,delimiter=space"),
        line=_line(r"\s*\d+\.\d+\s+\d+\s+\d+\s+\d+\s+[0-9a-fA-F]+\s*$"),
    ),
    Format(
        name="vscsi1",
        description="VMware vscsi traces (CloudPhysics), version 1",
        units="us, 512-byte sectors, bytes",
        source="libCacheSim, vscsi.h",
        read=records.record_reader(records.VSCSI_1),
        binary=lambda head: records.looks_like(head, records.VSCSI_1),
    ),
    Format(
        name="vscsi2",
        description="VMware vscsi traces (CloudPhysics), version 2",
        units="us, 512-byte sectors, bytes",
        source="libCacheSim, vscsi.h",
        read=records.record_reader(records.VSCSI_2),
        binary=lambda head: records.looks_like(head, records.VSCSI_2),
    ),
    Format(
        name="oracleGeneral",
        description="libCacheSim's oracleGeneral; every record is taken as a read",
        units="s, 512-byte sectors (obj_id), bytes",
        source="libCacheSim, oracleGeneralBin.h",
        read=records.record_reader(records.ORACLE_GENERAL),
        binary=lambda head: records.looks_like(head, records.ORACLE_GENERAL),
    ),
    Format(
        name=MAPPED_TABLE,
        description="any table in text, by a column map (--columns)",
        units="as mapped",
        source="docs/trace-formats.md",
        read=None,
    ),
)

FORMATS: Final = {row.name: row for row in _ROWS}
"""By name, in the order in which they are tried when the format is not given."""
