"""Received bytes to requests, without a socket.

Rules:

- A request is handed out when all of it is there: header, and payload of a write.
- Payloads are views of the receive buffer: nothing is copied.  They are valid until ``room`` is called next.
- A write with more payload than the export takes ends the connection: reading it would cost memory or
  time that a hostile client chooses.
- Nothing is parsed after ``CMD_DISC``.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from scenarios.serve.protocol import REQUEST, Command, ProtocolViolation, Request, parse_request

U8 = npt.NDArray[np.uint8]

_BUFFER_BYTES: Final = 1 << 20
# Plain ints: every request is asked.
_HEADER_BYTES: Final = REQUEST.size
_WRITE, _DISC = int(Command.WRITE), int(Command.DISC)


Incoming = tuple[Request, U8 | None]
"""One request and what came with it: its header, and ``uint8[length]`` of a write, a view; else None."""


class Inbox:
    """The receive buffer of one connection.

    Args:
        max_payload: bytes of the largest write.
        unread: what arrived after the handshake.

    Attributes:
        ended: the client said ``CMD_DISC``.
        more: ``take`` stopped at a limit: call it again before receiving more.
    """

    def __init__(self, max_payload: int, unread: bytes | bytearray = b"") -> None:
        self.ended = self.more = False
        self._max_payload = max_payload
        self._buffer: U8 = np.empty(max(_BUFFER_BYTES, len(unread)), dtype=np.uint8)
        self._buffer[: len(unread)] = np.frombuffer(unread, dtype=np.uint8)
        self._filled = len(unread)
        self._parsed = 0
        self._wanted = 0

    def room(self) -> memoryview:
        """Where to receive to, at least one byte; ends the life of all payloads handed out."""
        left = self._filled - self._parsed
        size = max(_BUFFER_BYTES, self._wanted)
        if size != len(self._buffer):
            grown = np.empty(size, dtype=np.uint8)
            grown[:left] = self._buffer[self._parsed : self._filled]
            self._buffer = grown
        elif self._parsed and left:
            # numpy copies overlapping slices as if through a temporary.
            self._buffer[:left] = self._buffer[self._parsed : self._filled]
        self._parsed, self._filled = 0, left
        return self._buffer.data[left:]

    def received(self, count: int) -> None:
        """``count`` bytes were written to ``room``."""
        self._filled += count

    def take(self, most: int, most_bytes: int) -> list[Incoming]:
        """Requests that are complete now, in order.

        Args:
            most: requests at once.
            most_bytes: of their data at once, in either direction; exceeded by the last one only.

        Raises:
            ProtocolViolation: hang up; requests before the violation are lost with it.
        """
        found: list[Incoming] = []
        buffer, at, filled = self._buffer, self._parsed, self._filled
        view = buffer.data
        nbytes = self._wanted = 0
        while filled - at >= _HEADER_BYTES and len(found) < most and nbytes < most_bytes and not self.ended:
            request = parse_request(view, at)
            _, command, _, _, length = request
            body = at + _HEADER_BYTES
            payload = None
            if command == _WRITE:
                if length > self._max_payload:
                    raise ProtocolViolation(f"a write of {length} bytes")
                if filled - body < length:
                    self._wanted = _HEADER_BYTES + length
                    break
                payload = buffer[body : body + length]
                body += length
            if command == _DISC:
                self.ended = True
            else:
                found.append((request, payload))
                nbytes += length
            at = body
        self._parsed = at
        self.more = len(found) >= most or nbytes >= most_bytes
        return found
