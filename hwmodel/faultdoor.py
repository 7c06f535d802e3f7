"""Where faults get at a machine: take requests back, send them again, refuse them, or lose everything."""

from typing import TYPE_CHECKING, Final

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.key import BlkCryptoKey
from hwmodel.keyslots import Keyslots
from hwmodel.request import STAGE_FIELDS, Request

if TYPE_CHECKING:
    from hwmodel.controller import Machine

_BEFORE_DEVICE: Final = STAGE_FIELDS[: STAGE_FIELDS.index("device_queue")]


class FaultDoor:
    """What ``hwmodel.faults`` may do to ``machine``."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self.clock = machine.clock

    @property
    def device_keyslots(self) -> Keyslots | None:
        """The device's own keyslots, whoever encrypts."""
        return self._machine.device_keyslots

    def key_inside(self, request: Request) -> BlkCryptoKey | None:
        """The key that ``request``'s data is really encrypted with; None also for an empty keyslot."""
        slots = self._machine.device_keyslots
        return request.key if slots is None or request.slot < 0 else slots.hardware[request.slot]

    def dispatch(self, request: Request, now: int) -> None:
        """Let the device serve ``request``."""
        self._machine.dispatch(request, now)

    def left_device(self) -> None:
        """A request is not at the device, though it was sent."""
        self._machine.left_device()

    def withdraw(self) -> list[Request]:
        """Take every request back from the device, in the order in which they came there; it is idle then."""
        taken = self.clock.withdraw(self._machine.at_device)
        self._machine.storage.reset(self.clock.now)
        self._machine.path.reset(self.clock.now)
        for _ in taken:
            self._machine.left_device()
        return taken

    def resend(self, request: Request, now: int) -> None:
        """Send a request again that was withdrawn or held back; all the time lost counts as waiting."""
        _spent_waiting(request, now)
        self._machine.send(request, now)

    def refuse(self, request: Request, now: int, status: BlkStatus) -> None:
        """Complete a request that was sent and that the device does not serve."""
        _spent_waiting(request, now)
        request.status = status
        self.clock.call_at(now, request, self._machine.refused)

    def slow_down(self, percent: int) -> None:
        """Let media, link and engine take ``percent`` of their time."""
        self._machine.storage.slow_down(percent)
        self._machine.path.slow_down(percent)

    def power_off(self) -> int:
        """Forget everything in memory and in flight; how many bios that were.

        Such a bio has no completion in reality.  Here it is recorded with ``BLK_STS_IOERR``, now.
        """
        now = self.clock.now
        self.clock.withdraw()
        interrupted = self._interrupt(now)
        self._machine.power_off(now)
        return interrupted

    def _interrupt(self, now: int) -> int:
        machine, pool = self._machine, self._machine.pool
        waiting = {id(request) for request in pool.idle}
        gone = [request for request in pool.every if id(request) not in waiting]
        interrupted = 0
        for request in gone:
            if request.parent is not None or request.members:
                continue
            interrupted += 1
            _spent_waiting(request, now)
            request.status = BlkStatus.IOERR
            request.slot, request.parts = -1, 0
            machine.record(request, now)
        for request in gone:
            if request.parent is not None or request.members:
                pool.put_helper(request)
        return interrupted


def _spent_waiting(request: Request, now: int) -> None:
    """Book everything since the last stage before the device as waiting for it: it did not serve."""
    # A carrier's own times are those of its bios only from the device on.
    bio = request.members[0] if request.members else request
    before: int = sum(getattr(bio, stage) for stage in _BEFORE_DEVICE)
    request.device_queue = now - bio.arrived - before
    request.transfer = request.media = 0
