"""What a device offers for inline encryption, as the block layer sees it."""

from typing import Final

from blkcrypto.block.capabilities import NO_KEY_TYPES, capabilities
from blkcrypto.block.key import CryptoModeNum, KeyType
from blkcrypto.block.profile import CryptoProfile
from hwmodel.device import Device

_KEY_TYPES: Final = {"raw": KeyType.RAW, "hw-wrapped": KeyType.HW_WRAPPED}


def crypto_profile(device: Device, ops: object) -> CryptoProfile | None:
    """The crypto profile of ``device``, with ``ops`` as its low-level operations; None when it has none."""
    slots = device.keyslots
    if slots is None:
        return None
    types = NO_KEY_TYPES
    for name in slots.key_types:
        types |= _KEY_TYPES[name]
    offered = capabilities(
        {CryptoModeNum.AES_256_XTS: slots.data_unit_sizes.value},
        max_dun_bytes=slots.dun_bytes.value,
        key_types=types,
    )
    return CryptoProfile(device.name, slots.count.value, offered, ops)
