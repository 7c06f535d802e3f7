"""Single data units and names of every cipher and key derivation, from fscrypt's independent test utility."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from blkcrypto.base.dun import DUN_BYTES
from blkcrypto.crypto.cipher import new_cipher, new_name_cipher
from blkcrypto.crypto.hwkdf import derive
from blkcrypto.crypto.modes import CIPHER_MODES, UnknownMode
from blkcrypto.crypto.v1kdf import derive_v1
from blkcrypto.fs.fscrypt import iv
from blkcrypto.fs.fscrypt.derive import inode_key_bytes
from blkcrypto.fs.fscrypt.filesystem import ext4_like
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.modes import FSCRYPT_MODES, ModeNum
from blkcrypto.fs.fscrypt.policy import IvScheme, Policy, PolicyFlags
from blkcrypto.fs.selftest.cases import Segment, load
from blkcrypto.fs.selftest.report import SelfTestReport

_SHOWN_BYTES = 32


class _Plaintext(msgspec.Struct, frozen=True):
    seed: str
    length: int

    def data(self) -> bytes:
        return Segment(0, self.length, self.seed).plaintext()


class Vector(msgspec.Struct, frozen=True):
    """One vector; hex strings are byte strings."""

    group: str
    cipher: str
    mode_num: ModeNum
    master_key: str
    data_unit_size: int
    plaintext: _Plaintext
    data_unit_index: int = 0
    padding: int = 16
    kdf: str = ""
    file_nonce: str = ""
    fs_uuid: str = "00" * 16
    inode_number: int = 0
    direct_key: bool = False
    iv_ino_lblk_64: bool = False
    iv_ino_lblk_32: bool = False
    enable_hw_kdf: bool = False
    use_inlinecrypt_key: bool = False
    key_identifier: str | None = None
    ciphertext: str | None = None
    ciphertext_sha256: str | None = None
    ciphertext_first32: str | None = None
    ciphertext_last32: str | None = None

    @property
    def flags(self) -> PolicyFlags:
        """The policy flag that the vector exercises, if any."""
        chosen = PolicyFlags.PAD_4
        if self.direct_key:
            chosen |= PolicyFlags.DIRECT_KEY
        if self.iv_ino_lblk_64:
            chosen |= PolicyFlags.IV_INO_LBLK_64
        if self.iv_ino_lblk_32:
            chosen |= PolicyFlags.IV_INO_LBLK_32
        return chosen


class _KeyIdentifier(msgspec.Struct, frozen=True):
    key: str
    hw_wrapped: bool
    key_identifier: str


class _VectorFile(msgspec.Struct, frozen=True):
    vectors: list[Vector]
    key_identifiers: list[_KeyIdentifier]


def check_vectors(path: Path, title: str, report: SelfTestReport) -> None:
    """Check every vector and key identifier of the file at ``path``.

    Raises:
        BadInput: missing or damaged.
    """
    file = load(path, _VectorFile)
    for number, vector in enumerate(file.vectors):
        subject = f"vector {number}, {vector.cipher}, {vector.group}"
        check_vector(vector, title, subject, report)
    for row in file.key_identifiers:
        key = _master_key(bytes.fromhex(row.key), hw_wrapped=row.hw_wrapped)
        agrees = key.identifier.hex() == row.key_identifier
        report.check(agrees, title, f"key of {len(row.key) // 2} bytes", "key identifier")


def check_vector(vector: Vector, title: str, subject: str, report: SelfTestReport) -> None:
    """Check one vector's ciphertext, and its key's identifier where it is given."""
    raw = bytes.fromhex(vector.master_key)
    master_key = _master_key(raw, hw_wrapped=vector.enable_hw_kdf)
    key = _key(vector, raw, master_key)
    try:
        agrees = all(_as_recorded(vector, form) for form in _ciphertexts(vector, key, master_key))
        report.check(agrees, title, subject, "vector")
    except UnknownMode:
        report.skip(f"vectors: {vector.cipher} is not built in")
    if vector.key_identifier is not None:
        same = master_key.identifier.hex() == vector.key_identifier
        report.check(same, title, subject, "key identifier")


def _master_key(raw: bytes, *, hw_wrapped: bool) -> MasterKey:
    return MasterKey.from_hw_wrapped(raw, derive(raw).sw_secret) if hw_wrapped else MasterKey.from_raw(raw)


def _policy(vector: Vector, master_key: MasterKey) -> Policy:
    # Not checked for support: the utility also computes what Linux refuses, such as DIRECT_KEY with HCTR2.
    return Policy(
        contents_mode=vector.mode_num,
        filenames_mode=vector.mode_num,
        flags=vector.flags,
        master_key=master_key.identifier,
    )


def _key(vector: Vector, raw: bytes, master_key: MasterKey) -> bytes:
    mode = FSCRYPT_MODES[vector.mode_num]
    if not vector.kdf:
        return raw
    if vector.kdf == "AES-128-ECB":
        return derive_v1(raw, bytes.fromhex(vector.file_nonce), mode.key_bytes)
    if vector.use_inlinecrypt_key:
        return derive(raw).inline_key
    fs = ext4_like(bytes.fromhex(vector.fs_uuid))
    nonce = bytes.fromhex(vector.file_nonce)
    return inode_key_bytes(_policy(vector, master_key), master_key, fs, mode, nonce)


def _ciphertexts(vector: Vector, key: bytes, master_key: MasterKey) -> list[bytes]:
    """By each of our ciphers that offers the mode: over data units, over names."""
    plain = vector.plaintext.data()
    size = vector.data_unit_size
    units = [plain[at : at + size] for at in range(0, len(plain), size)]
    units = [unit.ljust(-(-len(unit) // vector.padding) * vector.padding, b"\0") for unit in units]
    ivs = [_iv(vector, index, master_key) for index in range(len(units))]
    mode = CIPHER_MODES[vector.cipher]
    found = []
    if mode.contents:
        cipher = new_cipher(mode.name, key)
        rows = [
            cipher.encrypt(_row(one_iv), _row(unit)).tobytes()
            for one_iv, unit in zip(ivs, units, strict=True)
        ]
        found.append(b"".join(rows))
    if mode.names:
        names = new_name_cipher(mode.name, key)
        found.append(b"".join(names.encrypt(one_iv, unit) for one_iv, unit in zip(ivs, units, strict=True)))
    return found


def _row(data: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(data, dtype=np.uint8).reshape(1, -1)


def _iv(vector: Vector, offset: int, master_key: MasterKey) -> bytes:
    scheme = _policy(vector, master_key).iv_scheme
    hashed = master_key.hash_inode(vector.inode_number) if scheme is IvScheme.IV_INO_LBLK_32 else 0
    dun = iv.first_dun(
        scheme,
        vector.data_unit_index + offset,
        ino=vector.inode_number,
        hashed_ino=hashed,
        nonce=bytes.fromhex(vector.file_nonce),
    )
    return dun.to_bytes(DUN_BYTES, "little")[: FSCRYPT_MODES[vector.mode_num].iv_bytes]


def _as_recorded(vector: Vector, ciphertext: bytes) -> bool:
    if vector.ciphertext is not None:
        return ciphertext.hex() == vector.ciphertext
    return (
        hashlib.sha256(ciphertext).hexdigest() == vector.ciphertext_sha256
        and ciphertext[:_SHOWN_BYTES].hex() == vector.ciphertext_first32
        and ciphertext[-_SHOWN_BYTES:].hex() == vector.ciphertext_last32
    )
