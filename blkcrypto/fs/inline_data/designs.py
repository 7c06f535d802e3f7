"""The rows of the alternatives."""

from typing import Final

from blkcrypto.fs.key_design import KeyDesign

DESIGNS: Final = (
    KeyDesign(
        name="inline-data-a0",
        summary="encrypted files have no inline data",
        key_types=("raw", "hw-wrapped"),
        dun_bits=64,
    ),
    KeyDesign(
        name="inline-data-a1",
        summary="inline data under the contents key as a second cipher, set up at first use (as posted)",
        key_types=("raw",),
        dun_bits=64,
    ),
    KeyDesign(
        name="inline-data-a2",
        summary="as a1, both forms of the key set up when the file is opened",
        key_types=("raw",),
        dun_bits=64,
    ),
    KeyDesign(
        name="inline-data-a3",
        summary="inline data under a per-file key with IV 0, whatever the policy's flags",
        key_types=("raw",),
        dun_bits=64,
    ),
    KeyDesign(
        name="inline-data-a4",
        summary="as a3, also for hardware-wrapped keys, by their software secret",
        key_types=("raw", "hw-wrapped"),
        dun_bits=64,
    ),
)
