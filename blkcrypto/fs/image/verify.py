"""Whether everything in an image decrypts, as far as it can be told without knowing what was written.

Encryption of contents and names carries no authentication.  What shows a wrong key or damage:

- a name is NUL-padded, and encrypts again to exactly what is stored; the same for a symlink's target;
- in a casefolded directory the stored hash is the keyed hash of the name;
- bytes between the end of a file and the end of its last block are zeroes;
- every inode of an encrypted directory has its policy;
- files do not map more blocks than there are.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.fs.ext4.directory import DirEntry
from blkcrypto.fs.ext4.features import RoCompat
from blkcrypto.fs.fscrypt.casefold import casefold_hash
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.names import NameCipher, NameTooLong, encode_symlink
from blkcrypto.fs.image.contents import CHUNK_BYTES, FileContents
from blkcrypto.fs.image.tree import EncryptedImage, Node, wanted_key
from blkcrypto.fs.smallfs.errors import KeyRequired

MAX_PROBLEMS: Final = 1000


@dataclass(slots=True)
class VerifyReport:
    """What was checked, and what is wrong.

    Attributes:
        checked: how many ``directories``, ``names``, ``files``, ``symlinks`` and decrypted ``bytes``.
        locked: encrypted inodes whose key is not here.
        wanted: the keys they need, in words.
        problems: the first thousand, each naming its inode.
        problem_count: all of them.
    """

    checked: Counter[str] = field(default_factory=Counter)
    locked: int = 0
    wanted: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    @property
    def passed(self) -> bool:
        """Whether all could be checked, and nothing is wrong."""
        return not self.problem_count and not self.locked

    def problem(self, what: str) -> None:
        """Add one."""
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(what)

    def lock(self, node: Node) -> None:
        """Count an inode whose key is not here."""
        self.locked += 1
        self.wanted[wanted_key(node)] = None


def verify(image: EncryptedImage, top: Node) -> VerifyReport:
    """Check ``top`` and all below it; damage is a problem of the report, not an exception."""
    return _Verifier(image).run(top)


class _Verifier:
    def __init__(self, image: EncryptedImage) -> None:
        self._image = image
        self._report = VerifyReport()
        self._seen: set[int] = set()
        self._mapped_blocks = 0

    def run(self, top: Node) -> VerifyReport:
        stack = [iter((top,))]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            try:
                if node.inode.kind is InodeKind.DIRECTORY:
                    stack.append(self._directory(node))
                elif node.inode.ino not in self._seen:
                    self._leaf(node)
            except (BadInput, BlkCryptoError) as error:
                self._report.problem(_about(node, str(error)))
        return self._report

    def _directory(self, node: Node) -> Iterator[Node]:
        if node.inode.ino in self._seen:
            self._image.fail(node, "a directory that has two names")
        self._seen.add(node.inode.ino)
        names = self._image.names(node)
        found = sorted(self._image.listed(node), key=lambda entry: entry[0])
        self._report.checked["directories"] += 1
        if node.stored_context is not None and names is None:
            self._report.lock(node)
        elif node.stored_context is not None and names is not None:
            self._check_names(node, names, node.stored_context, found)
        return self._opened(node, found)

    def _opened(self, node: Node, found: list[tuple[bytes, DirEntry]]) -> Iterator[Node]:
        for name, entry in found:
            try:
                child = self._image.child(node, name, entry)
            except BadInput as error:
                self._report.problem(_about(node, str(error)))
                continue
            yield child

    def _check_names(
        self, node: Node, names: NameCipher, stored: bytes, found: list[tuple[bytes, DirEntry]]
    ) -> None:
        hash_key = None
        if node.inode.is_casefolded:
            hash_key = self._image.crypto.dirhash_key(node.inode, stored)
        for name, entry in found:
            self._report.checked["names"] += 1
            if names.encrypt(name) != entry.name:
                self._report.problem(_about(node, f"{_text(name)}: does not encrypt to what is stored"))
            if hash_key is not None and entry.hashes != casefold_hash(hash_key, name):
                self._report.problem(_about(node, f"{_text(name)}: the stored hash is not that of the name"))

    def _leaf(self, node: Node) -> None:
        if node.inode.links > 1:
            self._seen.add(node.inode.ino)
        if node.inode.kind is InodeKind.SYMLINK:
            self._symlink(node)
        elif node.inode.kind is InodeKind.REGULAR:
            self._file(node)

    def _symlink(self, node: Node) -> None:
        target = self._image.target(node)
        self._report.checked["symlinks"] += 1
        if node.stored_context is None:
            return
        names = self._image.names(node)
        if names is None:
            self._report.lock(node)
            return
        stored = self._image.volume.symlink(node.inode)
        try:
            again = encode_symlink(names, target, self._image.volume.block_size)
        except NameTooLong as error:
            self._image.fail(node, str(error))
        if again != stored or not target:
            self._image.fail(node, "its target does not encrypt to what is stored")

    def _file(self, node: Node) -> None:
        try:
            contents = self._image.contents(node)
        except KeyRequired:
            self._report.checked["files"] += 1
            self._report.lock(node)
            return
        self._claim(node, contents)
        for piece in contents.pieces(0, contents.size):
            if piece.extent is not None and piece.extent.written:
                self._read(contents, piece.pos, piece.nbytes)
        self._report.checked["files"] += 1
        if contents.units is not None and any(_past_the_end(contents)):
            self._image.fail(node, "bytes past its end decrypt to something: the wrong key, or damage")

    def _read(self, contents: FileContents, pos: int, nbytes: int) -> None:
        for at in range(pos, pos + nbytes, CHUNK_BYTES):
            data = contents.read(at, min(CHUNK_BYTES, pos + nbytes - at))
            if contents.units is not None:
                self._report.checked["bytes"] += len(data)

    def _claim(self, node: Node, contents: FileContents) -> None:
        """Files share no blocks, so together they map no more than there are: it also bounds the work."""
        sb = self._image.volume.superblock
        blocks = sum(extent.count for extent in contents.extents)
        shares = bool(sb.ro_compat & RoCompat.SHARED_BLOCKS)
        if not shares and self._mapped_blocks + blocks > sb.blocks_count:
            self._image.fail(node, "files map more blocks than there are: some are mapped twice")
        self._mapped_blocks += blocks


def _past_the_end(contents: FileContents) -> bytes:
    """What the file's last block holds past its end."""
    block_size = contents.volume.block_size
    if not contents.size % block_size:
        return b""
    unit = contents.data_unit_size
    first = contents.size // unit * unit
    return contents.read_units(first, -(-contents.size // block_size) * block_size - first)[
        contents.size - first :
    ]


def _text(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))


def _about(node: Node, what: str) -> str:
    return f"{node.path.decode('utf-8', 'backslashreplace')}: {what}"
