"""A small filesystem with extents for each design, on a device that keeps a log of keys and IVs."""

import numpy as np
import pytest

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.fs.attacker import KeyUse
from blkcrypto.fs.extents.designs import EXTENT_DESIGNS, ExtentDesign
from blkcrypto.fs.extents.items import BLOCK_BYTES, EXTENT_DATA, FileExtent
from blkcrypto.fs.extents.subject import ExtentSubject
from blkcrypto.fs.store import SoftwareStore
from tests.fscrypt_world import RAW

DESIGNS = tuple(EXTENT_DESIGNS.values())
BLOCK = BLOCK_BYTES

every_design = pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)


class LoggingStore(SoftwareStore):
    """A store that notes what was encrypted under which key and DUN."""

    def __init__(self, block_size: int) -> None:
        super().__init__(block_size)
        self.log: list[KeyUse] = []
        self.bios: list[tuple[BioCryptCtx | None, int, int]] = []

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        self.bios.append((ctx, block, len(data) // BLOCK))
        if ctx is not None:
            for index in range(len(data) // BLOCK):
                part = data[index * BLOCK : (index + 1) * BLOCK]
                self.log.append(KeyUse.of(ctx.key.raw, ctx.dun + index, part, block + index))
        super().write(ctx, block, data)


class World(ExtentSubject):
    """A subject whose store logs."""

    def __init__(
        self,
        design: ExtentDesign,
        *,
        seed: int = 1,
        store: SoftwareStore | None = None,
        max_extent_bytes: int = 8 * BLOCK,
        raw: bytes = RAW,
        device_blocks: int = 1 << 32,
    ) -> None:
        self.logging = LoggingStore(BLOCK)
        super().__init__(
            design,
            raw,
            np.random.default_rng(seed),
            store=self.logging if store is None else store,
            max_extent_bytes=max_extent_bytes,
            device_blocks=device_blocks,
        )
        self.add_key()


def items_of(world: ExtentSubject, path: str) -> list[tuple[int, FileExtent]]:
    """File offset and item of each file extent."""
    file = world.open(path)
    file.close()
    inode = file.inode
    walk = inode.subvolume.tree.walk((inode.ino, EXTENT_DATA, 0), (inode.ino, EXTENT_DATA + 1, 0))
    return [(key[2], item) for key, item in walk if isinstance(item, FileExtent)]


def blocks(first: int, count: int) -> bytes:
    """``count`` blocks of text, each its own."""
    return b"".join(f"block {first + index} ".encode().ljust(16, b".") * 256 for index in range(count))
