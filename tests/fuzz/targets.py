"""What is fuzzed.  A target takes any bytes and returns, or raises one of the product's own errors.

Parquet is not here, neither as a trace nor as the records that ``explain`` reads: polars reads it, and
answers some damage by ending the process.
"""

import functools
import lzma
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.fs.ext4 import Ext4Volume
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.policy import parse_context, parse_policy
from blkcrypto.fs.image import EncryptedImage, ImageKeys
from hwmodel.keywrap import KeyWrapUnit
from scenarios.keystore import new_unit_file, read_unit_file
from scenarios.load import load_device, load_scenario
from scenarios.traces import open_trace
from scenarios.traces.columns import parse_columns
from scenarios.traces.formats import FORMATS
from tests.fuzz import nbd
from tests.fuzz.commands import command_lines, run_command_line
from tests.fuzz.folder import folder
from tests.fuzz.ondisk import feed_header, feed_table, header_seeds, table_seeds
from tests.fuzz.results import feed_index, feed_point, index_seeds, point_seeds
from tests.test_trace_damage import SAMPLES, columns_for

ROOT: Final = Path(__file__).parents[2]
IMAGES: Final = ROOT / "tests" / "vectors" / "images"
LARGEST_READ: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One entry from outside.

    Attributes:
        name: for the command line.
        seeds: valid inputs to begin with.
        feed: takes one input; what it raises besides ``BadInput`` and ``BlkCryptoError`` is a finding.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    feed: Callable[[bytes], object]

    def run(self, data: bytes) -> bool:
        """Feed one input; whether it was accepted."""
        with suppress(BadInput, BlkCryptoError):
            self.feed(data)
            return True
        return False


def _file(name: str, data: bytes) -> str:
    path = folder() / name
    path.write_bytes(data)
    return str(path)


def _feed_trace(data: bytes) -> None:
    """The first byte chooses a format by name, recognition, or bad lines to be skipped."""
    names = [*FORMATS, None]
    choice = data[0] if data else 0
    name = names[choice % len(names)]
    columns = columns_for(name) if name is not None else None
    with open_trace(
        _file("trace", data[1:]), format=name, columns=columns, skip_bad_lines=bool(choice & 0x80)
    ) as reader:
        for batch in reader.batches():
            assert (batch.nbytes > 0).all() or (batch.nbytes >= 0).all()


def _trace_seeds() -> list[bytes]:
    names = list(FORMATS)
    return [bytes([names.index(name)]) + sample for name, sample in SAMPLES.items()] + [
        bytes([len(names)]) + sample for sample in SAMPLES.values()
    ]


def _toml_seeds(folder: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / folder).glob("*.toml"))]


def _feed_context(data: bytes) -> None:
    with suppress(BlkCryptoError, ValueError):  # fewer bytes than the struct: the ioctl would fault
        policy = parse_policy(data)
        assert data.startswith(policy.to_bytes()), "a policy that parses is written back as it was"
    context = parse_context(data)
    assert parse_context(context.to_bytes()) == context


def _context_seeds() -> list[bytes]:
    v1 = struct.pack("<4B8s", 0, 1, 4, 3, bytes(range(8)))
    v2 = struct.pack("<4BB3s16s", 2, 1, 4, 3, 0, bytes(3), bytes(range(16)))
    nonce = bytes(range(16))
    return [v1, v2, b"\1" + v1[1:] + nonce, v2 + nonce]


@functools.cache
def _unit() -> KeyWrapUnit:
    return KeyWrapUnit(np.random.default_rng(1), blob_bytes=96)


def _feed_wrapped_key(data: bytes) -> None:
    """The first byte chooses what is asked of the unit."""
    unit, blob = _unit(), data[1:]
    asked = (unit.inspect, unit.prepare_key, unit.derive_sw_secret, unit.inline_key, unit.import_key)
    asked[(data[0] if data else 0) % len(asked)](blob)


def _wrapped_key_seeds() -> list[bytes]:
    unit = _unit()
    long_term = unit.generate_key()
    prepared = unit.prepare_key(long_term)
    return [b"\0" + long_term, b"\1" + long_term, b"\2" + prepared, b"\3" + prepared, b"\4" + bytes(32)]


