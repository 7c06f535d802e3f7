"""The handshake, without a socket: bytes in, bytes out, and what was agreed.

Rules (NBD protocol document, "Newstyle negotiation", "Option types"):

- Options come until one ends the phase: ``EXPORT_NAME`` and a successful ``GO`` begin transmission, ``ABORT``
  ends the session.  Anything else may follow anything.
- A client without fixed newstyle may send ``EXPORT_NAME`` only; an error has no reply there, so the
  connection ends.
- An unknown option is refused and the next one may be fine.
- A client that asked for block sizes keeps to them; one that did not may send any range.

A payload longer than any option needs is not read: the connection ends.
"""

import enum
from dataclasses import dataclass, field
from typing import Final

from scenarios.serve import protocol
from scenarios.serve.protocol import (
    HandshakeFlags,
    Info,
    Option,
    ProtocolViolation,
    Rep,
    TransmissionFlags,
    option_reply,
)

MAX_OPTION_BYTES: Final = 16 << 10
"""More than the longest name with every information request there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What a client is told.

    Attributes:
        name: clients may also ask for the default export, which has an empty name.
        description: for people.
        size: bytes.
        flags: what it can do.
        minimum_block, preferred_block, maximum_block: sizes of a request, in bytes.
    """

    name: bytes
    description: bytes
    size: int
    flags: TransmissionFlags
    minimum_block: int
    preferred_block: int
    maximum_block: int


class Phase(enum.Enum):
    """Where a handshake is."""

    FLAGS = "waits for the client's flags"
    OPTIONS = "waits for an option"
    TRANSMISSION = "agreed"
    ENDED = "the client ended it"


@dataclass(slots=True)
class Negotiation:
    """One client's handshake.

    Attributes:
        phase: where it is.
        structured: reads get structured replies.
        keeps_block_size: the client asked for the block sizes.
        unread: bytes received after the handshake's end: they belong to transmission.
    """

    export: Export
    phase: Phase = Phase.FLAGS
    structured: bool = False
    keeps_block_size: bool = False
    unread: bytearray = field(default_factory=bytearray)
    _no_zeroes: bool = False
    _fixed: bool = False

    @staticmethod
    def greeting() -> bytes:
        """What the server says first."""
        return protocol.greeting(HandshakeFlags.FIXED_NEWSTYLE | HandshakeFlags.NO_ZEROES)

    def receive(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take what arrived; the bytes to send back.

        Raises:
            ProtocolViolation: hang up.
        """
        self.unread += data
        replies = []
        while (reply := self._step()) is not None:
            replies.append(reply)
        return b"".join(replies)

    def _step(self) -> bytes | None:
        """Answer one message; None when it is not complete, or nothing more is to come."""
        if self.phase is Phase.FLAGS:
            head = self._take(protocol.CLIENT_FLAGS.size)
            if head is None:
                return None
            flags = protocol.parse_client_flags(head)
            self._fixed = HandshakeFlags.FIXED_NEWSTYLE in flags
            self._no_zeroes = HandshakeFlags.NO_ZEROES in flags
            self.phase = Phase.OPTIONS
            return b""
        if self.phase is not Phase.OPTIONS or len(self.unread) < protocol.OPTION.size:
            return None
        option, length = protocol.parse_option(bytes(self.unread[: protocol.OPTION.size]))
        if length > MAX_OPTION_BYTES:
            raise ProtocolViolation(f"an option of {length} bytes")
        message = self._take(protocol.OPTION.size + length)
        return None if message is None else self._answer(option, message[protocol.OPTION.size :])

    def _take(self, count: int) -> bytes | None:
        if len(self.unread) < count:
            return None
        taken = bytes(self.unread[:count])
        del self.unread[:count]
        return taken

    def _answer(self, option: int, data: bytes) -> bytes:
        if option == Option.EXPORT_NAME:
            return self._export_name(data)
        if not self._fixed:
            raise ProtocolViolation(f"option {option} from a client without fixed newstyle")
        if option in (Option.INFO, Option.GO):
            return self._info(option, data)
        if option not in (Option.ABORT, Option.LIST, Option.STRUCTURED_REPLY):
            return option_reply(option, Rep.ERR_UNSUP)
        if data and option != Option.ABORT:
            return option_reply(option, Rep.ERR_INVALID)
        if option == Option.ABORT:
            self.phase = Phase.ENDED
        entries = b""
        if option == Option.LIST:
            entries = option_reply(option, Rep.SERVER, protocol.server_entry(self.export.name))
        self.structured |= option == Option.STRUCTURED_REPLY
        return entries + option_reply(option, Rep.ACK)

    def _knows(self, name: bytes) -> bool:
        return name in (b"", self.export.name)

    def _export_name(self, name: bytes) -> bytes:
        if not self._knows(name):
            raise ProtocolViolation("no export of this name, and no way to say so")
        self.phase = Phase.TRANSMISSION
        return protocol.export_name_reply(self.export.size, self.export.flags, no_zeroes=self._no_zeroes)

    def _info(self, option: int, data: bytes) -> bytes:
        wanted = protocol.parse_export_request(data)
        if wanted is None:
            return option_reply(option, Rep.ERR_INVALID)
        if not self._knows(wanted.name):
            return option_reply(option, Rep.ERR_UNKNOWN)
        self.keeps_block_size = Info.BLOCK_SIZE in wanted.infos
        if option == Option.GO:
            self.phase = Phase.TRANSMISSION
        infos = [option_reply(option, Rep.INFO, info) for info in self._facts(wanted.infos)]
        return b"".join(infos) + option_reply(option, Rep.ACK)

    def _facts(self, wanted: tuple[int, ...]) -> list[bytes]:
        """Size and flags always; block sizes too, for they help whoever listens; the rest when asked."""
        export = self.export
        facts = [protocol.info_export(export.size, export.flags)]
        facts.append(
            protocol.info_block_size(export.minimum_block, export.preferred_block, export.maximum_block)
        )
        if Info.NAME in wanted:
            facts.append(protocol.info_text(Info.NAME, export.name))
        if Info.DESCRIPTION in wanted:
            facts.append(protocol.info_text(Info.DESCRIPTION, export.description))
        return facts
