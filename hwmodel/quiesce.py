"""Hardware that cannot change a keyslot while anything is in flight.

Such a driver stops dispatch, polls until the device is empty, changes the slot and lets dispatch go on.
Every request of the device waits meanwhile, encrypted or not.

Source: drivers/scsi/ufs/ufs-pixel-crypto.c of the Pixel kernels; reference block-layer.md section 6.1.
"""

from collections import deque

from hwmodel.clock import Clock
from hwmodel.request import Request, Then


class Quiesce:
    """Counts what is at the device, and holds it back on demand.

    Args:
        poll_ns: between two looks at whether the device is empty.
        dispatch: hands a request to the device.
    """

    def __init__(self, clock: Clock, poll_ns: int, dispatch: Then) -> None:
        self.drains = 0
        self._clock = clock
        self._poll_ns = poll_ns
        self._dispatch = dispatch
        self._at_device = 0
        self._stopped = False
        self._held: deque[Request] = deque()
        self._then: Then | None = None

    def dispatch(self, request: Request, now: int) -> None:
        """Dispatch ``request``, or hold it until the device may take requests again."""
        if self._stopped:
            request.mark = now
            self._held.append(request)
        else:
            self._at_device += 1
            self._dispatch(request, now)

    def back(self) -> None:
        """A request that had left is at the device again."""
        self._at_device += 1

    def power_off(self) -> None:
        """Nothing is at the device, and nothing waits for it."""
        self._at_device = 0
        self._stopped = False
        self._held.clear()

    def done(self) -> None:
        """A request left the device."""
        self._at_device -= 1

    def drain(self, request: Request, now: int, then: Then) -> None:
        """Stop dispatch, wait until the device is empty, and go on with ``then`` (which must ``resume``)."""
        self._stopped = True
        if not self._at_device:
            then(request, now)
            return
        self.drains += 1
        self._then = then
        self._clock.call_at(now + self._poll_ns, request, self._poll)

    def _poll(self, request: Request, now: int) -> None:
        if self._at_device:
            self._clock.call_at(now + self._poll_ns, request, self._poll)
            return
        then = self._then
        assert then is not None
        then(request, now)

    def resume(self, now: int) -> None:
        """The slot is changed: dispatch what was held, in order."""
        self._stopped = False
        held, self._held = self._held, deque()
        for request in held:
            request.device_queue += now - request.mark
            self._at_device += 1
            self._dispatch(request, now)
