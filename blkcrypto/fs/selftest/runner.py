"""Walks a golden directory and makes every check the kinds of data allow."""

from pathlib import Path

import msgspec

from blkcrypto.fs.fscrypt.derive import AnyMasterKey
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.policy import Context, parse_context
from blkcrypto.fs.fscrypt.v1_key import MasterKeyV1
from blkcrypto.fs.selftest.cases import GoldenCase, load, load_ciphertext
from blkcrypto.fs.selftest.contents import ContentsCheck
from blkcrypto.fs.selftest.dm import check_dm
from blkcrypto.fs.selftest.names import NamesCheck
from blkcrypto.fs.selftest.policies import check_policies
from blkcrypto.fs.selftest.report import SelfTestReport
from blkcrypto.fs.selftest.vectors import check_vectors

_VECTORS = "vectors/fscrypt-vectors.json"
_DM = "dm/dm.json"


class _IndexRow(msgspec.Struct, frozen=True):
    index: str


def run_golden(directory: Path) -> SelfTestReport:
    """Recompute every case under ``directory``.

    Raises:
        BadInput: no golden directory, or a file in it is missing or damaged.
    """
    report = SelfTestReport()
    for row in load(directory / "index.json", list[_IndexRow]):
        path = directory / row.index
        check_case(row.index, path.parent, load(path, GoldenCase), report)
    check_vectors(directory / _VECTORS, _VECTORS, report)
    check_dm(directory / _DM, _DM, report)
    check_policies(directory, report)
    return report


def check_case(title: str, directory: Path, case: GoldenCase, report: SelfTestReport) -> None:
    """Make every check of one case; ``directory`` holds its blocks."""
    policy = case.parsed_policy
    raw = bytes.fromhex(case.master_key)
    master_key: AnyMasterKey
    if policy.version == 1:
        master_key = MasterKeyV1(raw, policy.master_key)
    else:
        master_key = MasterKey.from_raw(raw)
        is_named = master_key.identifier == policy.master_key
        report.check(is_named, title, "master key", "key identifier")
        if not is_named:
            return  # key setup refuses such a key
    report.check(policy.to_bytes().hex() == case.policy.raw, title, "policy", "policy bytes")
    _check_contexts(title, case, report)
    setup = KeySetup(policy, master_key, case.filesystem)
    contents = ContentsCheck(title, case, setup, load_ciphertext(directory, case), report)
    names = NamesCheck(title, case, master_key, report)
    for item in case.objects:
        if item.type == "file":
            contents.check(item)
        names.check(item)


def _check_contexts(title: str, case: GoldenCase, report: SelfTestReport) -> None:
    for item in case.objects:
        if item.context is not None:
            expected = Context(case.parsed_policy, item.nonce_bytes)
            data = bytes.fromhex(item.context)
            agrees = parse_context(data) == expected and expected.to_bytes() == data
            report.check(agrees, title, item.title, "context")
