"""The NBD protocol's byte layouts and rules, against the protocol document; no socket is opened."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.serve import protocol
from scenarios.serve.inbox import Inbox
from scenarios.serve.negotiation import Export, Negotiation, Phase
from scenarios.serve.protocol import Error, HandshakeFlags, ProtocolViolation, Request, TransmissionFlags

SIZE = 0x0000_0001_4000_0000
EXPORT = Export(
    name=b"disk",
    description=b"words",
    size=SIZE,
    flags=TransmissionFlags.HAS_FLAGS | TransmissionFlags.SEND_FLUSH,
    minimum_block=4096,
    preferred_block=4096,
    maximum_block=1 << 25,
)
BOTH_FLAGS = b"\x00\x00\x00\x03"


def option(number: int, data: bytes = b"") -> bytes:
    return b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data


def reply(number: int, kind: int, data: bytes = b"") -> bytes:
    return bytes.fromhex("0003e889045565a9") + struct.pack(">III", number, kind, len(data)) + data


def agreed(*messages: bytes, flags: bytes = BOTH_FLAGS) -> tuple[Negotiation, bytes]:
    negotiation = Negotiation(EXPORT)
    return negotiation, negotiation.receive(flags + b"".join(messages))


def test_the_greeting_is_two_words_of_eight_letters_and_the_handshake_flags() -> None:
    assert Negotiation.greeting() == b"NBDMAGIC" + b"IHAVEOPT" + b"\x00\x03"


def test_export_name_is_answered_by_size_flags_and_124_zeroes_unless_both_agreed_on_none() -> None:
    facts = bytes.fromhex("0000000140000000") + b"\x00\x05"
    _, short = agreed(option(1, b"disk"))
    _, long = agreed(option(1, b"disk"), flags=b"\x00\x00\x00\x01")
    assert (short, long) == (facts, facts + bytes(124))


def test_export_name_of_another_export_ends_the_connection() -> None:
    with pytest.raises(ProtocolViolation):
        agreed(option(1, b"other"))


def test_go_gives_size_flags_and_block_sizes_then_an_ack() -> None:
    negotiation, answer = agreed(option(7, b"\x00\x00\x00\x04disk" + b"\x00\x01" + b"\x00\x03"))
    # INFO_EXPORT (0): size, flags.  INFO_BLOCK_SIZE (3): 4096, 4096, 32 MiB.
    size = reply(7, 3, b"\x00\x00" + bytes.fromhex("0000000140000000") + b"\x00\x05")
    blocks = reply(7, 3, b"\x00\x03" + bytes.fromhex("00001000 00001000 02000000"))
    assert answer == size + blocks + reply(7, 1)
    assert (negotiation.phase, negotiation.keeps_block_size) == (Phase.TRANSMISSION, True)


def test_info_tells_name_and_description_when_asked_and_leaves_the_handshake_open() -> None:
    negotiation, answer = agreed(option(6, b"\x00\x00\x00\x00" + b"\x00\x02" + b"\x00\x01\x00\x02"))
    assert reply(6, 3, b"\x00\x01disk") + reply(6, 3, b"\x00\x02words") + reply(6, 1) in answer
    assert negotiation.phase is Phase.OPTIONS


@pytest.mark.parametrize("number", [6, 7])
def test_info_and_go_of_an_unknown_export_are_refused_as_unknown(number: int) -> None:
    _, answer = agreed(option(number, b"\x00\x00\x00\x02no\x00\x00"))
    assert answer == reply(number, 0x80000006)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x00\x00\x05disk\x00\x00", b"\x00\x00\x00\x04disk\x00\x01", b"\x00\x00\x00\x00\x00\x00\x00"],
    ids=["empty", "name too short", "a missing request", "a byte too many"],
)
def test_go_with_lengths_that_do_not_add_up_is_refused_as_invalid(data: bytes) -> None:
    _, answer = agreed(option(7, data))
    assert answer == reply(7, 0x80000003)


def test_list_names_the_one_export() -> None:
    _, answer = agreed(option(3))
    assert answer == reply(3, 2, b"\x00\x00\x00\x04disk") + reply(3, 1)


@pytest.mark.parametrize("number", [3, 8])
def test_an_option_that_takes_no_data_is_refused_with_data(number: int) -> None:
    _, answer = agreed(option(number, b"x"))
    assert answer == reply(number, 0x80000003)


@pytest.mark.parametrize("number", [0, 4, 5, 9, 10, 11, 99])
def test_other_options_are_unsupported_and_the_next_one_may_be_fine(number: int) -> None:
    _, answer = agreed(option(number, b"whatever") + option(3))
    assert answer.startswith(reply(number, 0x80000001))
    assert answer.endswith(reply(3, 1))


def test_abort_is_acknowledged_and_ends_the_session() -> None:
    negotiation, answer = agreed(option(2))
    assert (answer, negotiation.phase) == (reply(2, 1), Phase.ENDED)


def test_a_client_without_fixed_newstyle_may_only_name_an_export() -> None:
    with pytest.raises(ProtocolViolation):
        agreed(option(3), flags=b"\x00\x00\x00\x00")


@pytest.mark.parametrize(
    "data",
    [b"\x00\x00\x00\x04", b"\x80\x00\x00\x03", BOTH_FLAGS + b"IHAVEOPX" + bytes(8)],
    ids=["unknown flag", "highest bit", "wrong magic"],
)
def test_what_has_no_answer_ends_the_connection(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Negotiation(EXPORT).receive(data)


def test_an_option_larger_than_any_needs_to_be_ends_the_connection_before_it_is_read() -> None:
    head = b"IHAVEOPT" + struct.pack(">II", 7, 0xFFFFFFFF)
    with pytest.raises(ProtocolViolation):
        Negotiation(EXPORT).receive(BOTH_FLAGS + head)


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_how_the_bytes_of_a_handshake_arrive_does_not_matter(cuts: list[int]) -> None:
    data = BOTH_FLAGS + option(8) + option(3) + option(7, b"\x00\x00\x00\x00\x00\x00") + b"first request"
    whole = Negotiation(EXPORT)
    expected = whole.receive(data)
    pieces = Negotiation(EXPORT)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    answer = b"".join(pieces.receive(data[a:b]) for a, b in itertools.pairwise(edges))
    assert (answer, bytes(pieces.unread)) == (expected, b"first request")
    assert pieces.structured
    assert whole.structured


OPTIONS = st.builds(option, st.integers(0, 12), st.binary(max_size=40))


@given(st.lists(st.one_of(OPTIONS, st.binary(max_size=60)), max_size=6), st.sampled_from([BOTH_FLAGS, b""]))
def test_a_handshake_of_any_bytes_is_answered_or_hung_up_on_and_never_fails(
    messages: list[bytes], first: bytes
) -> None:
    negotiation = Negotiation(EXPORT)
    try:
        answer = negotiation.receive(first + b"".join(messages))
    except ProtocolViolation:
        return
    assert len(answer) <= 200 * (len(messages) * 10 + 1)


# Magic, flags FUA, type WRITE, cookie, offset 4096, length 512: 4 + 2 + 2 + 8 + 8 + 4 = 28 bytes.
WRITE_HEADER = bytes.fromhex("25609513 0001 0001 0102030405060708 0000000000001000 00000200".replace(" ", ""))


def test_a_request_is_28_bytes_big_endian() -> None:
    assert protocol.parse_request(WRITE_HEADER) == Request(1, 1, 0x0102030405060708, 4096, 512)


def test_a_simple_reply_is_magic_error_and_cookie() -> None:
    assert protocol.simple_reply(0x0102030405060708, Error.ENOSPC) == bytes.fromhex(
        "67446698 0000001c 0102030405060708"
    )


def test_a_data_chunk_is_the_last_one_and_counts_its_offset_as_payload() -> None:
    # magic, DONE, OFFSET_DATA, cookie, 8 + 512 = 0x208 bytes, offset 4096
    assert protocol.data_chunk(7, 4096, 512) == bytes.fromhex(
        "668e33ef 0001 0001 0000000000000007 00000208 0000000000001000"
    )


def test_an_error_chunk_has_the_number_and_an_empty_message() -> None:
    # magic, DONE, 2**15 + 1, cookie, 4 + 2 = 6 bytes, EINVAL = 22, 0
    assert protocol.error_chunk(7, Error.EINVAL) == bytes.fromhex(
        "668e33ef 0001 8001 0000000000000007 00000006 00000016 0000"
    )


def feed(inbox: Inbox, data: bytes) -> list[tuple[Request, bytes | None]]:
    got = []
    while data:
        room = inbox.room()
        count = min(len(room), len(data))
        room[:count] = np.frombuffer(data[:count], dtype=np.uint8).data
        inbox.received(count)
        while found := inbox.take(3, 1 << 20):
            got += [(request, None if load is None else load.tobytes()) for request, load in found]
        data = data[count:]
    return got


@given(
    requests=st.lists(
        st.tuples(st.sampled_from([0, 1, 3, 4, 6, 77]), st.integers(0, 2**64 - 1), st.integers(0, 3000)),
        max_size=8,
    ),
    cut=st.integers(1, 5000),
)
def test_requests_come_out_as_they_went_in_however_they_are_cut(
    requests: list[tuple[int, int, int]], cut: int
) -> None:
    data, expected = b"", []
    for number, (command, offset, length) in enumerate(requests):
        payload = bytes(index * 7 + number & 255 for index in range(length)) if command == 1 else None
        data += bytes.fromhex("25609513") + struct.pack(">HHQQI", 0, command, number, offset, length)
        data += payload or b""
        expected.append((Request(0, command, number, offset, length), payload))
    inbox = Inbox(4096)
    got = []
    for at in range(0, len(data), cut):
        got += feed(inbox, data[at : at + cut])
    assert got == expected


def test_a_write_larger_than_the_buffer_at_first_is_received_whole() -> None:
    payload = bytes(range(256)) * (3 << 12)  # 3 MiB
    header = bytes.fromhex("25609513") + struct.pack(">HHQQI", 0, 1, 5, 0, len(payload))
    [(request, got)] = feed(Inbox(4 << 20), header + payload)
    assert (request.length, got) == (3 << 20, payload)


def test_a_write_larger_than_the_export_takes_ends_the_connection_before_its_payload() -> None:
    header = bytes.fromhex("25609513") + struct.pack(">HHQQI", 0, 1, 5, 0, 4097)
    with pytest.raises(ProtocolViolation):
        feed(Inbox(4096), header)


def test_nothing_is_parsed_after_a_disconnect() -> None:
    disconnect = bytes.fromhex("25609513") + struct.pack(">HHQQI", 0, 2, 0, 0, 0)
    inbox = Inbox(4096)
    assert feed(inbox, disconnect + b"x" * 28) == []
    assert inbox.ended


@given(st.binary(max_size=200))
def test_a_receive_buffer_of_any_bytes_gives_requests_or_hangs_up_and_never_fails(data: bytes) -> None:
    try:
        found = feed(Inbox(64), data)
    except ProtocolViolation:
        return
    assert 28 * len(found) <= len(data)


def test_the_handshake_flags_are_fixed_newstyle_and_no_zeroes() -> None:
    assert protocol.parse_client_flags(b"\x00\x00\x00\x02") == HandshakeFlags.NO_ZEROES
