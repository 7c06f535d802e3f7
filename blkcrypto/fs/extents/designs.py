"""The four key designs for extents, one row each.

Sizes in memory are counted on a 64-bit machine from the structures of the postings; they are assumptions,
since none of them is merged.  Sources: reference fscrypt.md sections 6.1, 2.1, 5.1; for 2022, patch 4/4 of
"Add new encryption policy for btrfs", linux-fscrypt, 2022-07-23: there the contents key comes from the mode
number under the master key (not from a file's nonce), which is what lets files share extents.
"""

import enum
from dataclasses import dataclass
from typing import Final

from blkcrypto.fs.fscrypt.master_key import HkdfContext
from blkcrypto.fs.key_design import KeyDesign

# The 2022 posting's number, later given to another use; no two infos under it are equal.
IV_FROM_FS_KEY: Final = HkdfContext.KEY_IDENTIFIER_FOR_HW_WRAPPED_KEY
FLAG_IV_FROM_FS: Final = 0x20  # FSCRYPT_POLICY_FLAG_IV_FROM_FS, of that posting only
_XTS_IV_BITS: Final = 128
ITEM_HEADER_BYTES: Final = 25  # struct btrfs_item: 17 bytes of key, offset, size


class StoredForm(enum.Enum):
    """What an extent's context on disk is; ``contexts`` has the layouts."""

    FULL_CONTEXT = "full context"
    NONCE = "nonce"
    LIGHT_CONTEXT = "light context"
    IV = "IV"


class CloneCheck(enum.Enum):
    """What a clone compares before it shares extents."""

    SAME_POLICY = "same policy"
    BOTH_OR_NEITHER = "both encrypted or neither"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtentDesign:
    """One row.

    Attributes:
        name: in scenarios and lists.
        summary: one line for people.
        form: what is stored with each file extent item.
        own_item: whether that is an item of its own in the tree, with a header, or appended to the extent's.
        key_per_extent: whether an extent has its own key; else one per mode under the master key serves.
        hkdf_context: of the contents key's derivation: from the extent's nonce, or from the mode number.
        info_bytes: in memory, what stands for a loaded extent beside its key.
        key_bytes: in memory, the ``blk_crypto_key`` of an extent.
        link_bytes: in memory, its place in the master key's list.
        holds_master_key: loaded extents hold references to the master key, which must be present.
        keeps_secret: the secret outlives removal until the last unlocked inode goes.
        clone_check: what a clone compares.
        bio_blocks: most blocks of a bio; 0 for no limit.
        blk_crypto: whether contents go through the block layer.
        takes_v1: whether v1 policies work.
        key_types: master key types, as in the list of designs.
    """

    name: str
    summary: str
    form: StoredForm
    own_item: bool = False
    key_per_extent: bool = True
    hkdf_context: HkdfContext
    info_bytes: int = 0
    key_bytes: int = 0
    link_bytes: int = 0
    holds_master_key: bool = False
    keeps_secret: bool = True
    clone_check: CloneCheck = CloneCheck.SAME_POLICY
    bio_blocks: int = 0
    blk_crypto: bool = True
    takes_v1: bool = False
    key_types: tuple[str, ...] = ("raw",)

    @property
    def dun_bits(self) -> int:
        """Bits of DUN it uses; 0 when that follows from the largest file."""
        return _XTS_IV_BITS if self.form is StoredForm.IV else 0

    @property
    def memory_per_extent_bytes(self) -> int:
        """In memory for an extent that is loaded through one inode."""
        return self.info_bytes + self.key_bytes + self.link_bytes


HEAVY: Final = ExtentDesign(
    name="extents-heavyweight",
    summary="btrfs, June 2023: every extent a small inode with a full context and info; HKDF context 2",
    form=StoredForm.FULL_CONTEXT,
    hkdf_context=HkdfContext.PER_FILE_ENC_KEY,
    info_bytes=128,  # struct fscrypt_info
    key_bytes=160,  # struct blk_crypto_key
    link_bytes=16,  # ci_master_key_link, a list_head
    holds_master_key=True,
    keeps_secret=False,
    takes_v1=True,
)
NONCE_ONLY: Final = ExtentDesign(
    name="extents-nonce-only",
    summary="btrfs, September 2023: policy with the inode, a nonce with the extent",
    form=StoredForm.NONCE,
    # The posting took the next free number; the emulator uses the later one so that no two uses share one.
    hkdf_context=HkdfContext.PER_EXTENT_ENC_KEY,
    info_bytes=16,  # assumption: a reference count and the prepared key's pointer
    key_bytes=160,
)
LIGHT: Final = ExtentDesign(
    name="extents-lightweight",
    summary="btrfs, v6 and later: 34-byte extent context in an item of its own; HKDF context 9",
    form=StoredForm.LIGHT_CONTEXT,
    own_item=True,
    hkdf_context=HkdfContext.PER_EXTENT_ENC_KEY,
    info_bytes=48,  # reference count, prepared key, super block, nonce
    key_bytes=160,
    clone_check=CloneCheck.BOTH_OR_NEITHER,
)
IV_FROM_FS: Final = ExtentDesign(
    name="extents-iv-from-fs",
    summary="btrfs, 2022: one key per mode and master key, a random IV stored with each extent",
    form=StoredForm.IV,
    hkdf_context=IV_FROM_FS_KEY,
    key_per_extent=False,
    keeps_secret=False,
    bio_blocks=1,
    blk_crypto=False,
)

EXTENT_DESIGNS: Final = {row.name: row for row in (HEAVY, NONCE_ONLY, LIGHT, IV_FROM_FS)}


def stored_bytes(design: ExtentDesign, *, iv_bytes: int = 16, v1: bool = False) -> int:
    """Bytes on disk that the design adds to one file extent item.

    Args:
        design: the row.
        iv_bytes: of the contents mode; only ``IV`` depends on it.
        v1: whether the policy is v1; only ``FULL_CONTEXT`` depends on it.
    """
    sizes = {
        StoredForm.FULL_CONTEXT: 28 if v1 else 40,
        StoredForm.NONCE: 16,
        StoredForm.LIGHT_CONTEXT: 34,
        StoredForm.IV: iv_bytes,
    }
    return sizes[design.form] + (ITEM_HEADER_BYTES if design.own_item else 0)


def _listed(row: ExtentDesign) -> KeyDesign:
    return KeyDesign(
        name=row.name,
        summary=row.summary,
        key_types=row.key_types,
        dun_bits=row.dun_bits,
        inline_crypto=row.blk_crypto,
    )


DESIGNS: Final = tuple(map(_listed, EXTENT_DESIGNS.values()))
