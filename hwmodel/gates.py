"""What stands between a machine and its device: parts that may hold a request back for a while.

From the machine to the device: draining (``hwmodel.quiesce``), sleep (``hwmodel.power``), faults
(``hwmodel.faults``).
"""

from collections.abc import Callable

from hwmodel.clock import Clock
from hwmodel.device import Device
from hwmodel.faults import Injector
from hwmodel.keyslots import Keyslots
from hwmodel.power import Power
from hwmodel.quiesce import Quiesce
from hwmodel.request import Then


class Gates:
    """The gates of one machine.

    Args:
        drains: whether keyslots are in use that cannot be changed while anything is in flight.
        keyslots: the device's, when asked.
        dispatch: hands a request to the device.

    Attributes:
        power: puts the idle device to sleep; None when it never sleeps.
        quiesce: empties the device before a keyslot is changed; None when nobody needs that.
        send: hands a request to the device, through every gate.
        count: whether somebody must be told what comes and goes.
    """

    def __init__(
        self,
        clock: Clock,
        device: Device,
        *,
        drains: bool,
        keyslots: Callable[[], Keyslots | None],
        injector: Injector | None,
        dispatch: Then,
    ) -> None:
        self._clock = clock
        self.send = dispatch if injector is None else injector.dispatch
        self.power: Power | None = None
        self.quiesce: Quiesce | None = None
        facts = device.controller
        if facts.gate_after_ns.value or facts.suspend_after_ns.value:
            self.power = Power(clock, facts, keyslots, self.send)
            self.send = self.power.dispatch
        if drains and device.keyslots is not None:
            self.quiesce = Quiesce(clock, device.keyslots.drain_poll_ns.value, self.send)
            self.send = self.quiesce.dispatch
        self.count = self.quiesce is not None or self.power is not None

    def left(self) -> None:
        """A request is not at the device, though it was sent."""
        if self.quiesce is not None:
            self.quiesce.done()
        if self.power is not None:
            self.power.done(self._clock.now)

    def back(self) -> None:
        """A request that had left is at the device again."""
        if self.quiesce is not None:
            self.quiesce.back()
        if self.power is not None:
            self.power.back()

    def power_off(self, now: int) -> None:
        """Nothing is at the device, and nothing is held back."""
        if self.power is not None:
            self.power.power_off(now)
        if self.quiesce is not None:
            self.quiesce.power_off()
