"""Key designs a scenario can name, one row each: what decides key and DUN of a data unit."""

from dataclasses import dataclass
from typing import Final

from blkcrypto.fs.authenticated.designs import DESIGNS as AUTHENTICATED
from blkcrypto.fs.ext4_2014.designs import DESIGNS as EXT4_2014
from blkcrypto.fs.extents.designs import DESIGNS as EXTENTS
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.inline_data.designs import DESIGNS as INLINE_DATA
from blkcrypto.fs.key_design import KeyDesign
from blkcrypto.fs.keysetup_io.designs import DESIGNS as KEY_SETUP
from blkcrypto.fs.stacked.designs import DESIGNS as STACKED
from scenarios.schema import Design, EngineName, Keys

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
        FscryptDesign(
            name="ubifs-like",
            summary="fscrypt v2 inside a filesystem without bios: nodes encrypted in place, per-file keys",
            key_types=("raw",),
            flags=PolicyFlags(0),
            inline_crypto=False,
        ),
        FscryptDesign(
            name="cephfs-like",
            summary="fscrypt v2 inside a network filesystem: fixed 4096-byte units, partial ones read first",
            key_types=("raw",),
            flags=PolicyFlags(0),
            inline_crypto=False,
        ),
        *EXTENTS,
        *KEY_SETUP,
        *INLINE_DATA,
        *EXT4_2014,
        *STACKED,
        *AUTHENTICATED,
    )
}

# Designs that need nothing but keys and DUNs of files: they run on the plain machine.
PLAIN: Final = frozenset(("none", "fscrypt-per-file", "fscrypt-iv-ino-lblk-64", "fscrypt-iv-ino-lblk-32"))
# Designs whose key is the device's, so that DUNs follow from its size.
OF_DEVICE: Final = frozenset(("dm-inlinecrypt", "dm-default-key"))
# A prototype of 2014 that encrypts pages itself; its row says what its DUNs would allow.
_ENCRYPTS_ITSELF: Final = frozenset(("ext4-2014-multi-user",))


def required_dun_bytes(design: KeyDesign, data_unit_size: int) -> int:
    """DUN bytes a device must take for ``design`` with power-of-two ``data_unit_size``; 0 without keys."""
    if not design.key_types:
        return 0
    bits = design.dun_bits or _MAX_FILE_BITS - (data_unit_size.bit_length() - 1)
    return -(-bits // 8)


def engine_of(keys: Keys, design: Design) -> EngineName:
    """Where contents are really encrypted: the design's way, if ``keys.engine`` is none of its ways."""
    row = DESIGNS[keys.design]
    if keys.design in PLAIN:
        return keys.engine
    if not row.inline_crypto or keys.design in _ENCRYPTS_ITSELF:
        return "fs-layer"
    checksums = design.checksums and keys.design in {each.name for each in EXTENTS}
    if keys.engine == "fs-layer" or checksums:
        return "fallback"
    return keys.engine


def policy_flags(name: str) -> PolicyFlags:
    """Flags of the v2 policy that the design ``name`` is; none for a design that is no policy."""
    design = DESIGNS[name]
    return design.flags if isinstance(design, FscryptDesign) else PolicyFlags(0)
