"""The event loop: sockets to batches of requests, and replies back.

One thread.  Each round takes what all connections have sent by then and hands it to the device as one batch:
the deeper the queue, the larger the batches, and the less each request costs.
"""

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from blkcrypto.base.errors import BadInput
from scenarios.serve.connection import Connection
from scenarios.serve.export import FLAGS, MAX_PAYLOAD_BYTES, ExportedDevice, Job
from scenarios.serve.negotiation import Export
from scenarios.serve.protocol import ProtocolViolation

MOST_CONNECTIONS: Final = 64
_GOODBYE_S: Final = 1.0
_TICK_S: Final = 1.0


class Listener(Protocol):
    """Told of every request that is about to be done."""

    def requests(self, jobs: list[Job], now_ns: int) -> None:
        """``jobs`` came in together at ``now_ns`` of a monotonic clock."""


@dataclass(slots=True)
class ClientCounts:
    """Connections.

    Attributes:
        accepted: connections taken.
        violations: of those, hung up on for breaking the protocol.
        refused: not taken, for there were too many.
    """

    accepted: int = 0
    violations: int = 0
    refused: int = 0


class Server:
    """Serves one export on one listening socket.

    Args:
        exported: does the requests.
        listening: bound and listening.
        name: of the export.
        capture: told of every request.
        log: told of clients that were hung up on.
    """

    def __init__(
        self,
        exported: ExportedDevice,
        listening: socket.socket,
        *,
        name: str = "",
        capture: Listener | None = None,
        log: Callable[[str], None] = lambda _text: None,
    ) -> None:
        device = exported.device
        self.counts = ClientCounts()
        self._exported = exported
        self._export = Export(
            name=name.encode(),
            description=b"emulated encrypted device",
            size=device.size,
            flags=FLAGS,
            minimum_block=device.block_bytes,
            preferred_block=max(device.block_bytes, 4096),
            maximum_block=MAX_PAYLOAD_BYTES,
        )
        self._listening = listening
        self._capture = capture
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._connections: dict[int, Connection] = {}
        # Connections with requests received but not done, which no event will announce.
        self._backlog: dict[Connection, bool] = {}
        self._stop = False
        self._waker, self._woken = socket.socketpair()
        for sock in (listening, self._waker, self._woken):
            sock.setblocking(False)
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def stop(self) -> None:
        """End ``run`` after the present round; may be called from a signal handler or another thread."""
        self._stop = True
        with contextlib.suppress(OSError):  # it wakes up as it is, or has ended meanwhile
            self._waker.send(b"\0")

    def run(self) -> None:
        """Serve until ``stop``; all that was answered is then sent, and all connections are closed."""
        try:
            while not self._stop:
                self._round(self._selector.select(0 if self._backlog else _TICK_S))
        finally:
            self._close()

    def _round(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        touched, self._backlog = self._backlog, {}
        for key, mask in events:
            connection = key.data
            if not isinstance(connection, Connection):
                if key.fileobj is self._listening:
                    self._accept()
                continue
            touched.setdefault(connection, False)
            if mask & selectors.EVENT_READ:
                touched[connection] = True
            if mask & selectors.EVENT_WRITE:
                with self._hanging_up(connection):
                    connection.flush()
        jobs: list[Job] = []
        for connection, readable in touched.items():
            if readable and connection.wants_to_receive:
                with self._hanging_up(connection):
                    jobs += connection.receive()
        if jobs:
            if self._capture is not None:
                self._capture.requests(jobs, time.monotonic_ns())
            self._exported.run(jobs)
            self._send(jobs)
        for connection in touched:
            self._update(connection)
        self._expire()

    def _send(self, jobs: list[Job]) -> None:
        replies: dict[int, list[bytes | memoryview]] = {}
        for job in jobs:
            replies.setdefault(job.stream, []).extend(job.reply)
        for number, buffers in replies.items():
            connection = self._connections.get(number)
            if connection is not None:
                with self._hanging_up(connection):
                    connection.send(buffers)

    def _accept(self) -> None:
        try:
            sock, _ = self._listening.accept()
        except OSError:
            return  # it hung up before, or there are no file descriptors left: others go on
        if len(self._connections) >= MOST_CONNECTIONS:
            self.counts.refused += 1
            sock.close()
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counts.accepted += 1
        connection = Connection(sock, self.counts.accepted, self._export, time.monotonic())
        self._connections[connection.number] = connection
        self._selector.register(sock, selectors.EVENT_READ, connection)
        with self._hanging_up(connection):
            connection.greet()
        self._update(connection)

    @contextlib.contextmanager
    def _hanging_up(self, connection: Connection) -> Iterator[None]:
        """Drop ``connection`` when what is done with it fails."""
        try:
            yield
        except ProtocolViolation as violation:
            self.counts.violations += 1
            self._log(f"client {connection.number}: {violation}: hung up")
            self._drop(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)

    def _update(self, connection: Connection) -> None:
        """Listen for what the connection can use now, or close it."""
        if connection.number not in self._connections:
            return
        if connection.ended and not connection.wants_to_send:
            self._drop(connection)
            return
        if connection.has_more:
            self._backlog[connection] = True
        events = selectors.EVENT_READ * connection.wants_to_receive
        events |= selectors.EVENT_WRITE * connection.wants_to_send
        if self._selector.get_key(connection.sock).events != events:
            self._selector.modify(connection.sock, events, connection)

    def _drop(self, connection: Connection) -> None:
        if self._connections.pop(connection.number, None) is not None:
            self._selector.unregister(connection.sock)
            connection.sock.close()

    def _expire(self) -> None:
        """Hang up on clients that do not finish the handshake."""
        if all(connection.deadline_s is None for connection in self._connections.values()):
            return
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if connection.deadline_s is not None and now > connection.deadline_s:
                self._log(f"client {connection.number}: no handshake: hung up")
                self._drop(connection)

    def _close(self) -> None:
        deadline = time.monotonic() + _GOODBYE_S
        for connection in list(self._connections.values()):
            with self._hanging_up(connection):
                connection.sock.settimeout(max(0.0, deadline - time.monotonic()))
                connection.flush()
            self._drop(connection)
        for sock in (self._listening, self._waker, self._woken):
            sock.close()
        self._selector.close()


@contextlib.contextmanager
def stopped_by_signals(server: Server) -> Iterator[None]:
    """SIGINT and SIGTERM end ``server`` instead of the process."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(address: str, *, allow_remote: bool = False) -> tuple[socket.socket, str]:
    """A listening socket for ``HOST:PORT`` or ``unix:PATH``, and the URI that clients take.

    Raises:
        BadInput: not an address, not of this machine, or in use.
    """
    if address.startswith("unix:"):
        return _listen_unix(Path(address.removeprefix("unix:")))
    host, colon, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not port.isdigit() or int(port) > 65535:
        raise BadInput(f"{address!r} is no HOST:PORT and no unix:PATH", where="--nbd")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        family, place = found[0], found[4]
        if not allow_remote and not _is_loopback(str(place[0])):
            what = f"{host} can be reached from other machines, and anybody who does reads plaintext"
            raise BadInput(f"{what}: use 127.0.0.1, or add --allow-remote", where="--nbd")
        sock = socket.create_server((str(place[0]), int(port)), family=family, backlog=MOST_CONNECTIONS)
    except OSError as error:
        raise BadInput(f"cannot listen on {address}: {error.strerror}", where="--nbd") from None
    shown = f"[{place[0]}]" if family == socket.AF_INET6 else str(place[0])
    return sock, f"nbd://{shown}:{sock.getsockname()[1]}"


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")


def _listen_unix(path: Path) -> tuple[socket.socket, str]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            _remove_stale(path)
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(MOST_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise BadInput(f"cannot listen on {path}: {error.strerror or error}", where="--nbd") from None
    return sock, f"nbd+unix:///?socket={path}"


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more, as a killed server leaves it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
