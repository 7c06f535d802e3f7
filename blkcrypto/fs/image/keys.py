"""Master keys as a person gives them, and the keyring they go into.

A v2 policy names its key by an identifier that is derived from the key, so a key finds its policies.  A v1
policy names it by a descriptor that proves nothing: by convention the first 8 bytes of SHA-512 applied twice,
or anything else, which must then be said.

Source of the convention: e4crypt and the fscrypt tool; reference fscrypt.md section 2.2.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from blkcrypto.base.errors import BadInput
from blkcrypto.block.key import MAX_RAW_KEY_BYTES
from blkcrypto.fs.fscrypt.caller import ROOT
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.keyring import FsKeyring
from blkcrypto.fs.fscrypt.master_key import MIN_MASTER_KEY_BYTES
from blkcrypto.fs.fscrypt.policy import DESCRIPTOR_BYTES, IDENTIFIER_BYTES

_MAX_KEY_FILE_BYTES: Final = 1 << 20
_TEXT: Final = frozenset(b"0123456789abcdefABCDEF= \t\r\n")


def convention_descriptor(raw: bytes) -> bytes:
    """Descriptor that e4crypt and fscrypt give a master key: 8 bytes."""
    return hashlib.sha512(hashlib.sha512(raw).digest()).digest()[:DESCRIPTOR_BYTES]


@dataclass(frozen=True, slots=True)
class ImageKeys:
    """Raw master keys.

    Attributes:
        raw: keys of 16 to 64 bytes; each serves v2 policies, and v1 policies under the convention.
        described: descriptor and key for v1 policies that follow no convention.
    """

    raw: tuple[bytes, ...] = field(default=(), repr=False)
    described: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)

    @classmethod
    def parse(
        cls, keys: Sequence[str] = (), files: Sequence[Path] = (), descriptors: Sequence[str] = ()
    ) -> "ImageKeys":
        """From the text of options.

        Args:
            keys: hex.
            files: 16 to 64 raw bytes, else lines of hex and of ``DESCRIPTOR=KEY``; blank lines and lines that
                begin with ``#`` are passed over.
            descriptors: ``DESCRIPTOR=KEY`` in hex.

        Raises:
            BadInput: not hex, or of no possible length; a file that cannot be read.
        """
        raw = [_key(text, "--key") for text in keys]
        described = [_described(text, "--descriptor") for text in descriptors]
        for path in files:
            _read_file(path, raw, described)
        return cls(tuple(raw), tuple(described))

    def add_to(self, keyring: FsKeyring) -> None:
        """Add every key, as root would: said descriptors first, so that they win over the convention."""
        for descriptor, raw in self.described:
            spec = KeySpecifier(KeySpecType.DESCRIPTOR, descriptor)
            keyring.add(AddKeyArg(spec=spec, raw=raw, raw_size=len(raw)), ROOT)
        for raw in self.raw:
            for spec in (
                KeySpecifier(KeySpecType.IDENTIFIER, bytes(IDENTIFIER_BYTES)),
                KeySpecifier(KeySpecType.DESCRIPTOR, convention_descriptor(raw)),
            ):
                keyring.add(AddKeyArg(spec=spec, raw=raw, raw_size=len(raw)), ROOT)


def _key(text: str, where: str) -> bytes:
    raw = _hex(text, where)
    if not MIN_MASTER_KEY_BYTES <= len(raw) <= MAX_RAW_KEY_BYTES:
        raise BadInput(
            f"a master key of {len(raw)} bytes: they have {MIN_MASTER_KEY_BYTES} to {MAX_RAW_KEY_BYTES}",
            where=where,
        )
    return raw


def _described(text: str, where: str) -> tuple[bytes, bytes]:
    name, equals, key = text.partition("=")
    descriptor = _hex(name, where)
    if not equals or len(descriptor) != DESCRIPTOR_BYTES:
        raise BadInput(f"write {2 * DESCRIPTOR_BYTES} hex digits, '=', and the key in hex", where=where)
    return descriptor, _key(key, where)


def _hex(text: str, where: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        # Never the text itself: it is a secret, and errors end up in logs.
        raise BadInput(f"{len(text)} characters that are not hex digits in pairs", where=where) from None


def _read_file(path: Path, raw: list[bytes], described: list[tuple[bytes, bytes]]) -> None:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"cannot read it: {error.strerror}", where=str(path)) from None
    if len(data) > _MAX_KEY_FILE_BYTES:
        raise BadInput("is too large for a file of keys", where=str(path))
    # The bytes of a random key are next to never all hex digits and white space.
    if MIN_MASTER_KEY_BYTES <= len(data) <= MAX_RAW_KEY_BYTES and not _is_text(data):
        raw.append(data)
        return
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text, where = line.strip(), f"{path}:{number}"
        if not text or text.startswith("#"):
            continue
        if "=" in text:
            described.append(_described(text, where))
        else:
            raw.append(_key(text, where))


def _is_text(data: bytes) -> bool:
    return _TEXT.issuperset(data)
