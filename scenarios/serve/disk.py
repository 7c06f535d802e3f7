"""A request queue in front of an image file: what every kind of served device is built on.

What happens to a bio is decided where Linux decides it: ``blkcrypto.block`` submits, splits and merges bios,
falls back to the CPU, takes keyslots and tags, orders flushes.  Here is only what surrounds it.

No time is modelled: a device answers as fast as this machine computes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.status import BlkStatus, blk_status_to_errno
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.plug import plugged
from blkcrypto.block.queue import RequestQueue
from blkcrypto.block.submit import submit_all
from blkcrypto.block.waiting import RunLoop, Steps, Task
from hwmodel.cryptoprofile import crypto_profile
from scenarios.schema import Scenario
from scenarios.serve.driver import ImageDriver
from scenarios.serve.engine import CountedCiphers, Engine
from scenarios.serve.image import ImageFile
from scenarios.streams import stream

U8 = npt.NDArray[np.uint8]

_MOST_DISCARD_SECTORS: Final = 1 << 21
# Bios of different transfers never lie side by side in memory.
ADDRESS_SHIFT: Final = 40


@dataclass(slots=True, eq=False)
class Transfer:
    """One read, write, flush or discard of whole units of a device.

    Attributes:
        op: READ, WRITE, FLUSH or DISCARD.
        offset: bytes.
        nbytes: 0 for a flush.
        data: ``uint8[nbytes]``: what to write, or where to read to; None without data.
        fua: a write that is durable when it completes.
        status: how it ended.
    """

    op: ReqOp
    offset: int = 0
    nbytes: int = 0
    data: U8 | None = None
    fua: bool = False
    status: BlkStatus = BlkStatus.OK

    def ended(self, status: BlkStatus) -> None:
        """A part of it is done: the first error counts."""
        if self.status is BlkStatus.OK:
            self.status = status

    def bio_ended(self, bio: Bio) -> None:
        """The same for a part that was a bio."""
        self.ended(bio.status)


class Disk:
    """A scenario's disk.

    Args:
        scenario: settled; names device, kernel and block layer.
        image: the medium.
        engine: what is in the keyslots.
        inline: whether the device's crypto profile is there.

    Attributes:
        queue: counts requests, splits and merges.
        bdev: the whole disk.
        kernel: the system.
    """

    def __init__(self, scenario: Scenario, image: ImageFile, engine: Engine, *, inline: bool) -> None:
        device = scenario.device
        self._image = image
        self._engine = engine
        driver = ImageDriver(image, scenario.keys.data_unit_size, engine)
        self._loop = RunLoop(on_idle=driver.process)
        self.kernel = Kernel(kernel_profile(scenario.run.kernel))
        self._software = CountedCiphers()
        Fallback(self.kernel, self._loop, stream(scenario.run.seed, "fallback"), provider=self._software)
        self.queue = RequestQueue(
            self.kernel,
            device.name,
            _limits(scenario),
            driver,
            depth=device.controller.tags.value,
            scheduler=scenario.block.scheduler,
            profile=crypto_profile(device, engine) if inline else None,
        )
        self.bdev = self.queue.make_disk(image.size >> SECTOR_SHIFT).whole

    @property
    def keyslot_programs(self) -> int:
        """Keys loaded into keyslots: the device's, or the fallback's."""
        return self._engine.programs + self._software.programs

    def run(self, submitter: Callable[[Task], Steps[None]]) -> None:
        """Run ``submitter`` as a task, and all that it submits, to the end."""
        task = Task("nbd")
        self._loop.spawn(task, submitter(task))
        self._loop.run()

    def plain(self, transfers: Sequence[Transfer]) -> None:
        """Do ``transfers`` without a crypto context, at once; every status is set when it returns."""

        def submit(task: Task) -> Steps[None]:
            with plugged(task):
                bios = [self.bio(transfer, number) for number, transfer in enumerate(transfers)]
                yield from submit_all(self.kernel, task, self.bdev, bios)

        self.run(submit)

    def bio(self, transfer: Transfer, number: int = 0) -> Bio:
        """``transfer`` as one bio; a flush is an empty write with a flag."""
        flush = transfer.op is ReqOp.FLUSH
        flags = ReqFlags.PREFLUSH if flush else ReqFlags.FUA if transfer.fua else ReqFlags.NONE
        vecs: tuple[BioVec, ...] = ()
        if transfer.data is not None:
            vecs = (BioVec(number << ADDRESS_SHIFT, transfer.nbytes, transfer.data),)
        return Bio(
            self.bdev,
            ReqOp.WRITE if flush else transfer.op,
            transfer.offset >> SECTOR_SHIFT,
            vecs,
            nbytes=transfer.nbytes,
            flags=flags,
            end_io=transfer.bio_ended,
        )

    def read(self, offset: int, nbytes: int) -> bytes:
        """Metadata at ``offset``; OSError when that fails."""
        data = np.empty(nbytes, dtype=np.uint8)
        self._one(Transfer(ReqOp.READ, offset, nbytes, data))
        return data.tobytes()

    def write(self, offset: int, data: bytes) -> None:
        """Write metadata, in the order of the calls; OSError when that fails."""
        array = np.frombuffer(data, dtype=np.uint8)
        self._one(Transfer(ReqOp.WRITE, offset, len(array), array))

    def flush(self) -> None:
        """Make everything durable; OSError when that fails."""
        self._one(Transfer(ReqOp.FLUSH))

    def _one(self, transfer: Transfer) -> None:
        self.plain((transfer,))
        if transfer.status is not BlkStatus.OK:
            raise OSError(blk_status_to_errno(transfer.status), f"{transfer.op.name} of metadata failed")

    def close(self) -> None:
        """Make everything durable and let the image go."""
        self._image.close()


def _limits(scenario: Scenario) -> QueueLimits:
    return QueueLimits(
        max_sectors=scenario.block.max_request_bytes >> SECTOR_SHIFT,
        max_segments=scenario.block.max_segments,
        max_discard_sectors=_MOST_DISCARD_SECTORS,
        write_cache=True,
    )
