"""The emulated encrypted device: transfers become bios with crypto contexts and go through the block layer.

What happens to a transfer is decided where Linux decides it: ``blkcrypto.block`` submits, splits and merges
bios, falls back to the CPU, takes keyslots and tags, orders flushes.  Here is only what surrounds it: a
plug around each batch, a keyslot's cipher as its hardware, and an image file as its medium.

No time is modelled: a device answers as fast as this machine computes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.dun import duns_to_ivs
from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import SECTOR_SHIFT, format_size
from blkcrypto.block.api import start_using_key
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.plug import plugged
from blkcrypto.block.queue import RequestQueue
from blkcrypto.block.submit import blk_crypto_submit_bio
from blkcrypto.block.waiting import RunLoop, Steps, Task
from hwmodel.keywrap import KeyWrapUnit
from scenarios.build import settled
from scenarios.placement.layout import Layout
from scenarios.schema import Scenario
from scenarios.serve.engine import CountedCiphers, Engine
from scenarios.serve.image import ImageDriver, ImageFile
from scenarios.serve.mapping import Piece, keying
from scenarios.streams import stream

U8 = npt.NDArray[np.uint8]

# Bios of different transfers never lie side by side in memory.
_ADDRESS_SHIFT: Final = 40
_MOST_DISCARD_SECTORS: Final = 1 << 21


@dataclass(slots=True, eq=False)
class Transfer:
    """One read, write, flush or discard of whole data units.

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

    def ended(self, bio: Bio) -> None:
        """One of its bios is done: the first error counts."""
        if self.status is BlkStatus.OK:
            self.status = bio.status


