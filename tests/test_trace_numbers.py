"""Reading columns of text by machine words: equal to ``int()``, ``Fraction`` and ``split()`` for any text."""

import re
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traces.fields import (
    Column,
    decimal,
    head,
    says,
    split_delimited,
    split_whitespace,
    whole,
)
from scenarios.traces.lines import PAD, Block

LARGEST = 2**63 - 1
digits = st.text("0123456789", min_size=0, max_size=26)
almost_numbers = st.one_of(
    digits,
    st.text("0123456789./:-+ex \u00b2", max_size=12).filter(lambda text: "\n" not in text),
    st.integers(0, 2**65).map(str),
)


def block_of(lines: list[str]) -> Block:
    data = "".join(f"{line}\n" for line in lines).encode()
    text = np.zeros(len(data) + 2 * PAD, dtype=np.uint8)
    text[PAD:-PAD] = np.frombuffer(data, dtype=np.uint8)
    return Block("trace", text, 1, None)


def whole_lines(lines: list[str]) -> tuple[Block, Column]:
    block = block_of(lines)
    return block, Column(block.starts, block.ends)


@given(st.lists(almost_numbers, min_size=1, max_size=20))
def test_whole_numbers_are_read_as_int_reads_them(lines: list[str]) -> None:
    values, good = whole(*whole_lines(lines))
    for line, value, ok in zip(lines, values.tolist(), good.tolist(), strict=True):
        # The last per mille below 2**63 and more than 24 digits are refused, which costs no real number.
        readable = re.fullmatch("[0-9]{1,24}", line) is not None and int(line) < 922 * 10**16
        assert ok is readable
        assert not ok or value == int(line)


@given(st.lists(almost_numbers, min_size=1, max_size=20), st.sampled_from([0, 3, 6, 9]))
def test_fractions_are_exact_to_the_nanosecond_and_cut_off_below(lines: list[str], places: int) -> None:
    values, good = decimal(*whole_lines(lines), places)
    for line, value, ok in zip(lines, values.tolist(), good.tolist(), strict=True):
        if ok:
            assert re.fullmatch(r"\+?[0-9]*\.?[0-9]*(e[+-]?[0-9]+)?", line)
            assert (
                value
                == Fraction(line.rstrip(".") if "e" not in line else line.replace(".e", "e"))
                * 10**places
                // 1
            )
        else:
            plain = re.fullmatch(r"([0-9]{1,24})(\.[0-9]{0,24})?", line)
            assert plain is None or int(plain[1]) >= LARGEST // 10**places - 1


def test_a_nanosecond_of_a_time_in_seconds_since_1970_is_kept() -> None:
    # As a float, 1455592173.088669301 is off by 5 ns.
    values, good = decimal(*whole_lines(["1455592173.088669301", "1455592173"]), 9)
    assert values.tolist() == [1455592173_088669301, 1455592173_000000000]
    assert good.all()


@given(st.lists(st.lists(st.text("abc1. ", max_size=5), min_size=1, max_size=6), min_size=1, max_size=10))
def test_delimited_fields_are_those_of_split_without_the_spaces_around_them(rows: list[list[str]]) -> None:
    block = block_of([",".join(row) for row in rows])
    fields = split_delimited(block, ord(","))
    for index in (0, 2, 5, -1, -3):
        column = fields.column(index)
        found = [block.bytes_at(a, b).decode() for a, b in zip(column.start, column.end, strict=True)]
        assert found == [row[index].strip(" ") if -len(row) <= index < len(row) else "" for row in rows]


@given(st.lists(st.text("ab1.\t ", max_size=20), min_size=1, max_size=10))
def test_white_space_fields_are_those_of_split(lines: list[str]) -> None:
    block = block_of(lines)
    fields = split_whitespace(block)
    assert fields.count.tolist() == [len(line.split()) for line in lines]
    for index in (0, 1, 3, -1, -2):
        column = fields.column(index)
        found = [block.bytes_at(a, b).decode() for a, b in zip(column.start, column.end, strict=True)]
        words = [line.split() for line in lines]
        assert found == [row[index] if -len(row) <= index < len(row) else "" for row in words]


@given(
    st.lists(st.text("abc:_", max_size=20), min_size=1, max_size=10),
    st.text("abc:_", min_size=1, max_size=20),
)
def test_says_compares_whole_fields_of_any_length(lines: list[str], text: str) -> None:
    block, column = whole_lines([*lines, text])
    assert says(block, column, text.encode()).tolist() == [line == text for line in [*lines, text]]


def test_head_is_the_first_eight_bytes_little_endian() -> None:
    block, column = whole_lines(["Q", "block_bio_queue:"])
    assert head(block, column).tolist() == [ord("Q"), int.from_bytes(b"block_bi", "little")]
