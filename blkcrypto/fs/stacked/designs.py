"""The rows of the stacked designs."""

from typing import Final

from blkcrypto.fs.key_design import KeyDesign

DESIGNS: Final = (
    KeyDesign(
        name="dm-crypt",
        summary="one key for the device, IV from the sector number, encrypted on the CPU",
        key_types=("raw",),
        dun_bits=64,
        inline_crypto=False,
    ),
    KeyDesign(
        name="dm-inlinecrypt",
        summary="one key for the device, DUN from the sector number, encrypted by the device",
        key_types=("raw", "hw-wrapped"),
        dun_bits=64,
    ),
    KeyDesign(
        name="dm-default-key",
        summary="dm-inlinecrypt for metadata; contents of encrypted files pass with their own keys",
        key_types=("raw", "hw-wrapped"),
        dun_bits=64,
    ),
    KeyDesign(
        name="ecryptfs",
        summary="a random key per file in an 8 KiB header, IV an MD5 of key and extent, CPU only",
        key_types=("raw",),
        inline_crypto=False,
    ),
)
