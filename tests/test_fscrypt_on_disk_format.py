"""Policies and contexts byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.fs.fscrypt.policy import (
    Context,
    ContextUnrecognised,
    IvScheme,
    Policy,
    PolicyVersionUnknown,
    context_bytes,
    parse_context,
    parse_policy,
)

IDENTIFIER = bytes(range(0x10, 0x20))
DESCRIPTOR = bytes(range(0x20, 0x28))
NONCE = bytes(range(0x30, 0x40))
V1 = Policy(version=1, contents_mode=5, filenames_mode=6, flags=0x01, master_key=DESCRIPTOR)
V2 = Policy(contents_mode=1, filenames_mode=10, flags=0x0B, log2_data_unit_size=9, master_key=IDENTIFIER)

policies = st.one_of(
    st.builds(
        Policy,
        version=st.just(1),
        contents_mode=st.integers(0, 255),
        filenames_mode=st.integers(0, 255),
        flags=st.integers(0, 255),
        master_key=st.binary(min_size=8, max_size=8),
    ),
    st.builds(
        Policy,
        contents_mode=st.integers(0, 255),
        filenames_mode=st.integers(0, 255),
        flags=st.integers(0, 255),
        master_key=st.binary(min_size=16, max_size=16),
        log2_data_unit_size=st.integers(0, 255),
        reserved=st.binary(min_size=3, max_size=3),
    ),
)


def test_a_v1_policy_is_version_0_in_the_ioctl_and_1_on_disk() -> None:
    assert V1.to_bytes() == bytes([0, 5, 6, 1]) + DESCRIPTOR
    assert Context(V1, NONCE).to_bytes() == bytes([1, 5, 6, 1]) + DESCRIPTOR + NONCE


def test_a_v2_policy_is_version_2_in_both() -> None:
    policy = bytes([2, 1, 10, 0x0B, 9, 0, 0, 0]) + IDENTIFIER
    assert V2.to_bytes() == policy
    assert Context(V2, NONCE).to_bytes() == policy + NONCE


def test_sizes_are_those_of_the_structs() -> None:
    assert [len(V1.to_bytes()), len(V2.to_bytes())] == [12, 24]
    assert [context_bytes(V1), context_bytes(V2)] == [28, 40]


@given(policies)
def test_any_policy_survives_its_bytes(policy: Policy) -> None:
    assert parse_policy(policy.to_bytes()) == policy


@given(policies, st.binary(min_size=16, max_size=16))
def test_any_context_survives_its_bytes(policy: Policy, nonce: bytes) -> None:
    data = Context(policy, nonce).to_bytes()
    assert parse_context(data) == Context(policy, nonce)
    assert len(data) == context_bytes(policy)


@given(st.binary(max_size=60))
def test_bytes_are_a_context_only_with_the_length_of_their_version(data: bytes) -> None:
    right = {1: 28, 2: 40}.get(data[0] if data else 0)
    if len(data) == right:
        assert parse_context(data).to_bytes() == data
    else:
        with pytest.raises(ContextUnrecognised):
            parse_context(data)


@pytest.mark.parametrize("version", [1, 3, 255])
def test_other_version_bytes_are_refused_in_the_ioctl(version: int) -> None:
    with pytest.raises(PolicyVersionUnknown, match="EINVAL"):
        parse_policy(bytes([version]) + bytes(23))


def test_a_cut_policy_struct_is_refused() -> None:
    with pytest.raises(ValueError, match="24 bytes"):
        parse_policy(V2.to_bytes()[:-1])


@pytest.mark.parametrize(
    ("flags", "scheme"),
    [
        (0x03, IvScheme.PER_FILE_KEY),
        (0x04, IvScheme.DIRECT_KEY),
        (0x08, IvScheme.IV_INO_LBLK_64),
        (0x10, IvScheme.IV_INO_LBLK_32),
        (0x1C, IvScheme.IV_INO_LBLK_64),
    ],
)
def test_flags_choose_the_iv_scheme_in_the_kernels_order(flags: int, scheme: IvScheme) -> None:
    assert Policy(flags=flags, master_key=IDENTIFIER).iv_scheme is scheme


def test_padding_doubles_with_each_step_of_the_two_low_flag_bits() -> None:
    paddings = [Policy(flags=flags, master_key=IDENTIFIER).padding for flags in (0, 1, 2, 3, 0x0B)]
    assert paddings == [4, 8, 16, 32, 32]


@pytest.mark.parametrize(("version", "size"), [(1, 16), (2, 8)])
def test_a_policy_names_its_key_by_the_bytes_of_its_version(version: int, size: int) -> None:
    with pytest.raises(ValueError, match="names its key"):
        Policy(version=version, master_key=bytes(size))  # type: ignore[arg-type]  # the wrong combination is the point
