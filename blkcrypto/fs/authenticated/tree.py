"""Seals that are written to new places, their entries in a checksum tree under an authenticated root.

Rules:

- A leaf has, per seal, its block, a CRC-32 of the ciphertext and the entry.  An inner node has its children's
  blocks and SHA-256.  The superblock has the root's block and hash, a generation, and an HMAC of all that.
- A write puts data in free blocks, then copies of the nodes from leaf to root, then the superblock: one
  block, the commit.  What was there before stays until then.
- Hashes and CRCs are unkeyed, so that a scrub needs no key; an attacker can recompute all of them, but not
  the superblock's HMAC.
- The root's HMAC vouches for entries, not for data: an entry that is only a checksum can be kept while the
  data changes, so contents need tags (or a strong hash) all the same.
- An old image as a whole is consistent: only a generation kept elsewhere tells it from the newest.

Source: reference fscrypt.md section 8.5.  The format is ours.
"""

import hashlib
import hmac
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from blkcrypto.fs.authenticated.medium import BLOCK_BYTES, BlockMedium
from blkcrypto.fs.authenticated.seal import AuthenticationFailed, Sealer

_SUPER = struct.Struct("<8sQIB32s")
_LEAF = struct.Struct("<II")
_INNER = struct.Struct("<I32s")
_MAGIC: Final = b"sealtree"
_MAC_BYTES: Final = 32
_FANOUT: Final = BLOCK_BYTES // _INNER.size


class MediumFull(ValueError):
    """No free block: copying on write needs room."""


def _hash(node: bytes) -> bytes:
    return hashlib.sha256(node).digest()


