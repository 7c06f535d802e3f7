"""The rows of authenticated contents.  No placement can use inline crypto: hardware gives no tags."""

from typing import Final

from blkcrypto.fs.key_design import KeyDesign


def _row(name: str, summary: str) -> KeyDesign:
    return KeyDesign(name=name, summary=summary, key_types=("raw",), inline_crypto=False)


DESIGNS: Final = (
    _row("aead-table", "AES-256-GCM per unit, tags in a table on the same device, written in place"),
    _row(
        "aead-integrity", "AES-256-GCM per sector under one key, tags on an integrity device with a journal"
    ),
    _row("aead-tree-unit", "AES-256-GCM per unit, tags in a copy-on-write checksum tree"),
    _row("aead-tree-extent", "AES-256-GCM per extent with a key each, tags in a copy-on-write checksum tree"),
)
