"""What each placement detects: an attacker who can write the medium but has no key, tried on every seal.

=========  ===================================================================================
attack     what is done to the medium
=========  ===================================================================================
damage     one bit of a seal's ciphertext flips
tamper     the same, and every unkeyed checksum is made to fit
collide    bits flip so that no CRC-32 changes: a multiple of its polynomial is added
entry      one bit of a seal's entry flips
move       ciphertext and entry of another seal, checksums made to fit
replay     ciphertext and entry that the same seal had before, checksums made to fit
rollback   the whole medium as it was before
=========  ===================================================================================

These are placements of tags, also such as no design has.  ``blkcrypto.fs.battery.attacks`` does the same to
files of every design, through what all of them offer.
"""

import enum
from collections.abc import Callable
from typing import Final, Protocol

from blkcrypto.fs.authenticated.medium import BLOCK_BYTES, BlockMedium, Medium
from blkcrypto.fs.authenticated.seal import AuthenticationFailed, Sealer

_CRC_DEGREE: Final = 32
_CRC_POLYNOMIAL: Final = 0x104C11DB7


class SealedStore(Protocol):
    """A placement, as the attacks need it."""

    medium: BlockMedium
    sealer: Sealer
    seals: int
    seal_blocks: int

    def write(self, first: int, data: bytes) -> None:
        """Write whole seals."""

    def read(self, index: int) -> bytes:
        """Read one; EILSEQ when it is not authentic."""

    def data_offset(self, index: int) -> int:
        """Where its ciphertext begins on the medium, in bytes."""

    def extract(self, index: int) -> tuple[bytes, bytes]:
        """Entry and ciphertext."""

    def implant(self, index: int, entry: bytes, stored: bytes) -> None:
        """Put entry and ciphertext there, unkeyed checksums made to fit."""


class Attack(enum.Enum):
    """The rows above."""

    DAMAGE = "damage"
    TAMPER = "tamper"
    COLLIDE = "collide"
    ENTRY = "entry"
    MOVE = "move"
    REPLAY = "replay"
    ROLLBACK = "rollback"


class Verdict(enum.Enum):
    """How many of the seals gave an error: all, none, or some."""

    DETECTED = "yes"
    MISSED = "no"
    SOMETIMES = "sometimes"


Mount = Callable[[Medium], SealedStore]
"""Mounts a medium that was formatted; may refuse it with ``AuthenticationFailed``."""


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


def _colliding(data: bytes, start: int) -> bytes:
    """``data`` with the polynomial of CRC-32 added at byte ``start``, first coefficient in the lowest bit."""
    changed = bytearray(data)
    for place in range(_CRC_DEGREE + 1):
        if _CRC_POLYNOMIAL >> (_CRC_DEGREE - place) & 1:
            changed[start + place // 8] ^= 1 << place % 8
    return bytes(changed)


def _version(store: SealedStore, number: int) -> bytes:
    size = store.seal_blocks * BLOCK_BYTES
    return b"".join(bytes([number, index % 256]) * (size // 2) for index in range(store.seals))


def _attack(attack: Attack, store: SealedStore, before: SealedStore, index: int) -> None:
    """Do ``attack`` to one seal of ``store``; ``before`` is the same store, one version earlier."""
    entry, stored = store.extract(index)
    forge = store.sealer.forge
    bit = 8 * 16 * index + index  # another place and bit in each seal
    if attack is Attack.DAMAGE:
        start = store.data_offset(index)
        store.medium.data[start : start + len(stored)] = _flipped(stored, bit)
    elif attack is Attack.TAMPER:
        tampered = _flipped(stored, bit)
        store.implant(index, forge(entry, tampered), tampered)
    elif attack is Attack.COLLIDE:
        store.implant(index, entry, _colliding(stored, 16 * index))
    elif attack is Attack.ENTRY:
        store.implant(index, _flipped(entry, bit), stored)
    elif attack is Attack.MOVE:
        store.implant(index, *store.extract((index + 1) % store.seals))
    elif attack is Attack.REPLAY:
        store.implant(index, *before.extract(index))
    else:
        store.medium.data[:] = before.medium.data


def _copy_of(medium: Medium) -> Medium:
    twin = Medium(medium.blocks)
    twin.data[:] = medium.data
    return twin


def verdict(mount: Mount, medium: Medium, attack: Attack) -> Verdict:
    """Try ``attack`` on every seal, each time on a fresh copy of the medium.

    Args:
        mount: of one placement.
        medium: formatted for it; is written twice.
        attack: which.
    """
    store = mount(medium)
    store.write(0, _version(store, 1))
    old = _copy_of(medium)
    before = mount(old)
    store.write(0, _version(store, 2))
    detected = 0
    for index in range(store.seals):
        victim = _copy_of(medium)
        _attack(attack, mount(victim), before, index)
        try:
            mount(victim).read(index)
        except AuthenticationFailed:
            detected += 1
    if detected == store.seals:
        return Verdict.DETECTED
    return Verdict.SOMETIMES if detected else Verdict.MISSED


def write_amplification(store: SealedStore, first: int, count: int) -> float:
    """Blocks written to the medium per block of data, for one write of ``count`` seals."""
    before = store.medium.writes
    store.write(first, bytes(count * store.seal_blocks * BLOCK_BYTES))
    return (store.medium.writes - before) / (count * store.seal_blocks)
