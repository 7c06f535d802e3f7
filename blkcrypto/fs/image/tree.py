"""Directories and symlinks of an image as Linux shows them, with the keys at hand or without.

Rules (fs/crypto/fname.c, hooks.c, policy.c; fs/ext4/dir.c; reference fscrypt.md sections 1.5, 4):

- A directory whose key is there lists plaintext names; else no-key names, which hold the hash by which
  Linux orders the directory, and the ciphertext.
- An inode that does not have the policy of its encrypted directory is listed, but not opened: EPERM.
- Contents need their key: ENOKEY.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.dirhash import Ext4HashVersion, ext4_hash
from blkcrypto.fs.ext4.directory import DirEntry
from blkcrypto.fs.ext4.inode import Inode
from blkcrypto.fs.ext4.volume import ROOT_INO, Ext4Volume
from blkcrypto.fs.fscrypt.casefold import casefold
from blkcrypto.fs.fscrypt.inherit import InodeKind, InodePolicy, Unreadable, check_found
from blkcrypto.fs.fscrypt.names import MIN_CIPHERTEXT_BYTES, CiphertextTooShort, NameCipher, split_symlink
from blkcrypto.fs.fscrypt.nokey import NokeyName
from blkcrypto.fs.fscrypt.policy import Context, ContextUnrecognised, parse_context
from blkcrypto.fs.image.contents import FileContents
from blkcrypto.fs.image.keys import ImageKeys
from blkcrypto.fs.image.unlock import ImageCrypto
from blkcrypto.fs.smallfs.errors import IsADirectory, KeyRequired, NoEntry, NotADirectory

# PATH_MAX holds that many names of one letter: no program could name what lies deeper.
MAX_DEPTH: Final = 2048
_UNSIGNED_HASHES: Final = range(3, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An inode under one of its names.

    Attributes:
        inode: the inode.
        name: as listed; empty for the root.
        stored_name: as it lies in the directory.
        parent: directory it was found in; None for the root.
        depth: directories above it.
        stored_context: encryption context as stored; None for an inode not encrypted.
    """

    inode: Inode
    name: bytes
    stored_name: bytes
    parent: "Node | None"
    depth: int
    stored_context: bytes | None

    @property
    def path(self) -> bytes:
        """From the root of the filesystem, as listed."""
        names = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            names.append(node.name)
            node = node.parent
        return b"/" + b"/".join(reversed(names))

    @property
    def context(self) -> Context | None:
        """The context; None for an inode not encrypted, or with a context that says nothing."""
        try:
            return None if self.stored_context is None else parse_context(self.stored_context)
        except ContextUnrecognised:
            return None

    @property
    def policy(self) -> InodePolicy:
        """The policy, as comparisons with a directory's need it."""
        if self.stored_context is None:
            return None
        context = self.context
        return Unreadable.UNREADABLE if context is None else context.policy


