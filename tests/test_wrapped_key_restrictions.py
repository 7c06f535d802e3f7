"""Hardware-wrapped keys, section 5 of the reference block-layer.md: what holds beside the ioctls.

The ioctls' error table is in ``test_block_wrapped_keys.py``, policies in ``test_fscrypt_key_setup.py``, what
needs ``inlinecrypt`` in ``test_fscrypt_keyring.py`` and ``test_fscrypt_paths.py``, layered devices in
``test_block_layered_devices.py``.
"""

import errno

import numpy as np
import pytest
from msgspec.structs import replace

from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import ConfigFlags, CryptoModeNum, KeyType
from blkcrypto.fs.fscrypt.caller import ROOT
from blkcrypto.fs.fscrypt.key_args import AddKeyArg
from blkcrypto.fs.fscrypt.keyring import FsKeyring
from hwmodel.device import Device, KeyWrap
from hwmodel.faultplan import FaultPlan, KeyOperation
from hwmodel.keywrap import KeyWrapUnit
from scenarios.load import load_scenario
from scenarios.run import run
from tests.fscrypt_world import EXT4
from tests.machines import READ, US, device, fig, run_ios
from tests.test_fscrypt_keyring import IDENTIFIER, Inodes

A, B = 0, 1
XTS = CryptoModeNum.AES_256_XTS


def errno_of_key(size: int, flags: int = ConfigFlags.ALLOW_HW) -> int:
    """Errno of a wrapped key of ``size`` bytes; 0 for none."""
    blob = bytes(range(size))
    try:
        init_key(blob, XTS, dun_bytes=8, data_unit_size=4096, key_type=KeyType.HW_WRAPPED, flags=flags)
    except BlkCryptoError as error:
        return error.errno
    return 0


@pytest.mark.parametrize(("size", "expected"), [(31, errno.EINVAL), (32, 0), (128, 0), (129, errno.EINVAL)])
def test_a_wrapped_key_has_from_the_mode_s_security_strength_to_128_bytes(size: int, expected: int) -> None:
    assert errno_of_key(size) == expected


def test_a_wrapped_key_must_allow_hardware() -> None:
    assert errno_of_key(32, 0) == errno.EINVAL


def test_a_blob_the_device_does_not_know_is_ebadmsg_when_it_is_added_to_a_filesystem() -> None:
    unit = KeyWrapUnit(np.random.default_rng(1), blob_bytes=100)
    keyring = FsKeyring(EXT4, Inodes(), evict_key=print, derive_sw_secret=unit.derive_sw_secret)
    with pytest.raises(BlkCryptoError) as caught:
        keyring.add(AddKeyArg(spec=IDENTIFIER, raw=bytes(100), raw_size=100, flags=1), ROOT)
    assert caught.value.errno == errno.EBADMSG


def test_wrapped_data_is_bound_to_its_machine() -> None:
    here, there = (KeyWrapUnit(np.random.default_rng(seed), blob_bytes=100) for seed in (1, 2))
    with pytest.raises(BlkCryptoError) as caught:
        there.prepare_key(here.generate_key())
    assert caught.value.errno == errno.EBADMSG


# A unit that takes 2, 3, 40 and 70 us to import, generate, prepare and derive.
UNIT = KeyWrap(
    import_ns=fig(2 * US),
    generate_ns=fig(3 * US),
    prepare_ns=fig(40 * US),
    derive_sw_secret_ns=fig(70 * US),
    blob_bytes=fig(100),
)


def wrapping() -> Device:
    return replace(device(slots=2), keywrap=UNIT)


def lock_waits_us(*operations: KeyOperation) -> list[int]:
    """Of a miss at 0, programmed until 10 us, and of hits at 100 and 300 us."""
    ios = [(0, READ, A), (100 * US, READ, A), (300 * US, READ, A)]
    records, _ = run_ios(
        wrapping(), ios, key_type=KeyType.HW_WRAPPED, faults=FaultPlan(key_operations=operations)
    )
    waits: list[int] = (records["keyslot_lock"] // US).tolist()
    return waits


def test_a_key_operation_holds_up_every_lookup_of_the_device() -> None:
    # From 90 to 160.
    assert lock_waits_us(KeyOperation(op="derive_sw_secret", at_ns=90 * US)) == [0, 60, 0]


def test_a_key_operation_waits_for_the_program_in_progress() -> None:
    # It comes at 5 us and has the lock from 10 to 50: too early for the others.
    assert lock_waits_us(KeyOperation(op="prepare", at_ns=5 * US)) == [0, 0, 0]


def test_between_two_key_operations_others_get_the_lock() -> None:
    # The first from 90 to 130; the hit of 100 goes on then, before the second.
    assert lock_waits_us(KeyOperation(op="prepare", at_ns=90 * US, count=2)) == [0, 30, 0]


def test_key_operations_are_counted_and_need_a_unit() -> None:
    at = "faults.key_operations=[{op='prepare', at='1ms', count=3}]"
    small = ["ios=500", "warmup=0", at]
    result = run(load_scenario("wrapped-versus-raw", sets=["keys.type=hw-wrapped", *small]))
    assert result.faults["key operations"] == 3
    with pytest.raises(BadInput, match="no key-wrapping unit"):
        load_scenario("keyslot-contention", sets=small)