class EncryptedDevice:
    """A scenario's device, with its keys, over an image file.

    Args:
        scenario: names device, key design, engine and layout; its workload is not looked at.
        path: the image.
        size: bytes, for a new image.

    Attributes:
        size: bytes that can be addressed.
        unit_bytes: data unit size: what a transfer must be aligned to.
        image: the medium.
        queue: counts requests, splits and merges.

    Raises:
        BadInput: the image cannot be used, or the layout's files do not fill it.
    """

    def __init__(self, scenario: Scenario, path: Path, size: int | None) -> None:
        scenario = settled(scenario)
        self.unit_bytes = scenario.keys.data_unit_size
        self.image = ImageFile(path, size)
        try:
            self._wire(scenario)
        except BaseException:
            self.image.close()
            raise

    def _wire(self, scenario: Scenario) -> None:
        seed, device = scenario.run.seed, scenario.device
        self.size = self.image.size
        unit = None
        if device.keywrap is not None:
            unit = KeyWrapUnit(stream(seed, "keywrap"), blob_bytes=device.keywrap.blob_bytes.value)
        design = keying(scenario, _layout(scenario, self.image), unit)
        self._mapping = design.pieces
        self._engine = Engine(unit, design.cipher_of)
        driver = ImageDriver(self.image, self.unit_bytes, self._engine.cipher_of)
        self._loop = RunLoop(on_idle=driver.process)
        self._kernel = Kernel(kernel_profile(scenario.run.kernel))
        self._software = CountedCiphers()
        Fallback(self._kernel, self._loop, stream(seed, "fallback"), provider=self._software)
        self._where = "fs-layer" if design.own_ivs else scenario.keys.engine
        self.queue = RequestQueue(
            self._kernel,
            device.name,
            _limits(scenario),
            driver,
            depth=device.controller.tags.value,
            scheduler=scenario.block.scheduler,
            profile=self._engine.profile(device) if self._where == "inline" else None,
        )
        self._bdev = self.queue.make_disk(self.size >> SECTOR_SHIFT).whole
        self._started: set[BlkCryptoKey] = set()

    @property
    def keyslot_programs(self) -> int:
        """Keys loaded into keyslots: the device's, or the fallback's."""
        return self._engine.programs + self._software.programs

    @property
    def distinct_keys(self) -> int:
        """Keys that were used."""
        return len(self._started)

    def close(self) -> None:
        """Make everything durable and let the image go."""
        self.image.close()

    def submit(self, transfers: Sequence[Transfer]) -> None:
        """Do all of ``transfers``, at once: no two may touch the same bytes, unless both read.

        Every status is set when it returns; data of failed reads is undefined.
        """
        task = Task("nbd")
        self._loop.spawn(task, self._submit_all(task, transfers))
        self._loop.run()

    def _submit_all(self, task: Task, transfers: Sequence[Transfer]) -> Steps[None]:
        kernel = self._kernel
        with plugged(task):
            for number, transfer in enumerate(transfers):
                if transfer.data is None:
                    yield from blk_crypto_submit_bio(kernel, task, self._control(transfer))
                    continue
                for piece in self._mapping.pieces(transfer.op, transfer.offset, transfer.nbytes):
                    start = piece.offset - transfer.offset
                    data = transfer.data[start : start + piece.nbytes]
                    bio = self._bio(transfer, piece, data, (number << _ADDRESS_SHIFT) + start)
                    if piece.key is not None and self._where != "fs-layer":
                        yield from bio.set_ctx(task, kernel.ctx_pool, piece.key, piece.dun)
                    yield from blk_crypto_submit_bio(kernel, task, bio)

    def _control(self, transfer: Transfer) -> Bio:
        """A bio without data: a flush is an empty write with a flag."""
        flush = transfer.op is ReqOp.FLUSH
        return Bio(
            self._bdev,
            ReqOp.WRITE if flush else transfer.op,
            transfer.offset >> SECTOR_SHIFT,
            nbytes=transfer.nbytes,
            flags=ReqFlags.PREFLUSH if flush else ReqFlags.NONE,
            end_io=transfer.ended,
        )

    def _bio(self, transfer: Transfer, piece: Piece, data: U8, address: int) -> Bio:
        """A bio over ``data``, which the filesystem encrypts or decrypts itself where it does so."""
        key = piece.key
        ended: Callable[[Bio], None] = transfer.ended
        if key is not None:
            if key not in self._started:
                self._start(key)
            if self._where == "fs-layer":
                data, ended = self._by_filesystem(transfer, piece, key, data)
        return Bio(
            self._bdev,
            transfer.op,
            piece.offset >> SECTOR_SHIFT,
            (BioVec(address, piece.nbytes, data),),
            flags=ReqFlags.FUA if transfer.fua else ReqFlags.NONE,
            end_io=ended,
        )

    def _start(self, key: BlkCryptoKey) -> None:
        self._started.add(key)
        if self._where != "fs-layer":
            start_using_key(self._kernel, self._bdev, key)

    def _by_filesystem(
        self, transfer: Transfer, piece: Piece, key: BlkCryptoKey, data: U8
    ) -> tuple[U8, Callable[[Bio], None]]:
        """What the bio carries, and what is done when it ends: writes take a bounce buffer."""
        cipher = self._engine.of_key(key)
        units = data.reshape(-1, self.unit_bytes)
        ivs = duns_to_ivs(piece.dun, len(units), iv_bytes=16)
        if transfer.op is ReqOp.WRITE:
            return cipher.encrypt(ivs, units).reshape(-1), transfer.ended

        def decrypt(bio: Bio) -> None:
            if bio.status is BlkStatus.OK:
                cipher.decrypt(ivs, units, units)
            transfer.ended(bio)

        return data, decrypt


def _limits(scenario: Scenario) -> QueueLimits:
    return QueueLimits(
        max_sectors=scenario.block.max_request_bytes >> SECTOR_SHIFT,
        max_segments=scenario.block.max_segments,
        max_discard_sectors=_MOST_DISCARD_SECTORS,
        write_cache=True,
    )


def _layout(scenario: Scenario, image: ImageFile) -> Layout:
    """The layout over the whole image: an address without a file would have no key."""
    extent = scenario.layout.extent_bytes
    if image.size % extent:
        what = f"{format_size(image.size)} are no whole extents of {format_size(extent)}"
        raise BadInput(
            f"{what}: choose another size, or --set layout.extent_bytes=64k --set layout.file_size_bytes=64k",
            where=str(image.path),
        )
    layout = Layout.build(scenario.layout, image.size, scenario.run.seed)
    if layout.file_map.covered_bytes != image.size:
        what = f"files cover {format_size(layout.file_map.covered_bytes)} of {format_size(image.size)}"
        raise BadInput(
            f"{what}: choose a size of whole files, or a layout.file_size_bytes that divides it",
            where=str(image.path),
        )
    return layout
