"""A scheduler in time: requests that have their tag and keyslot are held until the driver has room.

What merges with what, and who is next, is ``hwmodel.staging``'s to say.
"""

from collections import deque
from collections.abc import Callable

from hwmodel.keyslots import Keyslots
from hwmodel.pool import RequestPool
from hwmodel.request import Request, Then
from hwmodel.staging import Staging


class Holding:
    """Holds requests back and sends them on.

    Args:
        new_staging: an empty scheduler, told who to tell of requests merged away.
        driver_tags: requests the driver takes at once.
        free_tag: takes a scheduler tag back.
        now: the clock.
        keyslots: the device's, when asked.
        send: hands a request to the device.
    """

    def __init__(
        self,
        new_staging: Callable[[Callable[[Request], None]], Staging],
        *,
        driver_tags: int,
        pool: RequestPool,
        free_tag: Callable[[int], None],
        now: Callable[[], int],
        keyslots: Callable[[], Keyslots | None],
        send: Then,
    ) -> None:
        self._new_staging = new_staging
        self._staging = new_staging(self.merged_away)
        self._driver_tags = self._all_driver_tags = driver_tags
        self._pool = pool
        self._now = now
        self._free_tag = free_tag
        self._keyslots = keyslots
        self._send = send
        self._given_up: deque[int] = deque()  # keyslots of requests merged away, -1 for none
        self._settling = False

    @property
    def merges(self) -> int:
        """Bios and requests merged into held requests."""
        return self._staging.merges

    def merge(self, request: Request) -> bool:
        """Whether a held request took ``request`` in."""
        return self._staging.merge(request)

    def hold(self, request: Request, now: int) -> None:
        """Take a request that has its tag and keyslot."""
        request.mark = now
        self._staging.insert(request)
        self.settle(now)

    def merged_away(self, holder: Request) -> None:
        """A held request was merged into its neighbour: its tag and its keyslot are free at once.

        Whoever gets them may touch the scheduler, which is at work: ``settle`` follows when it is done.
        """
        self._given_up.append(holder.slot)
        holder.slot = -1

    def settle(self, now: int) -> None:
        """Hand on what merged requests gave up, then dispatch."""
        if self._settling:
            return  # from within: the outer call goes on
        self._settling = True
        while self._given_up:
            slot = self._given_up.popleft()
            slots = self._keyslots()
            if slot >= 0 and slots is not None:
                slots.release(slot, now)
            self._free_tag(now)
        self._settling = False
        self._dispatch(now)

    def done(self, now: int) -> None:
        """A request left the driver."""
        self._driver_tags += 1
        self.settle(now)

    def _dispatch(self, now: int) -> None:
        while self._driver_tags:
            found = self._staging.next()
            if found is None:
                return
            self._driver_tags -= 1
            holder, bios, sector, nbytes = found
            for bio in bios:
                bio.scheduler += now - bio.mark
            if len(bios) == 1:
                self._send(bios[0], now)
                continue
            carrier = self._pool.helper(holder)
            carrier.sector, carrier.nbytes = sector, nbytes
            carrier.members = bios
            carrier.slot, holder.slot = holder.slot, -1
            self._send(carrier, now)

    def power_off(self) -> None:
        """Forget what is held."""
        self._driver_tags = self._all_driver_tags
        self._given_up.clear()
        merges = self._staging.merges
        self._staging = self._new_staging(self.merged_away)
        self._staging.merges = merges
