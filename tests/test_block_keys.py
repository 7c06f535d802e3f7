"""Making keys: checks in Linux's order, so that the first of two faults shows (reference section 3.1)."""

from typing import Any

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.block import init_key as rules
from blkcrypto.block.era import KERNELS, kernel_profile
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import ConfigFlags, CryptoModeNum, KeyType
from blkcrypto.block.modes import MODES
from blkcrypto.crypto.modes import CIPHER_MODES

RAW, WRAPPED = KeyType.RAW, KeyType.HW_WRAPPED
GOOD: dict[str, Any] = {
    "raw": bytes(64),
    "mode": 1,
    "dun_bytes": 8,
    "data_unit_size": 4096,
    "key_type": RAW,
    "flags": ConfigFlags.ALLOW_HW,
}
# In the order of checks: what is wrong, and how.
FAULTS: list[tuple[type[rules.InvalidKey], dict[str, Any]]] = [
    (rules.UnknownMode, {"mode": 5}),
    (rules.UnknownFlags, {"flags": 3}),
    (rules.UnknownKeyType, {"key_type": 4}),
    (rules.WrongDunBytes, {"dun_bytes": 17}),
    (rules.DataUnitSizeNotPowerOfTwo, {"data_unit_size": 1000}),
]
PAIRS = [(first, second) for position, first in enumerate(FAULTS) for second in FAULTS[position + 1 :]]


def make(era: str = "7.3", **changes: Any) -> Any:
    return init_key(**{**GOOD, **changes}, era=kernel_profile(era))


@pytest.mark.parametrize(("error", "fault"), FAULTS, ids=[error.__name__ for error, _ in FAULTS])
def test_every_fault_is_einval_with_a_cause_of_its_own(
    error: type[rules.InvalidKey], fault: dict[str, Any]
) -> None:
    with pytest.raises(error) as caught:
        make(**fault)

    assert caught.value.errno_name == "EINVAL"


@pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[f"{a[0].__name__} before {b[0].__name__}" for a, b in PAIRS]
)
def test_of_two_faults_the_one_checked_first_shows(
    first: tuple[type[rules.InvalidKey], dict[str, Any]],
    second: tuple[type[rules.InvalidKey], dict[str, Any]],
) -> None:
    with pytest.raises(first[0]):
        make(**second[1], **first[1])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"raw": bytes(63)}, rules.WrongKeySize),
        ({"raw": bytes(65)}, rules.WrongKeySize),
        ({"raw": bytes(31), "key_type": WRAPPED}, rules.WrongKeySize),
        ({"raw": bytes(129), "key_type": WRAPPED}, rules.WrongKeySize),
        ({"raw": bytes(31), "key_type": WRAPPED, "flags": 0}, rules.WrongKeySize),
        ({"raw": bytes(32), "key_type": WRAPPED, "flags": 0}, rules.WrappedKeyNeedsHardware),
        ({"raw": bytes(32), "key_type": WRAPPED, "flags": 0, "dun_bytes": 0}, rules.WrappedKeyNeedsHardware),
        ({"raw": bytes(63), "dun_bytes": 0}, rules.WrongKeySize),
        ({"raw": b"", "mode": 0}, rules.WrongDunBytes),
        ({"mode": 0}, rules.WrongKeySize),
        ({"mode": -1}, rules.UnknownMode),
        ({"dun_bytes": 0}, rules.WrongDunBytes),
        ({"data_unit_size": 0}, rules.DataUnitSizeNotPowerOfTwo),
    ],
)
def test_sizes_are_checked_against_mode_and_type(
    changes: dict[str, Any], error: type[rules.InvalidKey]
) -> None:
    with pytest.raises(error):
        make(**changes)


@pytest.mark.parametrize("size", [32, 128])
def test_a_wrapped_key_has_from_the_security_strength_to_128_bytes(size: int) -> None:
    assert len(make(raw=bytes(size), key_type=WRAPPED).raw) == size


@pytest.mark.parametrize(("size", "bits"), [(1, 0), (2, 1), (512, 9), (65536, 16), (2**31, 31)])
def test_a_data_unit_size_has_no_range_only_a_shape(size: int, bits: int) -> None:
    assert make(data_unit_size=size).data_unit_size_bits == bits


def test_a_key_with_equal_halves_is_not_looked_at_here() -> None:
    assert make(raw=bytes(64)).raw == bytes(64)


@pytest.mark.parametrize("era", ["6.15", "7.2"])
def test_flags_are_looked_at_from_7_3_on(era: str) -> None:
    assert make(era, flags=0x80).crypto_cfg.flags == ConfigFlags.ALLOW_HW


def test_before_6_15_there_are_no_wrapped_keys() -> None:
    with pytest.raises(rules.UnknownKeyType):
        make("6.12", raw=bytes(64), key_type=WRAPPED)


def test_before_6_15_mode_0_had_no_key_size_and_failed_there() -> None:
    with pytest.raises(rules.WrongKeySize):
        make("6.12", raw=b"", mode=0)


def test_the_repr_of_a_key_shows_none_of_its_bytes() -> None:
    key = make(raw=bytes(range(64)), key_type=RAW)

    assert "\\x" not in repr(key)
    assert key.raw.hex()[:16] not in repr(key)


# Numbers from reference block-layer.md section 1.2: key, security strength, IV.
MODE_TABLE = {
    CryptoModeNum.AES_256_XTS: ("AES-256-XTS", 64, 32, 16),
    CryptoModeNum.AES_128_CBC_ESSIV: ("AES-128-CBC-ESSIV", 16, 16, 16),
    CryptoModeNum.ADIANTUM: ("Adiantum", 32, 32, 32),
    CryptoModeNum.SM4_XTS: ("SM4-XTS", 32, 16, 16),
}


@pytest.mark.parametrize("num", MODE_TABLE)
def test_the_mode_table_is_linux_s(num: CryptoModeNum) -> None:
    row = MODES[num]

    assert (row.name, row.key_bytes, row.security_strength_bytes, row.iv_bytes) == MODE_TABLE[num]


def test_the_mode_table_passes_the_checks_linux_makes_at_boot() -> None:
    for row in MODES[1:]:
        assert row.key_bytes <= 64
        assert row.security_strength_bytes <= row.key_bytes
        assert row.iv_bytes <= 32
        assert row.name in CIPHER_MODES


def test_an_unknown_kernel_is_refused_with_the_list_of_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"scenario\.kernel: '9\.9' is not .* 6\.12, .* 7\.3"):
        kernel_profile("9.9", where="scenario.kernel")


def test_the_kernels_of_the_reference_are_there() -> None:
    assert {"5.8", "5.16", "5.18", "6.4", "6.12", "6.15", "6.16", "7.0", "7.2", "7.3"} <= set(KERNELS)
