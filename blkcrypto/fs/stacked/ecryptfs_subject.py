"""eCryptfs as the battery tries it: its device is the lower files."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from blkcrypto.crypto.ecryptfs import EXTENT_BYTES
from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.subject import Held, Loot, Place
from blkcrypto.fs.stacked.ecryptfs_file import StackedFile, StackedMount
from blkcrypto.fs.stacked.ecryptfs_header import HEADER_BYTES, parse_header

# A lower file has room for this many extents where addresses are counted.
_SPAN = 1 << 20


class EcryptfsSubject:
    """``battery.Subject``.

    Args:
        keyring: wrapping keys by signature.
        rng: of session keys and markers.
    """

    name = "ecryptfs"

    def __init__(self, keyring: Mapping[bytes, bytes], rng: np.random.Generator) -> None:
        self.lower: dict[str, bytearray] = {}
        self._keyring = keyring
        self._rng = rng
        self._starts: dict[str, int] = {}
        self._next = 0
        self._mount = self._mounted()

    def _mounted(self) -> StackedMount:
        return StackedMount(self.lower, {}, self._rng)

    def add_key(self) -> None:
        """See ``Subject``."""
        self._mount.keyring.update(self._keyring)

    def remove_key(self) -> bool:
        """See ``Subject``."""
        self._mount.keyring.clear()
        return True

    def _start(self) -> int:
        self._next += _SPAN
        return self._next

    def _file(self, path: str) -> StackedFile:
        if path in self.lower:
            return self._mount.open(path)
        self._starts[path] = self._start()
        return self._mount.create(path)

    def write(self, path: str, pos: int, data: bytes) -> None:
        """See ``Subject``."""
        file = self._file(path)
        file.write(pos, data)
        file.close()

    def read(self, path: str) -> bytes:
        """See ``Subject``."""
        file = self._mount.open(path)
        data = file.read(0, file.size)
        file.close()
        return data

    def hold(self, path: str) -> Held:
        """See ``Opens``."""
        return self._mount.open(path)

    def sync(self) -> None:
        """See ``Subject``: everything is written through."""

    def remount(self) -> None:
        """See ``Subject``."""
        self._mount = self._mounted()

    def move(self) -> int:
        """See ``Subject``: the lower filesystem moves files as it likes."""
        self._starts = {path: self._start() for path in self._starts}
        return sum((len(lower) - HEADER_BYTES) // EXTENT_BYTES for lower in self.lower.values())

    def truncate(self, path: str, size: int) -> None:
        """See ``Subject``."""
        file = self._mount.open(path)
        file.truncate(size)
        file.close()

    def delete(self, path: str) -> None:
        """See ``Subject``."""
        self._mount.delete(path)
        del self._starts[path]

    def delete_without_key(self) -> bool:
        """See ``Subject``."""
        self.delete(next(iter(self.lower)))
        return True

    def _extents(self, path: str) -> range:
        return range((len(self.lower[path]) - HEADER_BYTES) // EXTENT_BYTES)

    def _bytes(self, place: Place) -> slice:
        start = HEADER_BYTES + place.unit * EXTENT_BYTES
        return slice(start, start + EXTENT_BYTES)

    def image(self) -> Image:
        """See ``Attackable``: names as the lower filesystem has them; here they are not encrypted."""
        links: dict[Hashable, frozenset[int]] = {
            path: frozenset(start + index for index in self._extents(path))
            for path, start in self._starts.items()
        }
        return Image(
            units={
                start + index: bytes(self.lower[path][self._bytes(Place(path, index))])
                for path, start in self._starts.items()
                for index in self._extents(path)
            },
            in_use=frozenset[int]().union(*links.values()),
            sizes=tuple(parse_header(bytes(lower)).size for lower in self.lower.values()),
            names=tuple(path.encode() for path in self.lower),
            contexts=tuple(bytes(lower[8:HEADER_BYTES]) for lower in self.lower.values()),
            links=links,
        )

    def save(self) -> object:
        """See ``Subject``."""
        return {path: bytes(lower) for path, lower in self.lower.items()}, dict(self._starts)

    def restore(self, saved: object) -> None:
        """See ``Subject``."""
        assert isinstance(saved, tuple)
        lower, starts = saved
        self.lower = {path: bytearray(data) for path, data in lower.items()}
        self._starts = dict(starts)
        self._mount = self._mounted()

    def places(self, path: str) -> Sequence[Place]:
        """See ``Subject``."""
        return [Place(path, index) for index in self._extents(path)]

    def lift(self, place: Place) -> Loot:
        """See ``Subject``."""
        return Loot(bytes(self.lower[place.path][self._bytes(place)]))

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        """See ``Subject``: there are no checksums."""
        del mend
        self.lower[place.path][self._bytes(place)] = loot.ciphertext
