"""What a client may send a server: any bytes during the handshake and after it, in pieces of any size."""

import functools
import socket
import struct
import tempfile
from pathlib import Path
from typing import Final

from blkcrypto.base.errors import BadInput
from scenarios.serve.connection import Connection
from scenarios.serve.devices import open_device
from scenarios.serve.export import FLAGS, MAX_PAYLOAD_BYTES, ExportedDevice
from scenarios.serve.negotiation import Export
from scenarios.serve.protocol import ProtocolViolation
from tests.nbd_world import a_scenario

_BYTES: Final = 256 << 10
_FLAGS = struct.pack(">I", 3)
_MOST_WAITING: Final = (8 << 20) + 2 * _BYTES * 16
"""What may wait for a client that does not read, and the replies of one more round."""


@functools.cache
def _exported() -> ExportedDevice:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-nbd-"))
    sets = ("layout.extent_bytes=16k", "layout.file_size_bytes=64k")
    device = open_device(a_scenario(*sets), folder / "image", _BYTES)
    (folder / "image").unlink()  # it lives as long as this process has it open
    folder.rmdir()
    return ExportedDevice(device)


def _export() -> Export:
    return Export(
        name=b"x",
        description=b"fuzzed",
        size=_BYTES,
        flags=FLAGS,
        minimum_block=4096,
        preferred_block=4096,
        maximum_block=MAX_PAYLOAD_BYTES,
    )


def feed(data: bytes) -> None:
    """A whole session; the first byte says in pieces of how many bytes it arrives.

    Raises:
        BadInput: the client was hung up on.
    """
    exported = _exported()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = Connection(ours, 1, _export(), 0.0)
        connection.greet()
        step = 1 << (data[0] & 15) if data else 1
        try:
            for at in range(1, len(data), step):
                theirs.send(data[at : at + step])
                _serve(connection, exported)
                if connection.ended:
                    break
                if data[0] & 16:
                    _read_all(theirs, connection)
        except ProtocolViolation as violation:
            raise BadInput(f"hung up on: {violation}") from None
    assert exported.known is not None
    assert exported.known.mismatches == 0, "a client read what nobody wrote"


def _serve(connection: Connection, exported: ExportedDevice) -> None:
    while True:
        try:
            jobs = connection.receive()
        except BlockingIOError:
            return
        if jobs:
            exported.run(jobs)
            connection.send([part for job in jobs for part in job.reply])
        waiting = sum(len(part) for part in connection._waiting)
        assert waiting <= _MOST_WAITING, f"{waiting} bytes wait for a client that does not read"
        if connection.ended or not connection.wants_to_receive:
            return


def _read_all(theirs: socket.socket, connection: Connection) -> None:
    while connection.wants_to_send:
        theirs.recv(1 << 20)
        connection.flush()


def _option(number: int, payload: bytes = b"") -> bytes:
    return b"IHAVEOPT" + struct.pack(">II", number, len(payload)) + payload


def _request(command: int, offset: int, length: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">IHHQQI", 0x25609513, flags, command, 7, offset, length) + payload


def seeds() -> list[bytes]:
    """Sessions as clients have them."""
    go = _option(7, struct.pack(">IHH", 0, 1, 3))
    info = _option(6, struct.pack(">I1sH", 1, b"x", 0))
    work = [
        _request(1, 4096, 4096, bytes(range(256)) * 16),
        _request(0, 4096, 4096),
        _request(1, 100, 50, b"z" * 50, flags=1),
        _request(0, 0, 8192),
        _request(6, 8192, 5000),
        _request(4, 4096, 65536),
        _request(3, 0, 0),
        _request(0, _BYTES, 1),
        _request(1, _BYTES - 1, 2, b"yy"),
        _request(77, 0, 4096),
        _request(2, 0, 0),
    ]
    sessions = [
        _FLAGS + go + b"".join(work),
        _FLAGS + _option(3) + info + _option(8) + go + b"".join(work),
        _FLAGS + _option(1) + work[0] + work[1] * 40 + work[-1],
        struct.pack(">I", 0) + _option(1, b"x") + work[3],
        _FLAGS + _option(99, b"what") + _option(2),
        _FLAGS + go + _request(1, 0, MAX_PAYLOAD_BYTES + 1),
    ]
    return [bytes([pieces]) + session for session in sessions for pieces in (15, 31, 6, 20)]
