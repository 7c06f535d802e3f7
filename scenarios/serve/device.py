"""The emulated encrypted device: transfers become bios with crypto contexts for the block layer."""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.dun import duns_to_ivs
from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.base.units import SECTOR_SHIFT, format_size
from blkcrypto.block.api import evict_key, start_using_key
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import PAGE_BYTES, BioVec
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import Page
from blkcrypto.block.plug import plugged
from blkcrypto.block.submit import submit_all
from blkcrypto.block.waiting import Steps, Task
from hwmodel.keywrap import KeyWrapUnit
from scenarios.placement.layout import Layout
from scenarios.schema import Scenario
from scenarios.serve.disk import ADDRESS_SHIFT, Disk, Transfer
from scenarios.serve.engine import Engine
from scenarios.serve.extents import UNIT_BYTES, ExtentKeysOf, ExtentMap, Geometry, LogDamaged
from scenarios.serve.image import ImageFile
from scenarios.serve.mapping import HOLE, InExtents, Piece, Pieces, keying
from scenarios.serve.superblock import BLOCK_BYTES, agree, refuse_superblock
from scenarios.streams import stream

U8 = npt.NDArray[np.uint8]

_MASTER_KEY_BYTES: Final = 64


class EncryptedDevice:
    """A disk whose data units are encrypted by the engine, the fallback, or the filesystem.

    Args:
        scenario: settled; names device, key design, engine and layout; its workload is not looked at.
        image: the medium.
        size: bytes that clients see.
        engine: what is in the keyslots.
        pieces: where addresses lie; that of extents has a log, too.

    Attributes:
        size: bytes that can be addressed.
        unit_bytes: data unit size: what a transfer must be aligned to.
        block_bytes: what clients are told so of.
        queue: counts requests, splits and merges.
        disk: below it.
        distinct_keys: keys that were used.
    """

    def __init__(
        self, scenario: Scenario, image: ImageFile, size: int, engine: Engine, pieces: Pieces | InExtents
    ) -> None:
        self.size = size
        self.unit_bytes = self.block_bytes = scenario.keys.data_unit_size
        self.distinct_keys = 0
        self._engine = engine
        self._mapping = pieces
        self._extents = pieces if isinstance(pieces, InExtents) else None
        self._by_filesystem = scenario.keys.engine == "fs-layer"
        self.disk = Disk(scenario, image, engine, inline=scenario.keys.engine == "inline")
        self.queue = self.disk.queue
        self._started: set[BlkCryptoKey] = set()
        self._log_failed = False

    @property
    def keyslot_programs(self) -> int:
        """Keys loaded into keyslots: the device's, or the fallback's."""
        return self.disk.keyslot_programs

    def close(self) -> None:
        """Make everything durable and let the image go."""
        self.disk.close()

    def submit(self, transfers: Sequence[Transfer]) -> None:
        """Do all of ``transfers``, at once: no two may touch the same bytes, unless both read.

        Every status is set when it returns; data of failed reads is undefined.
        """
        if self._extents is None:
            self.disk.run(lambda task: self._submit_all(task, transfers))
        else:
            self._submit_to_extents(self._extents, transfers)

    def _submit_all(self, task: Task, transfers: Sequence[Transfer]) -> Steps[None]:
        disk, started = self.disk, self._started
        work: list[Bio | Page] = []
        for number, transfer in enumerate(transfers):
            whole, op = transfer.data, transfer.op
            if whole is None:
                work.append(disk.bio(transfer))
                continue
            in_pages = not transfer.fua and not self._by_filesystem
            for piece in self._mapping.pieces(op, transfer.offset, transfer.nbytes):
                offset, nbytes, key, dun, place = piece
                start = offset - transfer.offset
                data = whole[start : start + nbytes]
                if key is not None and key not in started:
                    self._start(key)
                if place == HOLE:
                    data[:] = 0
                elif in_pages and nbytes <= PAGE_BYTES:
                    work.append(Page(op, place >> SECTOR_SHIFT, data, key, dun, transfer.ended))
                else:
                    bio = self._bio(transfer, piece, data, (number << ADDRESS_SHIFT) + start)
                    if key is not None and not self._by_filesystem:
                        yield from bio.set_ctx(task, disk.kernel.ctx_pool, key, dun)
                    work.append(bio)
        with plugged(task):
            yield from submit_all(disk.kernel, task, disk.bdev, work)

    def _bio(self, transfer: Transfer, piece: Piece, data: U8, address: int) -> Bio:
        """A bio over ``data``, which the filesystem encrypts or decrypts itself where it does so."""
        ended: Callable[[Bio], None] = transfer.bio_ended
        if piece.key is not None and self._by_filesystem:
            data, ended = self._crypt_above(transfer, piece, piece.key, data)
        return Bio(
            self.disk.bdev,
            transfer.op,
            piece.place >> SECTOR_SHIFT,
            (BioVec(address, piece.nbytes, data),),
            flags=ReqFlags.FUA if transfer.fua else ReqFlags.NONE,
            end_io=ended,
        )

    def _start(self, key: BlkCryptoKey) -> None:
        self._started.add(key)
        self.distinct_keys += 1
        if not self._by_filesystem:
            start_using_key(self.disk.kernel, self.disk.bdev, key)

    def _crypt_above(
        self, transfer: Transfer, piece: Piece, key: BlkCryptoKey, data: U8
    ) -> tuple[U8, Callable[[Bio], None]]:
        """What the bio carries, and what is done when it ends: writes take a bounce buffer."""
        cipher = self._engine.of_key(key)
        units = data.reshape(-1, self.unit_bytes)
        ivs = duns_to_ivs(piece.dun, len(units), iv_bytes=16)
        if transfer.op is ReqOp.WRITE:
            return cipher.encrypt(ivs, units).reshape(-1), transfer.bio_ended

        def decrypt(bio: Bio) -> None:
            if bio.status is BlkStatus.OK:
                cipher.decrypt(ivs, units, units)
            transfer.bio_ended(bio)

        return data, decrypt

    # Extents: what writes made, and their log

    def _submit_to_extents(self, extents: InExtents, transfers: Sequence[Transfer]) -> None:
        """Data first, then the records that make it count, then flushes and FUA, which cover both."""
        refused = [each for each in transfers if self._log_failed and each.op is not ReqOp.READ]
        for transfer in refused:
            transfer.status = BlkStatus.IOERR
        data = [each for each in transfers if each.data is not None and each not in refused]
        durable = [each for each in data if each.fua]
        for transfer in durable:
            transfer.fua = False  # of no use before the record is there
        self.disk.run(lambda task: self._submit_all(task, data))
        writes = [each for each in data if each.op is ReqOp.WRITE]
        ended = [(each.offset, each.status is BlkStatus.OK) for each in writes]
        self._write_log(extents.settle(ended), writes)
        for transfer in transfers:
            if transfer.op is ReqOp.DISCARD and transfer not in refused:
                self._write_log(extents.punch(transfer.offset, transfer.nbytes), (transfer,))
                durable += [transfer] if transfer.fua else []
        flushes = [each for each in transfers if each.op is ReqOp.FLUSH and each not in refused]
        if flushes or durable:
            flush = Transfer(ReqOp.FLUSH)
            self.disk.plain((flush,))
            for transfer in (*flushes, *durable):
                if transfer.status is BlkStatus.OK:
                    transfer.status = flush.status
        for key in extents.dead_keys():
            self._forget(key)

    def _write_log(self, log: Sequence[tuple[int, bytes]], covers: Sequence[Transfer]) -> None:
        """A log that was not written says nothing about what comes after it: no write is taken any more."""
        try:
            for place, record in log:
                self.disk.write(place, record)
        except OSError as error:
            self._log_failed = True
            for transfer in covers:
                transfer.status = errno_to_blk_status(error.errno or errno.EIO)

    def _forget(self, key: BlkCryptoKey) -> None:
        """A key that is never used again leaves every keyslot."""
        if key in self._started:
            self._started.remove(key)
            self._engine.forget(key)
            if not self._by_filesystem:
                evict_key(self.disk.kernel, self.disk.bdev, key)


