"""A blocking NBD client by the letter of the protocol document, sharing no code with the server.

Numbers are written where they are used, as in the document.
"""

import socket
import struct
from typing import Self


class NbdError(Exception):
    """The server answered with an error number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"NBD error {number}")
        self.number = number


class NbdClient:
    """One connection, through the handshake with ``NBD_OPT_GO`` or, on request, ``NBD_OPT_EXPORT_NAME``."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        structured: bool = False,
        old_style: bool = False,
        ask_block: bool = False,
    ) -> None:
        self.sock = socket.create_connection(address, timeout=30)
        self.structured = structured
        self.cookie = 0x1122334455667700
        assert self.take(18) == b"NBDMAGIC" + b"IHAVEOPT" + b"\x00\x03"
        self.sock.sendall(b"\x00\x00\x00\x03")
        if structured:
            self.option(8, b"")
            assert self.option_reply() == (8, 1, b"")
        if old_style:
            self.option(1, b"")
            self.size, self.flags = struct.unpack(">QH", self.take(10))
        else:
            self.option(7, b"\x00\x00\x00\x00" + (b"\x00\x01\x00\x03" if ask_block else b"\x00\x00"))
            self.read_infos()

    def read_infos(self) -> None:
        while True:
            option, kind, data = self.option_reply()
            assert option == 7
            if kind == 1:
                return
            assert kind == 3, hex(kind)
            if data[:2] == b"\x00\x00":
                self.size, self.flags = struct.unpack(">QH", data[2:])
            if data[:2] == b"\x00\x03":
                self.blocks = struct.unpack(">III", data[2:])

    def option(self, number: int, data: bytes) -> None:
        self.sock.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)

    def option_reply(self) -> tuple[int, int, bytes]:
        assert self.take(8) == b"\x00\x03\xe8\x89\x04\x55\x65\xa9"
        option, kind, length = struct.unpack(">III", self.take(12))
        return option, kind, self.take(length)

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise ConnectionError("the server hung up")
            data += part
        return data

    def send(self, command: int, offset: int, length: int, payload: bytes = b"", flags: int = 0) -> int:
        self.cookie += 1
        head = b"\x25\x60\x95\x13" + struct.pack(">HHQQI", flags, command, self.cookie, offset, length)
        self.sock.sendall(head + payload)
        return self.cookie

    def receive(self, lengths: dict[int, int]) -> tuple[int, bytes]:
        """One reply to any request in flight: its cookie and data; ``lengths`` of reads by cookie."""
        magic = self.take(4)
        if magic == b"\x67\x44\x66\x98":
            error, cookie = struct.unpack(">IQ", self.take(12))
            if error:
                raise NbdError(error)
            return cookie, self.take(lengths.get(cookie, 0))
        assert magic == b"\x66\x8e\x33\xef", magic.hex()
        flags, kind, cookie, length = struct.unpack(">HHQI", self.take(16))
        body = self.take(length)
        assert flags == 1, "one chunk is all"
        if kind == 32769:
            raise NbdError(int.from_bytes(body[:4], "big"))
        assert kind == 1, "offset data"
        return cookie, body[8:]

    def call(self, command: int, offset: int, length: int, payload: bytes = b"", flags: int = 0) -> bytes:
        cookie = self.send(command, offset, length, payload, flags)
        got, data = self.receive({cookie: length} if command == 0 else {})
        assert got == cookie
        return data

    def read(self, offset: int, length: int) -> bytes:
        return self.call(0, offset, length)

    def write(self, offset: int, data: bytes, *, fua: bool = False) -> None:
        self.call(1, offset, len(data), data, flags=int(fua))

    def flush(self) -> None:
        self.call(3, 0, 0)

    def trim(self, offset: int, length: int) -> None:
        self.call(4, offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        self.call(6, offset, length)

    def close(self) -> None:
        self.send(2, 0, 0)
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
