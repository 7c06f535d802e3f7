"""A sorted map whose copies share what they have in common: a filesystem tree with snapshots.

Rules:

- ``snapshot`` costs one reference, whatever the tree's size; a change then copies the nodes on its path only.
- A node used by one parent is changed in place; a shared one is copied, and its children gain a parent.
- A value counts the nodes that hold it (``acquire``/``release``), so what no tree holds any more is known at
  once: btrfs counts references to tree blocks and extents in the same way.
- Balance comes from a treap: a node's priority is its key's hash, so the shape depends on the keys alone.

Every operation takes O(log n) steps.
"""

from collections.abc import Iterator
from typing import Final, Protocol

# objectid, item type, offset: struct btrfs_key.
Key = tuple[int, int, int]

_MIX: Final = 0x9E3779B97F4A7C15


class Value(Protocol):
    """What a tree stores."""

    def acquire(self) -> None:
        """One more node holds it."""

    def release(self) -> None:
        """One node less holds it."""


class _Node:
    __slots__ = ("key", "left", "priority", "refs", "right", "value")

    def __init__(self, key: Key, value: Value) -> None:
        self.key = key
        self.value = value
        self.priority = hash((key, _MIX))
        self.left: _Node | None = None
        self.right: _Node | None = None
        self.refs = 1


def _own(node: _Node) -> _Node:
    """The node, or a copy that only the caller's parent uses."""
    if node.refs == 1:
        return node
    node.refs -= 1
    copy = _Node(node.key, node.value)
    copy.left, copy.right = node.left, node.right
    for child in (node.left, node.right):
        if child is not None:
            child.refs += 1
    node.value.acquire()
    return copy


def _insert(node: _Node | None, key: Key, value: Value) -> _Node:
    if node is None:
        value.acquire()
        return _Node(key, value)
    node = _own(node)
    if key == node.key:
        value.acquire()
        node.value.release()
        node.value = value
    elif key < node.key:
        left = node.left = _insert(node.left, key, value)
        if left.priority > node.priority:
            node.left, left.right = left.right, node
            return left
    else:
        right = node.right = _insert(node.right, key, value)
        if right.priority > node.priority:
            node.right, right.left = right.left, node
            return right
    return node


def _merge(left: _Node | None, right: _Node | None) -> _Node | None:
    if left is None:
        return right
    if right is None:
        return left
    if left.priority > right.priority:
        left = _own(left)
        left.right = _merge(left.right, right)
        return left
    right = _own(right)
    right.left = _merge(left, right.left)
    return right


def _delete(node: _Node, key: Key) -> _Node | None:
    """Without ``key``, which is there."""
    node = _own(node)
    if key == node.key:
        node.value.release()
        return _merge(node.left, node.right)
    if key < node.key:
        assert node.left is not None
        node.left = _delete(node.left, key)
    else:
        assert node.right is not None
        node.right = _delete(node.right, key)
    return node


class Tree:
    """The map of one subvolume."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node | None = None

    def snapshot(self) -> "Tree":
        """Another tree with the same contents."""
        copy = Tree()
        copy._root = self._root
        if self._root is not None:
            self._root.refs += 1
        return copy

    def get(self, key: Key) -> Value | None:
        """What is at ``key``."""
        node = self._root
        while node is not None and node.key != key:
            node = node.left if key < node.key else node.right
        return None if node is None else node.value

    def floor(self, key: Key) -> tuple[Key, Value] | None:
        """The last entry at or before ``key``."""
        node, best = self._root, None
        while node is not None:
            if node.key <= key:
                best = node
                node = node.right
            else:
                node = node.left
        return None if best is None else (best.key, best.value)

    def put(self, key: Key, value: Value) -> None:
        """Insert or replace."""
        self._root = _insert(self._root, key, value)

    def pop(self, key: Key) -> None:
        """Delete.

        Raises:
            KeyError: nothing is there.
        """
        if self._root is None or self.get(key) is None:
            raise KeyError(key)
        self._root = _delete(self._root, key)

    def walk(self, first: Key, end: Key) -> Iterator[tuple[Key, Value]]:
        """Entries from ``first`` on, before ``end``, in order; the tree must not change meanwhile."""
        stack: list[_Node] = []
        node = self._root
        while node is not None or stack:
            while node is not None:
                if node.key >= first:
                    stack.append(node)
                    node = node.left
                else:
                    node = node.right
            if not stack:
                return
            node = stack.pop()
            if node.key >= end:
                return
            yield node.key, node.value
            node = node.right

    def drop(self) -> None:
        """Delete the whole tree; what no other tree shares is released."""
        stack = [self._root]
        self._root = None
        while stack:
            node = stack.pop()
            if node is None:
                continue
            node.refs -= 1
            if not node.refs:
                node.value.release()
                stack += (node.left, node.right)