def by_address(scenario: Scenario, path: Path, size: int | None) -> EncryptedDevice:
    """A device whose keys and DUNs follow from the address: the image is data units and nothing else.

    Raises:
        BadInput: the image cannot be used, or the layout's files do not fill it.
    """
    refuse_superblock(path, scenario.keys.design)
    image = ImageFile(path, size)
    try:
        unit = key_wrap_unit(scenario)
        design = keying(scenario, _layout(scenario, image.size, path), unit)
        return EncryptedDevice(scenario, image, image.size, Engine(unit, design.cipher_of), design.pieces)
    except BaseException:
        image.close()
        raise


def in_extents(scenario: Scenario, path: Path, size: int | None) -> EncryptedDevice:
    """A device on which every write makes extents with keys of their own.

    Raises:
        BadInput: the image cannot be used, or was made for something else.
    """
    design, unit_bytes = scenario.keys.design, scenario.keys.data_unit_size
    if unit_bytes != UNIT_BYTES:
        raise BadInput(f"{design} has data units of {UNIT_BYTES} bytes", where="keys.data_unit_size")
    if size is not None and size % UNIT_BYTES:
        raise BadInput(f"{size} bytes are no whole data units of {UNIT_BYTES}", where="--size")
    superblock, new = agree(
        path, size, design, unit_bytes, lambda seen: Geometry(seen // UNIT_BYTES).image_bytes
    )
    geometry = Geometry(superblock.size // UNIT_BYTES)
    image = ImageFile(path, geometry.image_bytes)
    try:
        extents = ExtentMap(geometry, image.read_bytes, new=new)
        if new:
            image.write_bytes(BLOCK_BYTES, extents.head())
            image.sync()
            image.write_bytes(0, superblock.to_bytes())
            image.sync()
        # From the system, not the seed: a nonce that comes again under the same master key is a key that
        # comes again, and extents outlive the server.
        keys = ExtentKeysOf(
            design, stream(scenario.run.seed, "master-keys").bytes(_MASTER_KEY_BYTES), np.random.default_rng()
        )
        pieces = InExtents(extents, keys, geometry, scenario.layout.extent_bytes)
        return EncryptedDevice(scenario, image, superblock.size, Engine(key_wrap_unit(scenario)), pieces)
    except LogDamaged as damaged:
        image.close()
        raise BadInput(f"{damaged}: restore the image from a copy", where=str(path)) from None
    except BaseException:
        image.close()
        raise


def key_wrap_unit(scenario: Scenario) -> KeyWrapUnit | None:
    """The device's key-wrapping unit, if it has one."""
    facts = scenario.device.keywrap
    if facts is None:
        return None
    return KeyWrapUnit(stream(scenario.run.seed, "keywrap"), blob_bytes=facts.blob_bytes.value)


def _layout(scenario: Scenario, size: int, path: Path) -> Layout:
    """The layout over the whole image: an address without a file would have no key."""
    extent = scenario.layout.extent_bytes
    if size % extent:
        what = f"{format_size(size)} are no whole extents of {format_size(extent)}"
        raise BadInput(
            f"{what}: choose another size, or --set layout.extent_bytes=64k --set layout.file_size_bytes=64k",
            where=str(path),
        )
    layout = Layout.build(scenario.layout, size, scenario.run.seed)
    if layout.file_map.covered_bytes != size:
        what = f"files cover {format_size(layout.file_map.covered_bytes)} of {format_size(size)}"
        raise BadInput(
            f"{what}: choose a size of whole files, or a layout.file_size_bytes that divides it",
            where=str(path),
        )
    return layout
