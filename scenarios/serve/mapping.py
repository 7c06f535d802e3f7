"""Where an address lies: which file's key encrypts it, and with which DUN.

Inside an extent of a file DUNs follow one another, so each extent is looked up once, by the layout and key
design of the scenario, and after that an address costs a dictionary and an addition.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from blkcrypto.block.key import BlkCryptoKey
from scenarios.filekeys import FileKeys
from scenarios.placement.layout import Layout


class Piece(NamedTuple):
    """Part of a transfer that one bio may carry.

    Attributes:
        offset: device byte address.
        nbytes: whole data units.
        key: None without encryption.
        dun: of the first data unit; 0 without encryption.
    """

    offset: int
    nbytes: int
    key: BlkCryptoKey | None
    dun: int


class Mapping:
    """Addresses to keys and DUNs.

    Args:
        layout: says which file an address belongs to.
        keys: the files' keys; None leaves everything unencrypted.
        extent_bytes: of the layout.
        unit_bytes: data unit size.
    """

    def __init__(self, layout: Layout, keys: FileKeys | None, *, extent_bytes: int, unit_bytes: int) -> None:
        self._layout = layout
        self._keys = keys
        self._extent_bytes = extent_bytes
        self._unit_bytes = unit_bytes
        self._extents: dict[int, tuple[BlkCryptoKey | None, int]] = {}
        self._wraps_at = 0 if keys is None or keys.dun_wraps_at is None else keys.dun_wraps_at

    def pieces(self, offset: int, nbytes: int) -> Iterator[Piece]:
        """``nbytes`` from ``offset`` on, cut where the next data unit has another key or no following DUN."""
        while nbytes > 0:
            extent, within = divmod(offset, self._extent_bytes)
            found = self._extents.get(extent)
            key, dun = self._look_up(extent) if found is None else found
            size = min(nbytes, self._extent_bytes - within)
            if key is None:
                yield Piece(offset, size, None, 0)
            else:
                dun += within // self._unit_bytes
                if self._wraps_at:
                    dun %= self._wraps_at
                    size = min(size, (self._wraps_at - dun) * self._unit_bytes)
                yield Piece(offset, size, key, dun)
            offset += size
            nbytes -= size

    def _look_up(self, extent: int) -> tuple[BlkCryptoKey | None, int]:
        """Key, and DUN of the extent's first data unit, which has no room for a wrap yet."""
        found: tuple[BlkCryptoKey | None, int] = (None, 0)
        if self._keys is not None:
            files, offsets = self._layout.file_map.locate(np.array([extent * self._extent_bytes]))
            numbers, duns = self._keys.look_up(files, offsets // self._unit_bytes)
            number = int(numbers[0])
            if number >= 0:
                found = (self._keys.objects[number], int(duns[0]))
        self._extents[extent] = found
        return found
