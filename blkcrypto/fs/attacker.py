"""What someone sees who has the device and no key: from one image of it, and from two.

Everything here is computed from the medium.  Only ``reused_pairs`` needs more, a log of what was encrypted
under which key and IV, which tests keep and no filesystem does.

Source: reference fscrypt.md sections 8.4, 9.1 (I6, I23, I30).
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The device at one moment.

    Attributes:
        units: every unit ever written, by address, whether in use or freed since.
        in_use: addresses that metadata in clear shows to be in use; None where it does not show.
        sizes: of files, where metadata in clear shows them.
        names: as stored.
        contexts: what is stored beside contents: nonces, IVs, contexts; one for each place.
        compressed: length before and after compression, where metadata shows it: how repetitive data is.
        links: addresses of units by the files that metadata shows to use them.
    """

    units: Mapping[int, bytes]
    in_use: frozenset[int] | None = None
    sizes: tuple[int, ...] = ()
    names: tuple[bytes, ...] = ()
    contexts: tuple[bytes, ...] = ()
    compressed: tuple[tuple[int, int], ...] = ()
    links: Mapping[Hashable, frozenset[int]] = field(default_factory=dict)


class Attackable(Protocol):
    """Anything that keeps data on an emulated device."""

    def image(self) -> Image:
        """A copy of the device as it is now."""


@dataclass(frozen=True, slots=True)
class OneImage:
    """What one image shows.

    Attributes:
        units: units that were written.
        free_units: of those, units known to be unused now; -1 where that does not show.
        equal_units: units whose ciphertext stands elsewhere too, beyond the first of each kind.
        zero_units: units of zero bytes, which encryption never writes.
        shared_units: units that more than one file uses.
        repeated_contexts: stored contexts beyond the first of each kind: clones and splits show.
        compression_ratios: stored per contents length of compressed extents, in percent, sorted.
        sizes: of files, sorted.
        name_lengths: of stored names, sorted.
        equal_names: stored names beyond the first of each kind.
    """

    units: int
    free_units: int
    equal_units: int
    zero_units: int
    shared_units: int
    repeated_contexts: int
    compression_ratios: tuple[int, ...]
    sizes: tuple[int, ...]
    name_lengths: tuple[int, ...]
    equal_names: int


@dataclass(frozen=True, slots=True)
class TwoImages:
    """What comparing an earlier and a later image shows.

    Attributes:
        changed: addresses whose ciphertext differs.
        appeared: addresses written since that were not before.
        kept: units whose ciphertext stayed.
        rewritten_parts: 16-byte blocks that stayed inside changed units, in place: XTS shows them.
        moved: units that now stand at another address too or instead: relocation shows.
    """

    changed: tuple[int, ...]
    appeared: tuple[int, ...]
    kept: int
    rewritten_parts: int
    moved: int


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _beyond_first(things: Iterable[Hashable]) -> int:
    counts = Counter(things)
    return sum(counts.values()) - len(counts)


def one_image(image: Image) -> OneImage:
    """What ``image`` shows."""
    zero = sum(not any(unit) for unit in image.units.values())
    free = -1 if image.in_use is None else len(image.units.keys() - image.in_use)
    users = Counter(address for addresses in image.links.values() for address in addresses)
    return OneImage(
        units=len(image.units),
        free_units=free,
        equal_units=_beyond_first(_digest(unit) for unit in image.units.values() if any(unit)),
        zero_units=zero,
        shared_units=sum(count > 1 for count in users.values()),
        repeated_contexts=_beyond_first(image.contexts),
        compression_ratios=tuple(sorted(100 * stored // length for length, stored in image.compressed)),
        sizes=tuple(sorted(image.sizes)),
        name_lengths=tuple(sorted(map(len, image.names))),
        equal_names=_beyond_first(image.names),
    )


def two_images(before: Image, after: Image) -> TwoImages:
    """What changed from ``before`` to ``after``."""
    old, new = before.units, after.units
    both = old.keys() & new.keys()
    changed = tuple(sorted(address for address in both if old[address] != new[address]))
    appeared = tuple(sorted(new.keys() - old.keys()))
    known = {_digest(unit) for unit in old.values()}
    return TwoImages(
        changed=changed,
        appeared=appeared,
        kept=len(both) - len(changed),
        rewritten_parts=sum(_same_parts(old[address], new[address]) for address in changed),
        moved=sum(_digest(new[address]) in known for address in (*changed, *appeared)),
    )


def _same_parts(first: bytes, second: bytes) -> int:
    return sum(
        first[at : at + _DIGEST_BYTES] == second[at : at + _DIGEST_BYTES]
        for at in range(0, min(len(first), len(second)), _DIGEST_BYTES)
    )


def leaks(image: Image, secrets: Iterable[bytes]) -> list[bytes]:
    """Which of ``secrets`` (16-byte runs of plaintext, key bytes) stand anywhere in units, names or contexts.

    Runs across two units do not count: each unit is looked at alone.
    """
    joined = b"\xff\x00\xff".join((*image.units.values(), *image.names, *image.contexts))
    return [secret for secret in secrets if secret in joined]


def runs_of(plaintext: bytes, *, step: int = 256) -> list[bytes]:
    """16-byte runs of ``plaintext`` at every ``step`` bytes, to look for with ``leaks``."""
    return [
        plaintext[at : at + _DIGEST_BYTES]
        for at in range(0, len(plaintext) - _DIGEST_BYTES + 1, step)
        if any(plaintext[at : at + _DIGEST_BYTES])
    ]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One encryption of one unit, for logs that tests keep.

    Attributes:
        key: what tells keys apart: the key's bytes or a digest of them.
        iv: DUN or IV.
        plaintext: digest of what was encrypted.
        address: where it went.
    """

    key: Hashable
    iv: int
    plaintext: bytes
    address: int

    @classmethod
    def of(cls, key: Hashable, iv: int, plaintext: bytes, address: int) -> "KeyUse":
        """With the digest made here."""
        return cls(key, iv, _digest(plaintext), address)


def reused_pairs(log: Iterable[KeyUse]) -> dict[tuple[Hashable, int], int]:
    """Pairs of key and IV that encrypted more than one plaintext, and how many each."""
    seen: dict[tuple[Hashable, int], set[bytes]] = {}
    for use in log:
        seen.setdefault((use.key, use.iv), set()).add(use.plaintext)
    return {pair: len(texts) for pair, texts in seen.items() if len(texts) > 1}
