"""One client's connection: what it may say now, what it still has to be sent.

Rules:

- A client that breaks the protocol, hangs up or lets the handshake take too long is disconnected; others
  notice nothing.
- A client that does not read its replies is not listened to until it does: what waits for it is bounded.
"""

import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

from scenarios.serve.export import MAX_PAYLOAD_BYTES, Job
from scenarios.serve.inbox import Inbox
from scenarios.serve.negotiation import Export, Negotiation, Phase
from scenarios.serve.protocol import ProtocolViolation

HANDSHAKE_S: Final = 10.0
_MOST_WAITING_BYTES: Final = 8 << 20
# Of one connection in one round: its first replies are on their way while the rest is done.
_MOST_JOBS: Final = 16
_MOST_BUFFERS: Final = 512  # well below IOV_MAX
_HANDSHAKE_READ: Final = 1 << 16


class Connection:
    """State of one connection; the server moves the bytes when the socket is ready.

    Args:
        sock: connected, non-blocking.
        number: for the trace and messages.
        export: what is offered.
        now_s: a clock, in seconds.

    Attributes:
        ended: nothing more will come; close when everything is sent.
    """

    def __init__(self, sock: socket.socket, number: int, export: Export, now_s: float) -> None:
        self.sock = sock
        self.number = number
        self.ended = False
        self.deadline_s: float | None = now_s + HANDSHAKE_S
        self._negotiation = Negotiation(export)
        self._inbox: Inbox | None = None
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0

    def greet(self) -> None:
        """Say what a server says first; OSError when the connection is broken."""
        self.send((self._negotiation.greeting(),))

    @property
    def wants_to_send(self) -> bool:
        """Whether replies wait."""
        return bool(self._waiting)

    @property
    def wants_to_receive(self) -> bool:
        """Whether more may come."""
        return not self.ended and self._waiting_bytes < _MOST_WAITING_BYTES

    @property
    def has_more(self) -> bool:
        """Whether requests that were received wait to be done, and may be."""
        return self._inbox is not None and self._inbox.more and self.wants_to_receive

    def receive(self) -> list[Job]:
        """Read what has arrived; the next requests that are complete.

        Raises:
            ProtocolViolation: hang up.
            OSError: the connection is broken.
        """
        inbox = self._inbox
        if inbox is None:
            return self._handshake(self.sock.recv(_HANDSHAKE_READ))
        if not inbox.more:
            count = self.sock.recv_into(inbox.room())
            if not count:
                self.ended = True  # the client hung up without CMD_DISC: nothing is lost by it
                return []
            inbox.received(count)
        return self._jobs(inbox)

    def _handshake(self, data: bytes) -> list[Job]:
        if not data:
            raise ProtocolViolation("hung up in the handshake")
        negotiation = self._negotiation
        self.send((negotiation.receive(data),))
        if negotiation.phase is Phase.ENDED:
            self.ended = True
        if negotiation.phase is not Phase.TRANSMISSION:
            return []
        self.deadline_s = None
        self._inbox = Inbox(MAX_PAYLOAD_BYTES, negotiation.unread)
        return self._jobs(self._inbox)

    def _jobs(self, inbox: Inbox) -> list[Job]:
        agreed = self._negotiation
        found = inbox.take(_MOST_JOBS, _MOST_WAITING_BYTES)
        self.ended = inbox.ended
        return [
            Job(request, payload, agreed.structured, agreed.keeps_block_size, self.number)
            for request, payload in found
        ]

    def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Queue ``buffers`` and send what the socket takes.

        Raises:
            OSError: the connection is broken.
        """
        if not self._waiting and len(buffers) <= _MOST_BUFFERS:
            buffers = self._unsent(buffers)
        for buffer in buffers:
            if len(buffer):
                self._waiting.append(memoryview(buffer))
                self._waiting_bytes += len(buffer)
        self.flush()

    def _unsent(self, buffers: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
        """Send at once what the socket takes, which mostly is all; the rest."""
        try:
            sent = self.sock.sendmsg(buffers)
        except BlockingIOError:
            return buffers
        if sent == sum(map(len, buffers)):
            return ()
        rest = list(buffers)
        while sent >= len(rest[0]):
            sent -= len(rest.pop(0))
        rest[0] = memoryview(rest[0])[sent:]
        return rest

    def flush(self) -> None:
        """Send what the socket takes; OSError when the connection is broken."""
        waiting = self._waiting
        while waiting:
            try:
                first = [buffer for buffer, _ in zip(waiting, range(_MOST_BUFFERS), strict=False)]
                sent = self.sock.sendmsg(first)
            except BlockingIOError:
                return
            self._waiting_bytes -= sent
            while sent:
                if sent < len(waiting[0]):
                    waiting[0] = waiting[0][sent:]
                    break
                sent -= len(waiting.popleft())
