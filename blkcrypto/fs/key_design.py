"""One row per key design that is compared: what ``list designs`` shows of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDesign:
    """A way to decide key and IV of file contents.

    Attributes:
        name: what a scenario calls it.
        summary: one line for people.
        key_types: types of the keys it takes: ``raw``, ``hw-wrapped``; empty when it has no master key.
        dun_bits: bits of DUN it uses; 0 when that follows from the largest file, or no DUN is used.
        inline_crypto: whether contents can be encrypted by the device.
    """

    name: str
    summary: str
    key_types: tuple[str, ...]
    dun_bits: int = 0
    inline_crypto: bool = True
