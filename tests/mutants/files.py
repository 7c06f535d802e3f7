"""Mutants of files: bios, blocks, casefolded names (reference fscrypt.md, by section)."""

from tests.mutants.row import Mutant

_SMALL = "blkcrypto/fs/smallfs"
_BIOS, _BLOCKS, _CONTENTS = f"{_SMALL}/bios.py", f"{_SMALL}/blocks.py", f"{_SMALL}/contents.py"
_TEST, _MACHINE = "test_file_bios.py", "test_fscrypt_state_machine.py"
_FOLDED = "test_casefolded_directories.py"

FILES = (
    Mutant(
        "fscrypt 3.6",
        _BIOS,
        "joins = mergeable_bio(ctx, held * self._size, wanted)",
        "joins = True",
        f"{_TEST} hole_ends",
    ),
    Mutant(
        "fscrypt 3.6",
        _BIOS,
        "count = min(consecutive(io.blocks, start), consecutive(io.lblks, start))",
        "count = consecutive(io.blocks, start)",
        f"{_TEST} stops_at_a_hole",
    ),
    Mutant("fscrypt 3.6", _BIOS, "if len(vecs) == max_vecs:", "if len(vecs) == 999:", f"{_TEST} 256"),
    Mutant("fscrypt 3.6", _BIOS, "ctx.advance((first - part.start) * self._size)", "pass", f"{_TEST} 256"),
    Mutant(
        "fscrypt 3.7",
        _BIOS,
        "count = inode.info.setup.limit_io_blocks(inode.disk.ino, io.lblks[start], count)",
        "pass",
        f"{_TEST} wraps",
    ),
    Mutant(
        "fscrypt 3.7",
        _CONTENTS,
        "count = inode.info.setup.limit_io_blocks(inode.disk.ino, lblks[start], count)",
        "pass",
        f"{_TEST} both_sides",
    ),
    Mutant(
        "fscrypt 0",
        f"{_SMALL}/file.py",
        "return not (pos | length | address) % self.mount.fs.block_size",
        "return not (pos | length) % self.mount.fs.block_size",
        f"{_TEST} whole_blocks",
    ),
    Mutant(
        "fscrypt 0",
        f"{_SMALL}/file.py",
        "if info is not None and info.path is ContentsPath.FS_LAYER:",
        "if False:",
        f"{_TEST} encrypts_itself",
    ),
    Mutant(
        "fscrypt 3.6",
        f"{_SMALL}/gc.py",
        "disk.inodes[ino].blocks[lblk] = new",
        "pass",
        f"{_TEST} moved_ciphertext",
    ),
    Mutant(
        "fscrypt 3.6",
        _BIOS,
        "self._bios(io, range(start, start + count), None)",
        "self._bios(io, range(start, start + 1), None)",
        f"{_TEST} one_bio_each_way",
    ),
    Mutant(
        "fscrypt 3.5",
        "blkcrypto/fs/fscrypt/inode_crypto.py",
        "                self._start_using_key(key)\n",
        "                pass\n",
        f"{_TEST} without_fallback",
    ),
    Mutant("fscrypt 5.3", _BLOCKS, "        self.contents.forget(key)\n", "", _MACHINE),
    Mutant("fscrypt 5.3", _BLOCKS, "        self._device.evict_key(key)\n", "        del key\n", _MACHINE),
    Mutant(
        "fscrypt 5.4",
        f"{_SMALL}/incore.py",
        "return bool(self.opens or self.pins or self._dirty)",
        "return bool(self.opens or self.pins)",
        _MACHINE,
    ),
    Mutant(
        "fscrypt 4",
        f"{_SMALL}/casefold.py",
        "if casefold(plain) == folded:",
        "if plain == name:",
        f"{_FOLDED} any_case_and_keeps",
    ),
    Mutant(
        "fscrypt 4",
        f"{_SMALL}/namei.py",
        "NokeyName.of(name, *hashes.get(name, ()))",
        "NokeyName.of(name)",
        f"{_FOLDED} linux_stored",
    ),
    Mutant(
        "fscrypt 4",
        "blkcrypto/fs/fscrypt/inode_crypto.py",
        "        if info.policy.version == 1:\n",
        "        if False:\n",
        f"{_FOLDED} exclude",
    ),
)
