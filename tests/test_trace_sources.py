"""Where a trace's bytes come from: files, standard input, compression, and what is wrong with them."""

import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from blkcrypto.base.errors import BadInput
from scenarios.traces import TraceError, open_trace
from scenarios.traces.formats import FORMATS
from tests.test_trace_formats import rows_of

LINES = [
    f"{index},{'RW'[index % 2]},{index * 4096},4096,{1577808144360767 + index}\n" for index in range(60_000)
]
ALIBABA = "".join(LINES).encode()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


COMPRESSIONS = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zstd}
compressed = pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())
EXPECTED = [(index * 1000, index % 2, index * 8, 4096, index) for index in range(60_000)]


@compressed
def test_compression_is_seen_in_the_content_whatever_the_name(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "trace.txt"
    path.write_bytes(compress(ALIBABA))
    assert rows_of(open_trace(path)) == EXPECTED


@compressed
def test_several_compressed_parts_in_a_row_are_one_trace(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "trace"
    half = len(ALIBABA) // 2
    path.write_bytes(compress(ALIBABA[:half]) + compress(ALIBABA[half:]))
    assert rows_of(open_trace(path)) == EXPECTED


@compressed
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_stream_that_breaks_off_is_an_error_after_the_rows_before_it(
    tmp_path: Path, compress: Callable[[bytes], bytes], keep: float
) -> None:
    path = tmp_path / "trace"
    data = compress(ALIBABA)
    path.write_bytes(data[: int(len(data) * keep)])

    with pytest.raises(TraceError, match="stream is damaged or cut off"):
        rows_of(open_trace(path, format="alibaba"))

    reader = open_trace(path, format="alibaba", skip_bad_lines=True)
    found = rows_of(reader)
    # The last line may have been cut inside a number, which is no bad line.
    assert found[:-1] == EXPECTED[: len(found) - 1]
    assert reader.counts["damaged_stream"] == 1


@compressed
def test_a_stream_with_a_changed_byte_is_an_error(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "trace"
    data = bytearray(compress(ALIBABA))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TraceError):
        rows_of(open_trace(path, format="alibaba"))


@compressed
def test_standard_input_is_read_like_a_file(
    monkeypatch: pytest.MonkeyPatch, compress: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(compress(ALIBABA))))
    assert rows_of(open_trace("-")) == EXPECTED


def test_a_bad_line_on_standard_input_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"".join((ALIBABA, b"x\n")))))
    with pytest.raises(TraceError, match=r"^<stdin>:60001: "):
        rows_of(open_trace("-"))


def test_a_file_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as raised:
        open_trace(tmp_path / "gone.csv")
    assert raised.value.where == str(tmp_path / "gone.csv")
    assert "No such file" in raised.value.what


def test_a_directory_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as raised:
        open_trace(tmp_path)
    assert raised.value.where == str(tmp_path)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(TraceError, match="empty"):
        open_trace(tmp_path / "empty")


@pytest.mark.parametrize("content", [b"Dear diary,\ntoday I traced nothing.\n", bytes(range(256)) * 64])
def test_an_unknown_format_names_the_known_ones_and_the_column_map(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    with pytest.raises(TraceError) as raised:
        open_trace(path)
    assert all(name in raised.value.what for name in FORMATS)
    assert "--columns" in raised.value.what


def test_a_format_that_does_not_exist_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="msr"):
        open_trace(tmp_path / "trace", format="mrs")


def test_dos_line_ends_a_byte_order_mark_blank_lines_and_comments_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    lines = [line.strip() for line in LINES[:10]]
    path.write_bytes(
        b"\xef\xbb\xbf# comment\r\n" + "\r\n".join([*lines[:5], "", "# more", *lines[5:]]).encode()
    )
    assert rows_of(open_trace(path)) == EXPECTED[:10]


def test_lines_are_counted_with_the_blank_ones_and_the_comments(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("# comment\n\n" + "".join(LINES[:40_000]) + "\n# comment\nbad\n")
    with pytest.raises(TraceError, match=r":40005: "):
        rows_of(open_trace(path))


def test_a_line_of_many_megabytes_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes("".join(LINES[:2]).encode() + b"9" * (5 << 20) + b"\n" + LINES[2].encode())

    with pytest.raises(TraceError, match=r":3: the line is longer than 65536 bytes"):
        rows_of(open_trace(path))

    reader = open_trace(path, skip_bad_lines=True)
    assert rows_of(reader) == EXPECTED[:3]
    assert reader.counts["bad_lines"] == 1


def test_an_opened_trace_is_closed_by_the_context(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(ALIBABA)
    with open_trace(path) as reader:
        next(reader.batches())
    assert reader._source._file.closed
