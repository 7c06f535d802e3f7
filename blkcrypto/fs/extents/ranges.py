"""File extent items by file range: find, cut out, put in.

Each touches O(log n) nodes of the tree for every item it meets.
"""

from collections.abc import Iterator

from blkcrypto.fs.extents.items import END_OF_FILE, EXTENT_DATA, FileExtent
from blkcrypto.fs.extents.tree import Tree

# File offset and item.
Mapped = tuple[int, FileExtent]
# An item that was cut, and what stays of it.
Cut = tuple[FileExtent, tuple[FileExtent, ...]]


def item_at(tree: Tree, ino: int, pos: int) -> Mapped | None:
    """The item that covers byte ``pos``; None in a hole."""
    found = tree.floor((ino, EXTENT_DATA, pos))
    if found is None:
        return None
    (owner, kind, start), item = found
    if (owner, kind) != (ino, EXTENT_DATA) or not isinstance(item, FileExtent):
        return None
    return (start, item) if pos < start + item.length else None


def items_in(tree: Tree, ino: int, start: int, end: int) -> Iterator[Mapped]:
    """Items that overlap bytes ``start`` to ``end``, in order; the tree must not change meanwhile."""
    first = item_at(tree, ino, start)
    begin = start if first is None else first[0]
    for key, item in tree.walk((ino, EXTENT_DATA, begin), (ino, EXTENT_DATA, end)):
        if isinstance(item, FileExtent):
            yield key[2], item


def next_start(tree: Tree, ino: int, pos: int) -> int:
    """Where the first item after byte ``pos`` begins: the end of the hole at ``pos``."""
    for key, _ in tree.walk((ino, EXTENT_DATA, pos), (ino, EXTENT_DATA, END_OF_FILE)):
        return key[2]
    return END_OF_FILE


def cut(tree: Tree, ino: int, start: int, end: int) -> list[Cut]:
    """Make a hole of bytes ``start`` to ``end``; what stays of items at its edges keeps extent and context.

    Returns:
        The items that were cut, each with what stays of it.
    """
    done: list[Cut] = []
    for begin, item in list(items_in(tree, ino, start, end)):
        after = begin + item.length
        # The parts go in first: the extent must not lose its last item in between.
        parts = []
        if begin < start:
            parts.append((begin, item.part(0, start - begin)))
        if end < after:
            parts.append((end, item.part(end - begin, after - end)))
        for at, part in parts:
            tree.put((ino, EXTENT_DATA, at), part)
        if begin >= start:
            tree.pop((ino, EXTENT_DATA, begin))
        done.append((item, tuple(part for _, part in parts)))
    return done


def put(tree: Tree, ino: int, pos: int, item: FileExtent) -> list[Cut]:
    """Map ``item`` at byte ``pos``, in place of whatever was there; returns the items that were cut."""
    # Keeps the extent alive when the range it replaces was the last to refer to it.
    item.acquire()
    gone = cut(tree, ino, pos, pos + item.length)
    tree.put((ino, EXTENT_DATA, pos), item)
    item.release()
    return gone
