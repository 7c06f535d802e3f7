"""The row of the 2014 draft."""

from typing import Final

from blkcrypto.fs.ext4_2014.packet import ROOT_HEADER_BYTES, WRAPPED_PACKET_BYTES
from blkcrypto.fs.key_design import KeyDesign

DESIGNS: Final = (
    KeyDesign(
        name="ext4-2014-multi-user",
        summary="a random key per file, wrapped in an xattr for each of N users; DUN = page index",
        key_types=("raw",),
    ),
)


def on_disk_bytes_per_file(users: int) -> int:
    """Bytes of key material on disk for one file."""
    return ROOT_HEADER_BYTES + WRAPPED_PACKET_BYTES * users
