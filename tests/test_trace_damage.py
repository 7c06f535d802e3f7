"""Damaged traces: every error is ours and names the line; skipping bad lines never raises.

One small sample per format, from its published definition, is damaged in every way hypothesis can think of.
"""

import gzip
import re
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from scenarios.traces import TraceError, open_trace
from scenarios.traces.formats import FORMATS
from tests.oracle.trace_lines import Row
from tests.test_trace_formats import rows_of

MAPPED = "time=t:s,op=o:rw,size=n:bytes,offset=a:bytes,stream=p"

TEXT_SAMPLES = {
    "fio": (
        "fio version 3 iolog\n1 /a add\n2 /a read 0 4096\n9 /a write 4096 512\n10 /a sync 0 0\n12 /a close\n"
    ),
    "ftrace": (
        "# tracer: nop\n"
        "   fio-24376   [000] .....  2171.400646: block_bio_queue: 7,0 RS 37352 + 8 [fio]\n"
        "   fio-24376   [000] .....  2171.400656: block_rq_issue: 7,0 RS 4096 () 37352 + 8 be,0,4 [fio]\n"
        "   ksoftirqd/0-14 [000] ..s..  2171.400679: block_rq_complete: 7,0 RS () 37352 + 8 be,0,4 [0]\n"
        "   a b-7 [001] .....  2171.500000: block_bio_queue: 7,0 FWFSM 16 + 8 [a b]\n"
    ),
    "blkparse": (
        "259,0    1        1     0.000000000 21279  A  RA 2348060440 + 8 <- (259,3) 2345510680\n"
        "259,0    1        2     0.000000184 21279  Q  RA 2348060440 + 8 [(null)]\n"
        "259,0    1        3     0.000000949 21279  Q FWS [jbd2]\n"
        "259,0    1        6     0.000001676 21279  D  RA 2348060440 + 8 [(null)]\n"
        "259,0    1        7     0.000056992     0  C  RA 2348060440 + 8 [0]\n"
        "CPU1 (sample):\n Reads Queued:  963, 3852KiB\t Writes Queued:  0, 0KiB\n\nSkips: 0 forward (0)\n"
    ),
    "biosnoop": (
        "TIME(s)     COMM           PID    DISK    T SECTOR     BYTES   LAT(ms)\n"
        "0.000004    super vise     1950   xvda1   W 13092560   4096       0.74\n"
        "0.000178    supervise      1950   xvda1   R 13092432   4096       0.61\n"
    ),
    "cloudphysics": (
        "version,time,op,size,lbn\n1,5633898,2a,512,42932745\n1,5633898,28,6656,40409911\n1,5633899,12,0,0\n"
    ),
    "msr": (
        "128166391024154329,prxy,0,Write,1105182720,1024,1514\n"
        "128172299571726563,prxy,0,Read,1105182720,512,2072\n"
    ),
    "systor": (
        "Timestamp,Response,IOType,LUN,Offset,Size\n"
        "1455592173.088669300,0.000297070,W,0,1829552128,4096\n"
        "1455592174.088669300,,,0,1829552128,4096\n"
    ),
    "alibaba": "419,W,8792731648,16384,1577808144360767\n725,R,59110326272,360448,1577808144360813\n",
    "tencent": "1538323200,12910952,128,0,1063\n1538323200,6338688,8,1,1627\n",
    "spc": "0,20941264,8192,W,0.551706,Alpha/NT\n1, 3436288, 15872, r, 1.250720, 0x123, 5.99, test\n",
    "fiu": (
        "89968195792462 20782 gz ip 283193184 8 R 6 0 56f11b711d91a065a2b6458eca924523\n"
        "89968195792463 20782 gzip 283193192 8 W 6 0 56f11b711d91a065a2b6458eca924524\n"
    ),
    "mqsim": "938513000 4 264719034 16 0\n938828000 3 197570570 16 1\n",
    "disksim": "13.191135\t30\t0\t5\t1\n17.829285\t20\t576560\t6\t0\n",
    "csv": 't,p,o,a,n\n1.5,7,r,0,512\n"2.5","8","w","1024","4096"\n',
}
NUMBERED = {name: sample for name, sample in TEXT_SAMPLES.items() if name != "csv"}

BINARY_SAMPLES = {
    "vscsi1": b"".join(
        struct.pack("<IIIHHQQ", i, 512, 1, 0x2A, 256, 100 + i, 5_633_898_368_802 + i) for i in range(4)
    ),
    "vscsi2": b"".join(
        struct.pack("<HHIIIQQQ", 0x28, 512, i, 512, 1, 100 + i, 5_000_000 + i, 9) for i in range(4)
    ),
    "oracleGeneral": b"".join(struct.pack("<IQIq", 100 + i, 1 << 30, 512, -1) for i in range(4)),
    "blktrace": b"".join(
        struct.pack("<IIQQIIIIIHH", 0x65617407, i, 10 * i, 8 * i, 4096, 0x110000 | 1, 42, 259 << 20, 1, 0, 3)
        + b"pdu"
        for i in range(4)
    ),
}
SAMPLES = {name: sample.encode() for name, sample in TEXT_SAMPLES.items()} | BINARY_SAMPLES


def columns_for(name: str) -> str | None:
    return MAPPED if name == "csv" else None


@st.composite
def damage(draw: st.DrawFn, sample: bytes) -> bytes:
    data = bytearray(sample * draw(st.integers(1, 3)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.sampled_from([0, 0, 1, 1, 2, 9, 40]))
        new = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(
                    [b"\n", b" ", b",", b".", b"-", b'"', b"\0", b"\r", b"9" * 30, b"1e99", b"\xb2"]
                ),
            )
        )
        data[at : at + cut] = new
    return bytes(data)


