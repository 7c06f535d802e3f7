"""Column maps: any table in text as a trace."""

from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from scenarios.traces import TraceError, open_trace
from scenarios.traces.columns import parse_columns
from tests.test_trace_formats import PUBLIC, needs_public, rows_of


def write(path: Path, *lines: str) -> Path:
    file = path / "table"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@needs_public
def test_the_cloudphysics_map_written_out_is_what_detection_does() -> None:
    path = PUBLIC / "cloudphysics-io.csv.xz"
    mapped = open_trace(path, columns="time=time:s,op=op:scsi,size=size:bytes,offset=lbn:sectors")
    assert rows_of(mapped) == rows_of(open_trace(path))
    assert mapped.format == "csv"


TABLES = {
    "names": (
        "time=t:us,op=o:rw,offset=a:sectors,size=n:sectors,stream=p",
        "x,p,o,t,a,n",
        "9,7,w,1,10,2",
        "9,7,r,3,12,2",
    ),
    "positions": (
        "time=1:us,op=2:rw,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "1,W,10,2,7",
        "3,R,12,2,7",
    ),
    "from the end": (
        "time=1:us,op=-4:rw,offset=-3:sectors,size=-2:sectors,stream=-1",
        None,
        "1,W,10,2,7",
        "3,a,b,R,12,2,7",
    ),
    "header to skip": (
        "time=1:us,op=2:rw,offset=3:sectors,size=4:sectors,stream=5",
        "time,op,where,length,pid",
        "1,W,10,2,7",
        "3,R,12,2,7",
    ),
    "bytes": (
        "time=1:us,op=2:rw,offset=3:bytes,size=4:bytes,stream=5",
        None,
        "1,write,5120,1024,7",
        "3,read,6144,1024,7",
    ),
    "blocks": ("time=1:us,op=2:rw,offset=3:1k,size=4:1k,stream=5", None, "1,Write,5,1,7", "3,READ,6,1,7"),
    "seconds": (
        "time=1:s,op=2:rw,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "0.000001,W,10,2,7",
        "3e-6,R,12,2,7",
    ),
    "milliseconds": (
        "time=1:ms,op=2:rw,offset=3:sectors,size=4:sectors,stream=5",
        None,
        ".001,W,10,2,7",
        "0.0030,R,12,2,7",
    ),
    "filetime": (
        "time=1:filetime,op=2:rw,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "128166391024154329,W,10,2,7",
        "128166391024154349,R,12,2,7",
    ),
    "numbers as ops": (
        "time=1:us,op=2:req_op,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "1,1,10,2,7",
        "3,0,12,2,7",
    ),
    "1 is a read": (
        "time=1:us,op=2:read1,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "1,0,10,2,7",
        "3,1,12,2,7",
    ),
    "scsi": (
        "time=1:us,op=2:scsi,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "1,0x2A,10,2,7",
        "3,88,12,2,7",
    ),
    "rwbs": (
        "time=1:us,op=2:rwbs,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "1,FWFS,10,2,7",
        "3,RA,12,2,7",
    ),
    "tabs": (
        "delimiter=tab,time=1:us,op=2:rw,offset=3:sectors,size=4:sectors,stream=5",
        None,
        "1\tW\t10\t2\t7",
        "3\tR\t12\t2\t7",
    ),
    "white space": (
        "delimiter=space,time=1:us,op=2:rw,offset=3:sectors,size=4:sectors,stream=5",
        None,
        " 1  W 10\t2  7",
        "3 R 12 2 7",
    ),
    "quotes": (
        "time=t:us,op=o:rw,offset=a:sectors,size=n:sectors,stream=p",
        '"p","o","t","a","n","comment"',
        '"7","w","1","10","2","a, b"',
        '"7","r","3","12","2",""',
    ),
    "constants": ("time=1:us,op=2:rw,offset=3:sectors,size=:1k,stream=5", None, "1,W,10,-,7", "3,R,12,-,7"),
    "completion times": (
        "time=1:us,op=2:rw,offset=3:sectors,size=4:sectors,stream=5,latency=6:us,queued=7:us,clock=completion",
        None,
        "101,W,10,2,7,90,10",
        "103,R,12,2,7,0.5,99.5",
    ),
    "a column with the delimiter in it": (
        "time=t:us,op=o:rw,offset=a:sectors,size=n:sectors,stream=p,delimiter=space,free=name",
        "t name p o a n",
        "1 a b c 7 W 10 2",
        "3 d 7 R 12 2",
    ),
}


