"""The rows of the variants."""

from typing import Final

from blkcrypto.fs.key_design import KeyDesign


def _row(name: str, summary: str, *, inline_crypto: bool = False) -> KeyDesign:
    return KeyDesign(
        name=f"key-setup-{name}", summary=summary, key_types=("raw",), inline_crypto=inline_crypto
    )


DESIGNS: Final = (
    _row("v1", "per-extent keys set up in full at every I/O"),
    _row("v2", "per-extent keys all set up when the file is opened"),
    _row("v3", "per-extent keys set into a pool of 128 transforms per open file"),
    _row("v4", "per-extent keys set into one pool of transforms per mode"),
    _row("v5", "the pool of v4, its transforms found again by (master key, nonce, mode)"),
    _row("v6", "per-extent keys always given to blk-crypto", inline_crypto=True),
)
