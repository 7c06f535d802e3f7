"""Directory entries and symlinks: ciphertext, no-key form, directory hash."""

import hashlib

from blkcrypto.crypto.modes import UnknownMode
from blkcrypto.fs.dirhash import Ext4HashVersion, ext4_hash, f2fs_hash
from blkcrypto.fs.fscrypt.casefold import casefold_hash, dirhash_key
from blkcrypto.fs.fscrypt.derive import AnyMasterKey
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.names import NameCipher, encode_symlink, split_symlink, symlink_disk_bytes
from blkcrypto.fs.fscrypt.nokey import NokeyName, decode_nokey_name
from blkcrypto.fs.fscrypt.policy import IvScheme
from blkcrypto.fs.selftest.cases import FsFacts, GoldenCase, GoldenObject
from blkcrypto.fs.selftest.report import SelfTestReport

_NOKEY_PREFIX_BYTES = 149
_EXT2_FLAGS_SIGNED_HASH = 1
_NEEDS_NONCE = (IvScheme.PER_FILE_KEY, IvScheme.DIRECT_KEY)


class NamesCheck:
    """Checks the names and symlinks of one case; one cipher per directory."""

    def __init__(
        self, title: str, case: GoldenCase, master_key: AnyMasterKey, report: SelfTestReport
    ) -> None:
        self._title = title
        self._case = case
        self._master_key = master_key
        self._report = report
        self._directories = {item.ino: item for item in case.objects if item.type == "dir"}
        self._ciphers: dict[int, NameCipher] = {}

    def check(self, item: GoldenObject) -> None:
        """Compare everything recorded about ``item``'s name, and a symlink's target."""
        name = item.name_bytes
        try:
            if name is not None and item.parent_ino is not None:
                self._check_name(item, name, self._directories[item.parent_ino])
            if item.type == "symlink":
                self._check_symlink(item)
        except UnknownMode:
            self._report.skip(f"names: {self._case.policy.filenames_mode_name} is not built in")

    def _check_name(self, item: GoldenObject, name: bytes, directory: GoldenObject) -> None:
        cipher = self._cipher(directory)
        ciphertext = cipher.encrypt(name)
        prefix, rest = ciphertext[:_NOKEY_PREFIX_BYTES], ciphertext[_NOKEY_PREFIX_BYTES:]
        if item.disk_name is not None:
            agrees = ciphertext.hex() == item.disk_name
        else:
            agrees = (
                prefix.hex() == item.disk_name_first149
                and hashlib.sha256(rest).hexdigest() == item.disk_name_rest_sha256
            )
        self._report.check(agrees and cipher.decrypt(ciphertext) == name, self._title, item.title, "name")
        major, minor = self._entry_hash(item, name, ciphertext, directory)
        if item.dirent_hash is not None:
            hashed = major.to_bytes(4, "little") + minor.to_bytes(4, "little")
            self._report.check(hashed.hex() == item.dirent_hash, self._title, item.title, "directory hash")
        nokey = NokeyName.of(ciphertext, major, minor)
        self._check_nokey(item, nokey, item.nokey_name, "no-key name")

    def _check_nokey(self, item: GoldenObject, nokey: NokeyName, listed: str | None, what: str) -> None:
        if listed is not None:
            agrees = nokey.encode() == listed and decode_nokey_name(listed) == nokey
            self._report.check(agrees, self._title, item.title, what)

    def _entry_hash(
        self, item: GoldenObject, name: bytes, ciphertext: bytes, directory: GoldenObject
    ) -> tuple[int, int]:
        if item.dirent_hash is not None and isinstance(self._master_key, MasterKey):
            return casefold_hash(dirhash_key(self._master_key, directory.nonce_bytes), name)
        return _plain_hash(self._case.fs, ciphertext)

    def _check_symlink(self, item: GoldenObject) -> None:
        if item.target is None or item.disk_target is None:
            return
        if item.nonce is None and self._case.parsed_policy.iv_scheme in _NEEDS_NONCE:
            self._report.skip("symlink target: the record has no nonce", 2)
            return
        block_size = self._case.fs.block_size
        target = item.target.encode()
        stored = encode_symlink(self._cipher(item), target, block_size)
        ciphertext = split_symlink(stored)
        agrees = ciphertext.hex() == item.disk_target and self._cipher(item).decrypt(ciphertext) == target
        self._report.check(agrees, self._title, item.title, "symlink target")
        if item.i_size is not None:
            size = symlink_disk_bytes(self._case.parsed_policy, len(target), block_size) - 1
            self._report.check(size == item.i_size, self._title, item.title, "symlink size")
        self._check_nokey(item, NokeyName.of(ciphertext), item.nokey_target, "no-key symlink")

    def _cipher(self, item: GoldenObject) -> NameCipher:
        cipher = self._ciphers.get(item.ino)
        if cipher is None:
            cipher = self._ciphers[item.ino] = NameCipher(
                self._case.parsed_policy,
                self._master_key,
                self._case.filesystem,
                ino=item.ino,
                nonce=item.nonce_bytes,
            )
        return cipher


def _plain_hash(fs: FsFacts, ciphertext: bytes) -> tuple[int, int]:
    if fs.type == "f2fs":
        return f2fs_hash(ciphertext), 0
    version = Ext4HashVersion(fs.def_hash_version)
    signed = bool(fs.sb_flags & _EXT2_FLAGS_SIGNED_HASH)
    return ext4_hash(ciphertext, version, bytes.fromhex(fs.hash_seed), signed=signed)