class _Patched:
    """An image in memory with a few bytes changed."""

    def __init__(self, image: bytes, patches: bytes) -> None:
        self.data = bytearray(image)
        self.size = len(image)
        self.name = "fuzzed.img"
        for at, value in struct.iter_unpack("<IB", patches[: len(patches) // 5 * 5]):
            self.data[at % self.size] = value

    def read(self, offset: int, nbytes: int) -> bytes:
        return bytes(self.data[offset : offset + nbytes])

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data

    def flush(self) -> None:
        return


@functools.cache
def _images() -> list[bytes]:
    return [lzma.decompress(path.read_bytes()) for path in sorted(IMAGES.glob("*.img.xz"))]


def _feed_image(data: bytes) -> None:
    """The first byte chooses an image; the rest are patches: a place (4 bytes) and a new byte."""
    images = _images()
    image = images[(data[0] if data else 0) % len(images)]
    volume = Ext4Volume(_Patched(image, data[1:]), check_checksums=False)
    encrypted = EncryptedImage(volume, ImageKeys((bytes(range(64)),)))
    for node in encrypted.walk(encrypted.root):
        if node.inode.kind is InodeKind.SYMLINK:
            encrypted.target(node)
        elif node.inode.kind is InodeKind.REGULAR and not encrypted.is_locked(node):
            contents = encrypted.contents(node)
            if contents.size <= LARGEST_READ:
                list(contents.chunks())


def _image_seeds() -> list[bytes]:
    untouched = [bytes([number]) for number in range(len(_images()))]
    spots = (1024 + 40, 1024 + 88, 4096, 4096 + 8, 8192)
    return untouched + [image + struct.pack("<IB", spot, 0) for image in untouched for spot in spots]


def _unit_file_seeds() -> list[bytes]:
    path = folder() / "seed.json"
    new_unit_file(path, "ufs-ice-hwkm-v2", "kdf1").save(_unit())
    return [path.read_bytes()]


def _feed_overrides(data: bytes) -> None:
    """``--set`` texts, one a line, on a shipped scenario."""
    sets = data.decode("utf-8", "replace").splitlines()
    load_scenario("keyslot-contention", sets=sets)


def _override_seeds() -> list[bytes]:
    return [
        b"keyslots=8\nios=20000",
        b"workload.block_sizes=4k/60:64k/40",
        b'device="ufs-mcq"\nkeys.design=fscrypt-per-file',
        b"run.time_scale=1e300\nworkload.zipf=nan",
        b"faults.rates.resets_per_s=0.5\nlayout.file_size_bytes=1T",
    ]


TARGETS: Final = {
    target.name: target
    for target in (
        Target(name="traces", seeds=_trace_seeds, feed=_feed_trace),
        Target(
            name="column-maps",
            seeds=lambda: [
                b"time=1:s,op=2,size=3:bytes,offset=4:sectors",
                b"time=t:us,op=o:rw,size=n,offset=a",
            ],
            feed=lambda data: parse_columns(data.decode("utf-8", "replace")),
        ),
        Target(
            name="scenarios",
            seeds=lambda: _toml_seeds("scenarios/catalog"),
            feed=lambda data: load_scenario(_file("fuzzed.toml", data)),
        ),
        Target(
            name="devices",
            seeds=lambda: _toml_seeds("hwmodel/devices"),
            feed=lambda data: load_device(_file("fuzzed.toml", data)),
        ),
        Target(name="overrides", seeds=_override_seeds, feed=_feed_overrides),
        Target(name="contexts", seeds=_context_seeds, feed=_feed_context),
        Target(name="wrapped-keys", seeds=_wrapped_key_seeds, feed=_feed_wrapped_key),
        Target(
            name="unit-files",
            seeds=_unit_file_seeds,
            feed=lambda data: read_unit_file(Path(_file("unit.json", data))),
        ),
        Target(name="points", seeds=point_seeds, feed=feed_point),
        Target(name="indexes", seeds=index_seeds, feed=feed_index),
        Target(name="dm-tables", seeds=table_seeds, feed=feed_table),
        Target(name="key-headers", seeds=header_seeds, feed=feed_header),
        Target(name="images", seeds=_image_seeds, feed=_feed_image),
        Target(name="nbd", seeds=nbd.seeds, feed=nbd.feed),
        Target(name="command-lines", seeds=command_lines, feed=run_command_line),
    )
}
