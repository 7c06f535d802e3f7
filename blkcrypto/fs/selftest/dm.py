"""dm-crypt and dm-inlinecrypt: tables, and the sectors they wrote."""

import errno
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.fs.dm_table import DmCrypt, DmInlinecrypt, parse_table
from blkcrypto.fs.selftest.cases import Segment, load, load_bytes
from blkcrypto.fs.selftest.report import SelfTestReport

# What dmsetup prints for an errno.
_ERROR_TEXT = {
    errno.EINVAL: "Invalid argument",
    errno.ENOENT: "No such file or directory",
    errno.EOPNOTSUPP: "Operation not supported",
}


class _DmSegment(msgspec.Struct, frozen=True):
    sector: int
    sectors: int
    seed: str
    backing_sector: int
    bin_offset: int


class _DmCase(msgspec.Struct, frozen=True):
    target: str
    cipher: str
    table: str
    result: str
    segments: list[_DmSegment] = []


class _DmFile(msgspec.Struct, frozen=True):
    bin: str
    cases: list[_DmCase]


def check_dm(path: Path, title: str, report: SelfTestReport) -> None:
    """Check every table of the file at ``path``, and the sectors of those that Linux took.

    Raises:
        BadInput: missing or damaged.
    """
    file = load(path, _DmFile)
    data = np.frombuffer(load_bytes(path.parent / file.bin), dtype=np.uint8)
    for number, case in enumerate(file.cases):
        subject = f"table {number}, {case.target} {case.cipher}"
        try:
            mapping = _mapping(case.table)
        except BlkCryptoError as error:
            expected = _ERROR_TEXT.get(error.errno, "")
            report.check(case.result == expected, title, subject, "dm table", str(error))
            continue
        report.check(case.result == "OK", title, subject, "dm table", f"Linux said {case.result!r}")
        for segment in case.segments:
            _check_segment(mapping, segment, data, title, subject, report)


def _mapping(line: str) -> DmCrypt | DmInlinecrypt:
    table = parse_table(line)
    return DmCrypt(table) if table.target == "crypt" else DmInlinecrypt(table)


def _check_segment(
    mapping: DmCrypt | DmInlinecrypt,
    segment: _DmSegment,
    data: npt.NDArray[np.uint8],
    title: str,
    subject: str,
    report: SelfTestReport,
) -> None:
    size = mapping.table.sector_size
    nbytes = segment.sectors * 512
    text = Segment(0, nbytes, segment.seed).plaintext()
    plain = np.frombuffer(text, dtype=np.uint8).reshape(-1, size)
    if isinstance(mapping, DmCrypt):
        got = mapping.encrypt(mapping.iv_sector(segment.sector), plain)
    else:
        ctx = mapping.crypt_ctx(segment.sector)
        got = new_cipher("AES-256-XTS", ctx.key.raw).encrypt_run(ctx.dun, plain)
    expected = data[segment.bin_offset : segment.bin_offset + nbytes].reshape(-1, size)
    where = f"sector {segment.sector}"
    report.check(bool(np.array_equal(got, expected)), title, subject, "dm sectors", where)
    agrees = segment.backing_sector == segment.sector + mapping.table.device_start
    report.check(agrees, title, subject, "dm remapping", where)
