"""How to make each of the variants."""

from collections.abc import Callable, Mapping
from typing import Final

from blkcrypto.block.fallback import Fallback
from blkcrypto.fs.keysetup_io.always_blk_crypto import AlwaysBlkCrypto
from blkcrypto.fs.keysetup_io.cached_pool import CachedPool
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.extent_io import KeySetupVariant, OnCpu
from blkcrypto.fs.keysetup_io.pools import GlobalPool, PoolPerFile
from blkcrypto.fs.keysetup_io.without_pool import AllAtOpen, FullSetupAtIo

Maker = Callable[[ContextChecker, Fallback, OnCpu], KeySetupVariant]

MAKERS: Final[Mapping[str, Maker]] = {
    "key-setup-v1": lambda checker, _fallback, on_cpu: FullSetupAtIo(checker, on_cpu),
    "key-setup-v2": lambda checker, _fallback, on_cpu: AllAtOpen(checker, on_cpu),
    "key-setup-v3": lambda checker, _fallback, on_cpu: PoolPerFile(checker, on_cpu),
    "key-setup-v4": lambda checker, _fallback, on_cpu: GlobalPool(checker, on_cpu),
    "key-setup-v5": lambda checker, _fallback, on_cpu: CachedPool(checker, on_cpu),
    "key-setup-v6": lambda checker, fallback, on_cpu: AlwaysBlkCrypto(checker, fallback, on_cpu),
}