class EncryptedImage:
    """A filesystem and the keys at hand.

    Args:
        volume: the filesystem.
        keys: master keys; none at all shows what anyone can see.
    """

    def __init__(self, volume: Ext4Volume, keys: ImageKeys | None = None) -> None:
        self.volume = volume
        self.crypto = ImageCrypto(volume.superblock, ImageKeys() if keys is None else keys)
        self.root = self._node(ROOT_INO, b"", b"", None)
        if self.root.inode.kind is not InodeKind.DIRECTORY:
            self.fail(self.root, "the root is no directory")

    def children(self, node: Node) -> Iterator[Node]:
        """What a directory holds, sorted by name.

        Raises:
            NotADirectory: ENOTDIR.
            InconsistentPolicy: EPERM.
            BadInput: damage.
        """
        for name, entry in sorted(self.listed(node), key=lambda found: found[0]):
            yield self.child(node, name, entry)

    def listed(self, node: Node) -> Iterator[tuple[bytes, DirEntry]]:
        """Names in a directory as listed, in its own order, and their entries; raises as ``children``."""
        if node.inode.kind is not InodeKind.DIRECTORY:
            raise NotADirectory(f"{_shown(node)} is no directory")
        self._check_found(node)
        if node.stored_context is None:
            for entry in self.volume.entries(node.inode):
                yield entry.name, entry
            return
        names = self.names(node)
        version = self.volume.hash_version(node.inode) if names is None else None
        for entry in self.volume.entries(node.inode):
            if len(entry.name) < MIN_CIPHERTEXT_BYTES:
                self.fail(node, f"an encrypted name of {len(entry.name)} bytes")
            if names is None:
                nokey = NokeyName.of(entry.name, *self._hashes(node, entry, version))
                yield nokey.encode().encode(), entry
                continue
            name = names.decrypt(entry.name)
            if not name or b"/" in name:
                self.fail(
                    node, "a name decrypts to an impossible one: the wrong key for a descriptor, or damage"
                )
            yield name, entry

    def child(self, node: Node, name: bytes, entry: DirEntry) -> Node:
        """The inode of an entry that ``listed`` told.

        Raises:
            BadInput: damage.
        """
        return self._node(entry.ino, name, entry.name, node)

    def walk(self, top: Node) -> Iterator[Node]:
        """``top`` and all below it, directories before what they hold.

        Raises:
            BadInput: damage; also a directory that has two names, which could go round in circles.
        """
        seen: set[int] = set()
        stack = [iter((top,))]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            yield node
            if node.inode.kind is not InodeKind.DIRECTORY:
                continue
            if node.inode.ino in seen:
                self.fail(node, "a directory that has two names")
            seen.add(node.inode.ino)
            stack.append(self.children(node))

    def find(self, path: bytes) -> Node:
        """The inode at ``path``, spelt as listed; symlinks are not followed.

        Raises:
            NoEntry: ENOENT.
            NotADirectory: ENOTDIR.
        """
        node = self.root
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            node = (node.parent or node) if name == b".." else self._found(node, name)
        return node

    def names(self, node: Node) -> NameCipher | None:
        """Cipher of a directory's names or a symlink's target; None without key, or for one not encrypted."""
        return None if node.stored_context is None else self.crypto.names(node.inode, node.stored_context)

    def is_locked(self, node: Node) -> bool:
        """Whether an inode is encrypted and its key is not here."""
        return node.stored_context is not None and not self.crypto.has_key(node.inode, node.stored_context)

    def target(self, node: Node) -> bytes:
        """Target of a symlink: plaintext, or without its key the no-key form.

        Raises:
            InconsistentPolicy: EPERM.
            BadInput: damage.
        """
        self._check_found(node)
        stored = self.volume.symlink(node.inode)
        if node.stored_context is None:
            return stored
        try:
            ciphertext = split_symlink(stored)
            names = self.names(node)
            if names is not None:
                return names.decrypt(ciphertext)
        except CiphertextTooShort as error:
            self.fail(node, str(error))
        return NokeyName.of(ciphertext).encode().encode()

    def contents(self, node: Node) -> FileContents:
        """A regular file's contents.

        Raises:
            IsADirectory: EISDIR.
            KeyRequired: ENOKEY.
            InconsistentPolicy: EPERM.
            ContextUnrecognised, UnsupportedPolicy: EINVAL.
            BadInput: no regular file; damage.
        """
        kind = node.inode.kind
        if kind is InodeKind.DIRECTORY:
            raise IsADirectory(f"{_shown(node)} is a directory")
        if kind is not InodeKind.REGULAR:
            self.fail(node, f"is a {kind.value}: only regular files have contents")
        self._check_found(node)
        if node.stored_context is None:
            return FileContents(self.volume, node.inode, None)
        units = self.crypto.contents(node.inode, node.stored_context)
        if units is None:
            raise KeyRequired(f"{_shown(node)} needs {wanted_key(node)}")
        return FileContents(self.volume, node.inode, units)

    def fail(self, node: Node, what: str) -> NoReturn:
        """Raise ``BadInput`` about an inode."""
        raise BadInput(what, where=f"{self.volume.name}: inode {node.inode.ino}")

    def _found(self, node: Node, name: bytes) -> Node:
        locked = self.is_locked(node)
        folds = node.inode.is_casefolded and not locked
        folded = casefold(name)
        for listed, entry in self.listed(node):
            if listed == name or (folds and casefold(listed) == folded):
                return self.child(node, listed, entry)
        hint = f"; the directory is locked: give {wanted_key(node)}, or the no-key name" if locked else ""
        raise NoEntry(f"{_shown(node)} has no {name.decode('utf-8', 'backslashreplace')!r}{hint}")

    def _hashes(self, node: Node, entry: DirEntry, version: int | None) -> tuple[int, int]:
        """Hashes that Linux puts into a no-key name; zeroes where it lists without a hash order."""
        if entry.hashes is not None:
            return entry.hashes
        if version is None:
            return 0, 0
        sb = self.volume.superblock
        signed = sb.hash_signed and version not in _UNSIGNED_HASHES
        base = version - _UNSIGNED_HASHES.start if version in _UNSIGNED_HASHES else version
        if base not in (Ext4HashVersion.HALF_MD4, Ext4HashVersion.TEA):
            self.fail(node, f"a directory ordered by hash version {version}, which is not known here")
        return ext4_hash(entry.name, Ext4HashVersion(base), sb.hash_seed, signed=signed)

    def _node(self, ino: int, name: bytes, stored_name: bytes, parent: Node | None) -> Node:
        inode = self.volume.inode(ino)
        depth = 0 if parent is None else parent.depth + 1
        where = f"{self.volume.name}: inode {ino}"
        if not inode.mode or not inode.links:
            raise BadInput("is named, but not in use", where=where)
        if depth > MAX_DEPTH:
            raise BadInput(f"lies deeper than {MAX_DEPTH} directories", where=where)
        context = None if inode.kind is InodeKind.SPECIAL else self.volume.context(inode)
        return Node(inode, name, stored_name, parent, depth, context)

    def _check_found(self, node: Node) -> None:
        if node.parent is not None:
            check_found(node.parent.policy, node.policy, node.inode.kind)


def wanted_key(node: Node) -> str:
    """The key that would unlock an inode, in words."""
    context = node.context
    if context is None:
        return "a newer tool: its encryption context is not known"
    kind = "identifier" if context.policy.version == 2 else "descriptor"
    return f"the key of {kind} {context.policy.master_key.hex()}"


def _shown(node: Node) -> str:
    return node.path.decode("utf-8", "backslashreplace")