@pytest.mark.parametrize(("columns", "header", "first", "second"), TABLES.values(), ids=TABLES.keys())
def test_the_same_two_rows_in_many_tables(
    tmp_path: Path, columns: str, header: str | None, first: str, second: str
) -> None:
    path = write(tmp_path, *([header] if header else []), first, second)
    assert rows_of(open_trace(path, columns=columns)) == [(0, 1, 10, 1024, 7), (2000, 0, 12, 1024, 7)]


def test_a_constant_operation(tmp_path: Path) -> None:
    path = write(tmp_path, "1,10", "2,20")
    found = rows_of(open_trace(path, columns="time=1:s,op=:write,offset=2:sectors,size=:4k"))
    assert [row[1:4] for row in found] == [(1, 10, 4096), (1, 20, 4096)]


def test_a_header_in_the_middle_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "t,o,a,n", "1,R,0,512", "t,o,a,n", "2,R,0,512")
    reader = open_trace(path, columns="time=t:s,op=o,offset=a:bytes,size=n:bytes")
    assert len(rows_of(reader)) == 2
    assert reader.counts["repeated_headers"] == 1


def test_a_damaged_first_row_is_no_header(tmp_path: Path) -> None:
    path = write(tmp_path, "1x,R,0,512", "2,R,0,512")
    with pytest.raises(TraceError, match=r"table:1:1: the time is not a number, .*: '1x'"):
        rows_of(open_trace(path, columns="time=1:s,op=2,offset=3:bytes,size=4:bytes"))


def test_a_name_the_header_does_not_have_shows_those_it_has(tmp_path: Path) -> None:
    path = write(tmp_path, "time,kind,where,length", "1,R,0,512")
    with pytest.raises(
        TraceError, match=r"no column is called 'op': the header has time, kind, where, length"
    ):
        rows_of(open_trace(path, columns="time=time:s,op=op,offset=where:bytes,size=length:bytes"))


def test_a_row_with_too_few_columns_is_a_bad_line(tmp_path: Path) -> None:
    path = write(tmp_path, "1,R,0,512", "2,R,0")
    with pytest.raises(TraceError, match=r"table:2: fewer than 4 columns"):
        rows_of(open_trace(path, columns="time=1:s,op=2,offset=3:bytes,size=4:bytes"))


def test_an_address_past_what_linux_can_address_is_a_bad_line(tmp_path: Path) -> None:
    path = write(tmp_path, "1,R,9223372036854775000,512")
    with pytest.raises(TraceError, match=r"table:1(:\d+)?: .*2\*\*63"):
        rows_of(open_trace(path, columns="time=1:s,op=2,offset=3:bytes,size=4:bytes"))


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ("time=1:s,op=2,offset=3:bytes", "size missing"),
        ("time=1,op=2,offset=3:bytes,size=4:bytes", "unit one of s, ms, us, ns, filetime"),
        ("time=1:h,op=2,offset=3:bytes,size=4:bytes", "unit one of s, ms, us, ns, filetime"),
        ("time=1:s,op=2:wr,offset=3:bytes,size=4:bytes", "op is one of rw"),
        ("time=1:s,op=:maybe,offset=3:bytes,size=4:bytes", "op is one of r, R"),
        ("time=1:s,op=2,offset=3:pages,size=4:bytes", "bytes, sectors or a size as 4k"),
        ("time=1:s,op=2,offset=3:bytes,size=:0", "bytes, sectors or a size as 4k"),
        ("time=0:s,op=2,offset=3:bytes,size=4:bytes", "counted from 1"),
        ("time=1:s,time=2:s,op=2,offset=3:bytes,size=4:bytes", "given twice"),
        ("time=1:s,op=2,offset=3:bytes,size=4:bytes,colour=5", "colour=5 is no field or setting"),
        ("time=1:s,op=2,offset=3:bytes,size=4:bytes,delimiter=;", "delimiter is one of comma"),
        ("time=t:s,op=2,offset=3:bytes,size=4:bytes,header=no", "leaves only positions"),
        ("time=1:s,op=2,offset=3:bytes,size=4:bytes,stream=5:s", "no unit"),
        ("nonsense", "not field=column:unit"),
        ("", "not field=column:unit"),
    ],
)
def test_a_map_that_makes_no_sense_is_an_error_of_the_option(columns: str, what: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_columns(columns)
    assert raised.value.where == "--columns"
    assert what in raised.value.what


def test_a_map_and_another_format_exclude_each_other(tmp_path: Path) -> None:
    columns = "time=1:s,op=2,offset=3:bytes,size=4:bytes"
    with pytest.raises(BadInput, match="--columns"):
        open_trace(tmp_path / "table", columns=columns, format="msr")
    with pytest.raises(BadInput, match="needs a column map"):
        open_trace(tmp_path / "table", format="csv")
