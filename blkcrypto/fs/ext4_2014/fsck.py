"""Checking a volume without any key: all metadata is in clear."""

from collections import Counter
from collections.abc import Iterator

from blkcrypto.fs.ext4_2014 import packet
from blkcrypto.fs.ext4_2014.layout import ROOT_INO, XATTR_ROOM, Inode, Layout


def fsck(medium: bytearray) -> list[str]:
    """What is wrong with the filesystem on ``medium``; empty when nothing is.

    Raises:
        LayoutInvalid: there is none.
    """
    layout = Layout(medium)
    inodes = [inode for ino in range(layout.inodes) if (inode := layout.load(ino)) is not None]
    return [
        *_wrong_names(layout, {inode.ino for inode in inodes}),
        *(text for inode in inodes for text in _wrong_packets(layout, inode)),
        *_wrong_blocks(layout, inodes),
    ]


def _wrong_names(layout: Layout, used: set[int]) -> Iterator[str]:
    entries = layout.entries()
    for name, ino in entries.items():
        if ino not in used:
            yield f"{name!r} names free inode {ino}"
    for ino in sorted(used - set(entries.values()) - {ROOT_INO}):
        yield f"inode {ino} has no name"


def _wrong_packets(layout: Layout, inode: Inode) -> Iterator[str]:
    if inode.ino == ROOT_INO:
        return
    if not 0 < inode.xattr_block < layout.blocks or inode.xattr_bytes > XATTR_ROOM:
        yield f"inode {inode.ino} has no readable xattr"
        return
    try:
        packet.parse_root(bytes(layout.block(inode.xattr_block)[: inode.xattr_bytes]))
    except packet.PacketInvalid as error:
        yield f"inode {inode.ino}: {error}"


def _wrong_blocks(layout: Layout, inodes: list[Inode]) -> Iterator[str]:
    claims: Counter[int] = Counter(range(layout.first_data_block))
    for inode in inodes:
        claims.update(block for block in (inode.xattr_block, *inode.blocks) if block)
    for block, times in sorted(claims.items()):
        if block >= layout.blocks:
            yield f"block {block} is past the end"
        elif times > 1:
            yield f"block {block} is claimed {times} times"
    for block in range(layout.blocks):
        if layout.is_used(block) != (block in claims):
            yield f"block {block} is {'used' if layout.is_used(block) else 'free'} in the bitmap only"
