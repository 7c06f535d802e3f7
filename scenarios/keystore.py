"""An emulated device's key-wrapping unit, kept in a file between commands.

The file holds the wrapping keys in the clear, as no hardware would: it stands for the secure part of a chip,
so whoever reads it can unwrap every key.  It is readable by its owner only (mode 0600), written whole or
not at all, and good for trying things out, never for real data.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from blkcrypto.base.errors import BadInput
from blkcrypto.crypto.hwkdf import KDF_VARIANTS
from hwmodel.keywrap import KeyWrapUnit, UnitState
from scenarios.load import load_device
from scenarios.report.files import whole_file

_FORMAT: Final = "blkcrypto key-wrapping unit, version 1"
_WARNING: Final = "An emulation's wrapping keys in the clear. Never use them for real data."


class OsRandom:
    """Random bytes from the operating system."""

    def bytes(self, length: int, /) -> bytes:
        """``length`` bytes."""
        return os.urandom(length)


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file's content."""

    format: str
    warning: str
    device: str
    kdf: str
    long_term: str
    ephemeral: str


@dataclass(frozen=True, slots=True)
class UnitFile:
    """One unit's file.

    Attributes:
        path: the file.
        device: name or path of the device whose unit it is.
        kdf: hardware KDF variant.
        state: wrapping keys; None before there is a unit.
    """

    path: Path
    device: str
    kdf: str
    state: UnitState | None

    def unit(self) -> KeyWrapUnit | None:
        """The unit; None when the device has none."""
        facts = load_device(self.device).keywrap
        if facts is None:
            return None
        return KeyWrapUnit(OsRandom(), blob_bytes=facts.blob_bytes.value, kdf=self.kdf, state=self.state)

    def save(self, unit: KeyWrapUnit) -> None:
        """Keep what ``unit`` knows now.

        Raises:
            BadInput: the file cannot be written.
        """
        state = unit.state
        stored = _Stored(
            format=_FORMAT,
            warning=_WARNING,
            device=self.device,
            kdf=self.kdf,
            long_term=state.long_term.hex(),
            ephemeral=state.ephemeral.hex(),
        )
        text = json.dumps(msgspec.to_builtins(stored), indent=2) + "\n"
        write_private(self.path, text.encode())


def new_unit_file(path: Path, device: str, kdf: str) -> UnitFile:
    """A file yet to be written.

    Raises:
        BadInput: no such KDF.
    """
    if kdf not in KDF_VARIANTS:
        raise BadInput(f"no hardware KDF {kdf!r}: one of {', '.join(KDF_VARIANTS)}", where="--kdf")
    return UnitFile(path, device, kdf, None)


def read_unit_file(path: Path) -> UnitFile:
    """A file as it was saved.

    Raises:
        BadInput: it is not there, unreadable, or not such a file.
    """
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        state = UnitState(bytes.fromhex(stored.long_term), bytes.fromhex(stored.ephemeral))
        if stored.format != _FORMAT or stored.kdf not in KDF_VARIANTS:
            raise ValueError("of another version")
    except FileNotFoundError:
        what = "there is no unit yet: `key generate` and `key import` make one"
        raise BadInput(what, where=str(path)) from None
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, msgspec.DecodeError) as error:
        raise BadInput(f"not the state of a key-wrapping unit: {error}", where=str(path)) from None
    return replace(new_unit_file(path, stored.device, stored.kdf), state=state)


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` whole or not at all, readable by the owner only.

    Raises:
        BadInput: it cannot be written.
    """
    with whole_file(str(path), private=True) as file:
        file.write(data)
