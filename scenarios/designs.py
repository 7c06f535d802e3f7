"""Key designs a scenario can name, one row each: what decides key and DUN of a data unit."""

from dataclasses import dataclass

from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.key_design import KeyDesign

# fls64(s_maxbytes - 1) of ext4 with 4 KiB blocks (16 TiB - 4 KiB): positions a per-file DUN must hold.
_MAX_FILE_BITS = 44


@dataclass(frozen=True, slots=True, kw_only=True)
class FscryptDesign(KeyDesign):
    """A design that is a v2 policy of fscrypt.

    Attributes:
        flags: the policy's flags that choose key and DUN.
    """

    flags: PolicyFlags


# Source: fscrypt_select_encryption_impl(), fs/crypto/inline_crypt.c and fs/crypto/policy.c (7.3);
# reference block-layer.md sections 3.20 and 5.5.
DESIGNS: dict[str, KeyDesign] = {
    row.name: row
    for row in (
        KeyDesign(name="none", summary="no encryption", key_types=()),
        FscryptDesign(
            name="fscrypt-per-file",
            summary="fscrypt v2: one key per file (HKDF of the file's nonce), DUN = data unit index",
            key_types=("raw",),
            flags=PolicyFlags(0),
        ),
        FscryptDesign(
            name="fscrypt-iv-ino-lblk-64",
            summary="fscrypt v2 with IV_INO_LBLK_64: a key per master key, DUN = inode << 32 | index",
            key_types=("raw", "hw-wrapped"),
            dun_bits=64,
            flags=PolicyFlags.IV_INO_LBLK_64,
        ),
        FscryptDesign(
            name="fscrypt-iv-ino-lblk-32",
            summary="fscrypt v2 with IV_INO_LBLK_32: a key per master key, DUN = inode hash + index mod 2^32",
            key_types=("raw", "hw-wrapped"),
            dun_bits=32,
            flags=PolicyFlags.IV_INO_LBLK_32,
        ),
    )
}


def required_dun_bytes(design: KeyDesign, data_unit_size: int) -> int:
    """DUN bytes a device must take for ``design`` with power-of-two ``data_unit_size``; 0 without keys."""
    if not design.key_types:
        return 0
    bits = design.dun_bits or _MAX_FILE_BITS - (data_unit_size.bit_length() - 1)
    return -(-bits // 8)


def policy_flags(name: str) -> PolicyFlags:
    """Flags of the v2 policy that the design ``name`` is; none for a design that is no policy."""
    design = DESIGNS[name]
    return design.flags if isinstance(design, FscryptDesign) else PolicyFlags(0)