def nodes_for(seals: int, entry_bytes: int) -> int:
    """Most nodes of a tree of so many seals with entries of ``entry_bytes``."""
    level = -(-seals // (BLOCK_BYTES // (_LEAF.size + entry_bytes)))
    nodes = level
    while level > 1:
        level = -(-level // _FANOUT)
        nodes += level
    return nodes


@dataclass(slots=True)
class _Change:
    """One write under way: new leaf slots by index, blocks taken, blocks no longer needed."""

    slots: dict[int, bytes] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)
    freed: set[int] = field(default_factory=set)


class TreeStore:
    """Sealed blocks on a medium.

    Args:
        medium: formatted by ``TreeStore.mkfs``.
        sealer: encrypts.
        seals: how many, as formatted.
        mac_key: authenticates the superblock.
        seal_blocks: blocks per seal.
        owner: what the data belongs to; associated data.
        least_generation: kept where an attacker cannot write; an older image is refused.

    Raises:
        AuthenticationFailed: the superblock is not authentic, or too old (EILSEQ).
    """

    keyless_scrub = True

    def __init__(
        self,
        medium: BlockMedium,
        sealer: Sealer,
        seals: int,
        mac_key: bytes,
        *,
        seal_blocks: int = 1,
        owner: bytes = bytes(16),
        least_generation: int = 0,
    ) -> None:
        self.medium = medium
        self.sealer = sealer
        self.seals = seals
        self.seal_blocks = seal_blocks
        self._mac_key = mac_key
        self._owner = owner
        self._slot = _LEAF.size + sealer.entry_bytes
        self._per_leaf = BLOCK_BYTES // self._slot
        self.height = self._height_for(seals)
        self.generation, self._root, self._root_hash = self._load_super(least_generation)
        self._used = set(self._reachable())
        self._next = 1

    def _height_for(self, seals: int) -> int:
        """Levels of inner nodes."""
        height, reach = 0, self._per_leaf
        while reach < seals:
            height, reach = height + 1, reach * _FANOUT
        return height

    @staticmethod
    def mkfs(medium: BlockMedium, mac_key: bytes) -> None:
        """An empty tree: every seal is a hole of zeroes."""
        head = _SUPER.pack(_MAGIC, 0, 0, 0, bytes(32))
        medium.write(0, head + hmac.new(mac_key, head, hashlib.sha256).digest())

    def _load_super(self, least_generation: int) -> tuple[int, int, bytes]:
        data = self.medium.read(0)
        head, mac = data[: _SUPER.size], data[_SUPER.size : _SUPER.size + _MAC_BYTES]
        if not hmac.compare_digest(mac, hmac.new(self._mac_key, head, hashlib.sha256).digest()):
            raise AuthenticationFailed("the superblock is not authentic")
        _, generation, root, _, root_hash = _SUPER.unpack(head)
        if generation < least_generation:
            raise AuthenticationFailed(
                f"generation {generation} is older than {least_generation}: the whole image was put back"
            )
        return generation, root, root_hash

    def _node(self, block: int, expected: bytes) -> bytes:
        node = self.medium.read(block) if block else bytes(BLOCK_BYTES)
        if block and _hash(node) != expected:
            raise AuthenticationFailed(f"node {block} does not fit its parent")
        return node

    def _path(self, index: int) -> Iterator[tuple[int, int]]:
        """From the root down: level, and slot in the node of that level."""
        for level in range(self.height, 0, -1):
            yield level, index // (self._per_leaf * _FANOUT ** (level - 1)) % _FANOUT

    def _leaf(self, index: int) -> bytes:
        block, expected = self._root, self._root_hash
        for _, slot in self._path(index):
            block, expected = _INNER.unpack_from(self._node(block, expected), slot * _INNER.size)
        return self._node(block, expected)

    def read(self, index: int) -> bytes:
        """One seal; a hole is zeroes.

        Raises:
            AuthenticationFailed: EILSEQ.
            SealKeyMissing: ENOKEY.
        """
        at = index % self._per_leaf * self._slot
        leaf = self._leaf(index)
        block, _ = _LEAF.unpack_from(leaf, at)
        if not block:
            return bytes(self.seal_blocks * BLOCK_BYTES)
        stored = self.medium.read(block, self.seal_blocks)
        return self.sealer.unseal(self._owner, index, leaf[at + _LEAF.size : at + self._slot], stored)

    def write(self, first: int, data: bytes) -> None:
        """Write whole seals from index ``first`` on: all of them or, if power is lost, none.

        Raises:
            AuthenticationFailed: a node on the way is not authentic (EILSEQ).
            SealKeyMissing: ENOKEY.
            TooManySeals: EOVERFLOW.
            MediumFull: no room for a copy.
            PowerLost: by the medium.
        """
        size = self.seal_blocks * BLOCK_BYTES
        change = _Change()
        for at in range(0, len(data), size):
            index = first + at // size
            entry, stored = self.sealer.seal(self._owner, index, data[at : at + size])
            block = self._allocate(self.seal_blocks, change)
            self.medium.write(block, stored)
            change.slots[index] = _LEAF.pack(block, zlib.crc32(stored)) + entry
        root, root_hash = self._copy(self.height, self._root, self._root_hash, 0, list(change.slots), change)
        head = _SUPER.pack(_MAGIC, self.generation + 1, root, self.height, root_hash)
        self.medium.write(0, head + hmac.new(self._mac_key, head, hashlib.sha256).digest())
        self.generation, self._root, self._root_hash = self.generation + 1, root, root_hash
        self._used |= change.fresh
        self._used -= change.freed

    def _copy(
        self, level: int, block: int, expected: bytes, base: int, indices: Sequence[int], change: _Change
    ) -> tuple[int, bytes]:
        """Copy the node at ``block``, changed below at ``indices``; its new block and hash."""
        node = bytearray(self._node(block, expected))
        change.freed.add(block)
        if level == 0:
            for index in indices:
                at = (index - base) * self._slot
                old, _ = _LEAF.unpack_from(node, at)
                change.freed.update(range(old, old + self.seal_blocks) if old else ())
                node[at : at + self._slot] = change.slots[index]
        else:
            span = self._per_leaf * _FANOUT ** (level - 1)
            for child, group in itertools.groupby(indices, lambda index: (index - base) // span):
                at = child * _INNER.size
                below = _INNER.unpack_from(node, at)
                new = self._copy(level - 1, below[0], below[1], base + child * span, tuple(group), change)
                _INNER.pack_into(node, at, *new)
        place = self._allocate(1, change)
        self.medium.write(place, bytes(node))
        return place, _hash(bytes(node))

    def _allocate(self, count: int, change: _Change) -> int:
        """A run of free blocks, looked for from where the last one ended."""
        for start in (self._next, 1):
            run = 0
            for block in range(start, self.medium.blocks):
                run = 0 if block in self._used or block in change.fresh else run + 1
                if run == count:
                    change.fresh.update(range(block - count + 1, block + 1))
                    self._next = block + 1
                    return block - count + 1
        raise MediumFull(f"no {count} free blocks: use a larger medium")

    def _reachable(self) -> Iterator[int]:
        """Blocks the newest tree uses, read as they are: reads check hashes, this does not."""
        for block, level in self._nodes():
            yield block
            if level == 0:
                for data, _, _ in self._leaf_slots(block):
                    yield from range(data, data + self.seal_blocks)

    def _nodes(self) -> Iterator[tuple[int, int]]:
        todo = [(self._root, self.height)] if self._root else []
        while todo:
            block, level = todo.pop()
            yield block, level
            if level:
                node = self._raw(block)
                children = (_INNER.unpack_from(node, at * _INNER.size)[0] for at in range(_FANOUT))
                todo.extend((child, level - 1) for child in children if 0 < child < self.medium.blocks)

    def _raw(self, block: int) -> bytes:
        return bytes(self.medium.data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])

    def _leaf_slots(self, block: int) -> Iterator[tuple[int, int, bytes]]:
        """Block, CRC and entry of each seal in a leaf."""
        leaf = self._raw(block)
        for at in range(0, self._per_leaf * self._slot, self._slot):
            data, crc = _LEAF.unpack_from(leaf, at)
            if data:
                yield data, crc, leaf[at + _LEAF.size : at + self._slot]

    def scrub(self) -> list[int]:
        """Blocks whose unkeyed hash or CRC does not fit; no key is needed."""
        bad = []
        todo = [(self._root, self._root_hash, self.height)] if self._root else []
        while todo:
            block, expected, level = todo.pop()
            node = self._raw(block)
            if _hash(node) != expected:
                bad.append(block)
            elif level:
                children = (_INNER.unpack_from(node, at * _INNER.size) for at in range(_FANOUT))
                todo.extend((child, digest, level - 1) for child, digest in children if child)
            else:
                start = BLOCK_BYTES
                for data, crc, _ in self._leaf_slots(block):
                    size = self.seal_blocks * start
                    if zlib.crc32(self.medium.data[data * start : data * start + size]) != crc:
                        bad.append(data)
        return sorted(bad)

    def data_offset(self, index: int) -> int:
        """Where a seal's ciphertext begins on the medium, in bytes; the seal must have been written."""
        leaf_block, _ = self._attackers_path(index)[-1]
        data, _ = _LEAF.unpack_from(self._raw(leaf_block), index % self._per_leaf * self._slot)
        return int(data) * BLOCK_BYTES

    def extract(self, index: int) -> tuple[bytes, bytes]:
        """What an attacker copies: entry and ciphertext; the seal must have been written."""
        leaf_block, _ = self._attackers_path(index)[-1]
        at = index % self._per_leaf * self._slot
        leaf = self._raw(leaf_block)
        start = self.data_offset(index)
        stored = bytes(self.medium.data[start : start + self.seal_blocks * BLOCK_BYTES])
        return leaf[at + _LEAF.size : at + self._slot], stored

    def _attackers_path(self, index: int) -> list[tuple[int, int]]:
        """Blocks of the nodes from root to leaf, each with its slot in the parent."""
        block, found = self._root, [(self._root, 0)]
        for _, slot in self._path(index):
            block, _ = _INNER.unpack_from(self._raw(block), slot * _INNER.size)
            found.append((block, slot))
        return found

    def implant(self, index: int, entry: bytes, stored: bytes) -> None:
        """What an attacker writes: data, entry, and every unkeyed checksum up to the root made to fit.

        The root's own hash is under the superblock's HMAC and stays.
        """
        path = self._attackers_path(index)
        leaf_block, _ = path[-1]
        at = index % self._per_leaf * self._slot
        data, _ = _LEAF.unpack_from(self._raw(leaf_block), at)
        image = self.medium.data
        image[data * BLOCK_BYTES : data * BLOCK_BYTES + len(stored)] = stored
        place = leaf_block * BLOCK_BYTES + at
        image[place : place + self._slot] = _LEAF.pack(data, zlib.crc32(stored)) + entry
        for (parent, _), (child, slot) in zip(path[-2::-1], path[:0:-1], strict=True):
            _INNER.pack_into(image, parent * BLOCK_BYTES + slot * _INNER.size, child, _hash(self._raw(child)))
