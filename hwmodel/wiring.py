"""From facts to those parts of a machine that take several of them."""

from collections.abc import Callable, Sequence

import numpy as np

from blkcrypto.block.key import BlkCryptoKey, KeyType
from hwmodel.device import Device
from hwmodel.faultplan import FaultPlan
from hwmodel.faults import Injector
from hwmodel.faults import Machine as Breakable
from hwmodel.plane import DataPlane


def program_costs(device: Device) -> Callable[[BlkCryptoKey], int]:
    """What programming a key takes on ``device``."""
    facts = device.keyslots
    if facts is None:
        return lambda _key: 0
    raw_ns, wrapped_ns = facts.program_raw_ns.value, facts.program_hw_wrapped_ns.value
    if raw_ns == wrapped_ns:
        return lambda _key: raw_ns
    # Hashing an enum costs more than everything else a program does.
    return lambda key: wrapped_ns if key.crypto_cfg.key_type is KeyType.HW_WRAPPED else raw_ns


def new_injector(
    plan: FaultPlan,
    rng: np.random.Generator | None,
    device: Device,
    *,
    door: Breakable,
    keys: Sequence[BlkCryptoKey],
    plane: DataPlane | None,
) -> Injector:
    """Makes ``plan`` happen behind ``door``."""
    assert rng is not None, "faults need a stream of their own"
    return Injector(
        plan,
        rng,
        door,
        down_ns=device.controller.reset_ns.value,
        evict_ns=device.keyslots.evict_ns.value if device.keyslots is not None else 0,
        program_ns=program_costs(device),
        keywrap=device.keywrap,
        keys=keys,
        plane=plane,
    )
