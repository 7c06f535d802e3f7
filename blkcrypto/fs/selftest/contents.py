"""File contents: plaintext from its seeds, encrypted again, compared with the blocks on disk."""

import numpy as np
import numpy.typing as npt

from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.crypto.modes import UnknownMode
from blkcrypto.fs.fscrypt.iv import ivs_from_low_limbs
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.policy import IvScheme
from blkcrypto.fs.selftest.cases import GoldenCase, GoldenObject, Run, run_offset
from blkcrypto.fs.selftest.report import SelfTestReport


class ContentsCheck:
    """Checks the files of one case; files that share a key share its cipher."""

    def __init__(
        self,
        title: str,
        case: GoldenCase,
        setup: KeySetup,
        blocks: npt.NDArray[np.uint8],
        report: SelfTestReport,
    ) -> None:
        self._title = title
        self._case = case
        self._setup = setup
        self._blocks = blocks
        self._report = report
        self._ciphers: dict[bytes, DataUnitCipher] = {}

    def check(self, file: GoldenObject) -> None:
        """Compare every written run of ``file``; unwritten and missing blocks hold nothing to compare."""
        try:
            cipher = self._cipher(file)
        except UnknownMode:
            self._report.skip(f"contents: {self._setup.policy.contents.name} is not built in", len(file.runs))
            return
        for run in file.runs:
            bad = self._first_difference(file, run, cipher)
            where = "" if bad < 0 else f"run at block {run.lblk}, data unit {bad}"
            self._report.check(bad < 0, self._title, file.title, "contents", where)

    def _first_difference(self, file: GoldenObject, run: Run, cipher: DataUnitCipher) -> int:
        """Index in the file of the first data unit that differs, or -1."""
        size = self._setup.config.data_unit_size
        block_size = self._case.fs.block_size
        plain = _run_plaintext(file, run, block_size).reshape(-1, size)
        first = (run.lblk * block_size) // size
        indices = np.arange(first, first + len(plain), dtype=np.int64)
        limbs = self._setup.duns(np.full(len(plain), file.ino, dtype=np.int64), indices)
        nonce = file.nonce_bytes if self._setup.scheme is IvScheme.DIRECT_KEY else b""
        ivs = ivs_from_low_limbs(limbs, nonce=nonce, iv_bytes=self._setup.policy.contents.iv_bytes)
        start = run_offset(self._case, run)
        expected = self._blocks[start : start + plain.size].reshape(-1, size)
        differs = np.any(cipher.encrypt(ivs, plain) != expected, axis=1)
        return first + int(np.argmax(differs)) if differs.any() else -1

    def _cipher(self, file: GoldenObject) -> DataUnitCipher:
        raw = self._setup.contents_key(file.ino, file.nonce_bytes).raw
        cipher = self._ciphers.get(raw)
        if cipher is None:
            cipher = self._ciphers[raw] = new_cipher(self._setup.policy.contents.name, raw)
        return cipher


def _run_plaintext(file: GoldenObject, run: Run, block_size: int) -> npt.NDArray[np.uint8]:
    """Plaintext of a run's blocks, ``uint8[bytes]``; what no segment covers is zero."""
    start, length = run.lblk * block_size, run.count * block_size
    plain = np.zeros(length, dtype=np.uint8)
    for segment in file.segments:
        first = max(segment.offset, start)
        last = min(segment.offset + segment.length, start + length)
        if first < last:
            data = np.frombuffer(segment.plaintext(), dtype=np.uint8)
            plain[first - start : last - start] = data[first - segment.offset : last - segment.offset]
    return plain
