"""What user space and a developer see of a crypto profile.

Sources: Documentation/ABI/stable/sysfs-block and block/blk-crypto-sysfs.c; reference block-layer.md
section 3.18.  The view of slots has no counterpart in Linux.
"""

from dataclasses import dataclass

from blkcrypto.block.era import NEWEST, KernelProfile
from blkcrypto.block.key import KeyType
from blkcrypto.block.modes import REAL_MODES
from blkcrypto.block.profile import CryptoProfile

_KEY_TYPE_FILES = {KeyType.RAW: "raw_keys", KeyType.HW_WRAPPED: "hw_wrapped_keys"}


def crypto_attributes(profile: CryptoProfile | None, era: KernelProfile = NEWEST) -> dict[str, str]:
    """Files of ``queue/crypto/`` with their content, by path below it; none without a profile."""
    if profile is None or not era.has_sysfs:
        return {}
    can = profile.capabilities
    files = {"max_dun_bits": f"{8 * can.max_dun_bytes}\n", "num_keyslots": f"{profile.num_slots}\n"}
    files |= {
        f"modes/{mode.name}": f"{can.modes_supported[mode.num]:#x}\n"
        for mode in REAL_MODES
        if can.modes_supported[mode.num]
    }
    if era.key_types:
        files |= {name: "supported\n" for kind, name in _KEY_TYPE_FILES.items() if can.key_types & kind}
    return files


@dataclass(frozen=True, slots=True)
class SlotView:
    """One keyslot, for people.

    Attributes:
        index: of the slot.
        key: label of the key linked to it; None when empty, and never a secret.
        refs: requests that hold it.
        lru: place on the idle list, 0 for the next victim; None while it is held.
    """

    index: int
    key: str | None
    refs: int
    lru: int | None


def slot_views(profile: CryptoProfile) -> list[SlotView]:
    """All slots of a profile in index order; none for a device without slots."""
    table = profile.table
    if table is None:
        return []
    places = {slot: place for place, slot in enumerate(table.idle_order)}
    views = []
    for index in range(table.num_slots):
        key = table.key_in(index)
        label = None if key is None else key.label or f"key {id(key):#x}"
        views.append(SlotView(index, label, table.refs(index), places.get(index)))
    return views
