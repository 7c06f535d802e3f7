"""The rows of the variants, and how to make each."""

from collections.abc import Callable, Mapping
from typing import Final

from blkcrypto.block.fallback import Fallback
from blkcrypto.fs.key_design import KeyDesign
from blkcrypto.fs.keysetup_io.always_blk_crypto import AlwaysBlkCrypto
from blkcrypto.fs.keysetup_io.cached_pool import CachedPool
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.extent_io import KeySetupVariant, OnCpu
from blkcrypto.fs.keysetup_io.pools import GlobalPool, PoolPerFile
from blkcrypto.fs.keysetup_io.without_pool import AllAtOpen, FullSetupAtIo

Maker = Callable[[ContextChecker, Fallback, OnCpu], KeySetupVariant]


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

MAKERS: Final[Mapping[str, Maker]] = {
    "key-setup-v1": lambda checker, _fallback, on_cpu: FullSetupAtIo(checker, on_cpu),
    "key-setup-v2": lambda checker, _fallback, on_cpu: AllAtOpen(checker, on_cpu),
    "key-setup-v3": lambda checker, _fallback, on_cpu: PoolPerFile(checker, on_cpu),
    "key-setup-v4": lambda checker, _fallback, on_cpu: GlobalPool(checker, on_cpu),
    "key-setup-v5": lambda checker, _fallback, on_cpu: CachedPool(checker, on_cpu),
    "key-setup-v6": lambda checker, fallback, on_cpu: AlwaysBlkCrypto(checker, fallback, on_cpu),
}