def test_every_format_read_as_bytes_has_a_sample() -> None:
    assert set(SAMPLES) == set(FORMATS) - {"parquet", "ssdsim"}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_undamaged_sample_is_recognised_and_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(SAMPLES[name])
    reader = open_trace(path, columns=columns_for(name))
    assert len(rows_of(reader)) >= 1
    assert reader.format == name


def outcome(
    path: Path, name: str | None, *, columns: str | None = None, skip_bad_lines: bool = False
) -> list[Row] | BadInput:
    """Rows, or the error in place of them; any other exception is a failed test."""
    try:
        return rows_of(open_trace(path, format=name, columns=columns, skip_bad_lines=skip_bad_lines))
    except BadInput as error:
        return error


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_reported_with_its_place_or_skipped(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / "trace"
    path.write_bytes(data.draw(damage(SAMPLES[name])))

    strict = outcome(path, name, columns=columns_for(name))
    skipping = outcome(path, name, columns=columns_for(name), skip_bad_lines=True)

    if isinstance(strict, BadInput):
        place = rf"{re.escape(str(path))}(:\d+(:\d+)?|: record \d+, byte \d+)?"
        assert re.fullmatch(place, strict.where)
    else:
        assert skipping == strict
    if isinstance(skipping, BadInput):
        # Without its header a table by names says nothing about any of its rows.
        assert re.match("no column is called|no I/O in it", skipping.what)
    else:
        assert all(t >= 0 and sector >= 0 and (size > 0 or op == 2) for t, op, sector, size, _ in skipping)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_trace_is_recognised_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / "trace"
    path.write_bytes(data.draw(damage(SAMPLES[name])))
    found = outcome(path, None)
    assert isinstance(found, list) or str(path) in found.where


@pytest.mark.parametrize("name", sorted(set(NUMBERED) - {"biosnoop"}))
@pytest.mark.parametrize("junk", [b"junk", b"\x00\xff\xfe", b"1 2", b"9" * 100_000])
def test_a_junk_line_is_named_by_its_number_and_skipping_loses_nothing_else(
    tmp_path: Path, name: str, junk: bytes
) -> None:
    sample = NUMBERED[name].encode()
    lines = sample.splitlines(keepends=True)
    clean, dirty = tmp_path / "clean", tmp_path / "dirty"
    clean.write_bytes(sample)
    dirty.write_bytes(b"".join(lines[:2]) + junk + b"\n" + b"".join(lines[2:]))

    with pytest.raises(TraceError) as raised:
        rows_of(open_trace(dirty, format=name))
    assert re.fullmatch(rf"{re.escape(str(dirty))}:3(:\d+)?", raised.value.where)

    reader = open_trace(dirty, format=name, skip_bad_lines=True)
    assert rows_of(reader) == rows_of(open_trace(clean, format=name))
    assert reader.counts["bad_lines"] == 1


@pytest.mark.parametrize("name", BINARY_SAMPLES)
def test_a_binary_trace_cut_short_names_the_record(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trace"
    sample = BINARY_SAMPLES[name]
    path.write_bytes(sample[:-2])
    with pytest.raises(TraceError) as raised:
        rows_of(open_trace(path))
    assert raised.value.where == f"{path}: record 4, byte {len(sample) * 3 // 4}"

    reader = open_trace(path, skip_bad_lines=True)
    assert len(rows_of(reader)) == 3
    assert reader.counts["damaged_stream"] == 1


@given(text=st.text(max_size=400))
@example(text="\n")
@example(text="# only a comment\n")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_an_error_of_ours_or_a_trace(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text, encoding="utf-8")
    for name in (None, *FORMATS):
        found = outcome(path, name)
        assert isinstance(found, list) or found.where


def test_a_bad_record_in_the_middle_is_named_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    sample = bytearray(BINARY_SAMPLES["vscsi1"])
    sample[32 + 15] = 7  # high byte of the second record's version
    path.write_bytes(sample)
    with pytest.raises(TraceError) as raised:
        rows_of(open_trace(path, format="vscsi1"))
    assert raised.value.where == f"{path}: record 2, byte 32"

    reader = open_trace(path, format="vscsi1", skip_bad_lines=True)
    assert [row[2] for row in rows_of(reader)] == [100, 102, 103]
    assert reader.counts["bad_lines"] == 1


def test_a_lost_magic_number_ends_a_blktrace_file(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    sample = bytearray(BINARY_SAMPLES["blktrace"])
    sample[2 * 51] ^= 0xFF  # a record is 48 bytes and 3 of payload
    path.write_bytes(sample)
    with pytest.raises(TraceError, match=r"trace: record 3, byte 102: the record's magic number is wrong"):
        rows_of(open_trace(path))


@pytest.mark.parametrize("name", BINARY_SAMPLES)
def test_a_compressed_binary_trace_that_breaks_off_keeps_its_whole_records(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trace"
    sample = BINARY_SAMPLES[name] * 20_000
    data = gzip.compress(sample)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(TraceError, match="the gzip stream is damaged or cut off"):
        rows_of(open_trace(path, format=name))

    reader = open_trace(path, format=name, skip_bad_lines=True)
    found = rows_of(reader)

    assert 0 < len(found) < 80_000
    assert reader.counts["damaged_stream"] >= 1


def test_a_column_of_many_unknown_operations_is_all_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("".join(f"{i},op{i},{i * 512},512\n" for i in range(50)) + "50,W,512,512\n")
    columns = "time=1:s,op=2,offset=3:bytes,size=4:bytes"
    reader = open_trace(path, columns=columns, skip_bad_lines=True)
    assert len(rows_of(reader)) == 1
    assert reader.counts["bad_lines"] == 50
