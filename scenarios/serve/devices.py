"""Every key design as a device that clients can use: which kind serves which."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from blkcrypto.block.queue import RequestQueue
from blkcrypto.fs.authenticated.designs import DESIGNS as AUTHENTICATED
from blkcrypto.fs.extents.designs import DESIGNS as EXTENTS
from blkcrypto.fs.inline_data.designs import DESIGNS as INLINE_DATA
from blkcrypto.fs.keysetup_io.designs import DESIGNS as KEY_SETUP
from scenarios.build import settled
from scenarios.schema import Scenario
from scenarios.serve.device import by_address, in_extents
from scenarios.serve.disk import Transfer
from scenarios.serve.inline_data import small_files
from scenarios.serve.sealed import sealed


class ServedDevice(Protocol):
    """A device behind the server.

    Attributes:
        size: bytes that can be addressed.
        unit_bytes: what a transfer must be aligned to.
        block_bytes: what clients are told to align to, at most ``unit_bytes``.
        queue: counts requests, splits and merges.
    """

    size: int
    unit_bytes: int
    block_bytes: int
    queue: RequestQueue

    @property
    def keyslot_programs(self) -> int:
        """Keys loaded into keyslots, of hardware or of the fallback."""

    @property
    def distinct_keys(self) -> int:
        """Keys that were used."""

    def submit(self, transfers: Sequence[Transfer]) -> None:
        """Do ``transfers``, no two of which touch the same bytes unless both read; sets every status."""

    def close(self) -> None:
        """Make everything durable and let the image go."""


WITH_METADATA: Final[dict[str, Callable[[Scenario, Path, int | None], ServedDevice]]] = {
    **{row.name: in_extents for row in (*EXTENTS, *KEY_SETUP)},
    **{row.name: small_files for row in INLINE_DATA},
    **{row.name: sealed for row in AUTHENTICATED},
}

"""Designs whose images hold more than data units."""


def open_device(scenario: Scenario, path: Path, size: int | None) -> ServedDevice:
    """The device of ``scenario`` over the image at ``path``; designs without a row go by address.

    Args:
        size: bytes that clients see, for a new image; None for those of an image that is there.

    Raises:
        BadInput: the image cannot be used, or was made for something else.
    """
    scenario = settled(scenario)
    return WITH_METADATA.get(scenario.keys.design, by_address)(scenario, path, size)
