"""An idle device saves power: its clocks stop after a while, and after a longer while it is suspended.

The next request, or the next keyslot to be programmed, wakes it and waits.  A suspended controller loses
its keys: resuming programs every keyslot again, profile lock held, before any I/O goes on.  A program waits
for the device before it takes the lock, or resuming could never take it (reference block-layer.md sections
3.12 and 3.15).

Source: clock gating and runtime PM in drivers/ufs/core/ufshcd.c; reference section 6.4.
"""

from collections import deque
from collections.abc import Callable, Generator

import simpy

from hwmodel.clock import Clock
from hwmodel.device import Controller
from hwmodel.keyslots import Keyslots
from hwmodel.request import Request, Then

Control = Generator[simpy.Event, object, None]


class Power:
    """Knows whether the device is awake, and holds back what comes while it is not.

    Args:
        keyslots: the device's, when asked.
        send: hands a request to the device.

    Attributes:
        ungates, resumes: how often the device was woken from either.
    """

    def __init__(
        self, clock: Clock, facts: Controller, keyslots: Callable[[], Keyslots | None], send: Then
    ) -> None:
        self.ungates = self.resumes = 0
        self._clock = clock
        never = 1 << 62
        self._gate_after_ns = facts.gate_after_ns.value or never
        self._ungate_ns = facts.ungate_ns.value
        self._suspend_after_ns = facts.suspend_after_ns.value or never
        self._resume_ns = facts.resume_ns.value
        self._keyslots = keyslots
        self._send = send
        self._at_device = 0
        self._idle_since = 0
        self._waking = False
        self._boots = 0
        self._held: deque[tuple[Request, Then]] = deque()

    def dispatch(self, request: Request, now: int) -> None:
        """Send ``request``, or wake the device first."""
        if self.is_awake(now):
            self._at_device += 1
            self._send(request, now)
        else:
            self.wait(request, now, self._dispatch_awake)

    def _dispatch_awake(self, request: Request, now: int) -> None:
        request.device_queue += now - request.mark
        self._at_device += 1
        self._send(request, now)

    def is_awake(self, now: int) -> bool:
        """Whether the device takes commands now."""
        if self._waking:
            return False
        idle_ns = 0 if self._at_device else now - self._idle_since
        return idle_ns < self._gate_after_ns and idle_ns < self._suspend_after_ns

    def wait(self, request: Request, now: int, then: Then) -> None:
        """Go on with ``then`` when the device is awake."""
        request.mark = now
        self._held.append((request, then))
        if not self._waking:
            self._waking = True
            self._clock.process(self._wake(suspended=now - self._idle_since >= self._suspend_after_ns))

    def _wake(self, *, suspended: bool) -> Control:
        boot = self._boots
        self.resumes += suspended
        self.ungates += not suspended
        slots = self._keyslots()
        if suspended and slots is not None:
            slots.lose_keys()
        yield self._clock.timeout(self._resume_ns if suspended else self._ungate_ns)
        if suspended and slots is not None:
            yield from slots.reprogram_all()
        if boot == self._boots:
            self._awake()

    def _awake(self) -> None:
        self._waking = False
        now = self._idle_since = self._clock.now
        held, self._held = self._held, deque()
        for request, then in held:
            then(request, now)

    def used(self, now: int) -> None:
        """A keyslot was just programmed."""
        self._idle_since = now

    def done(self, now: int) -> None:
        """A request left the device."""
        self._at_device -= 1
        self._idle_since = now

    def back(self) -> None:
        """A request that had left is at the device again."""
        self._at_device += 1

    def power_off(self, now: int) -> None:
        """After a boot the device is awake and empty."""
        self._boots += 1
        self._at_device = 0
        self._waking = False
        self._idle_since = now
        self._held.clear()
