"""Hardware-wrapped keys: the ioctls' errors in order, and invariants 27 to 30 (reference section 5)."""

import gc
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.capabilities import Capabilities, capabilities
from blkcrypto.block.init_key import init_key
from blkcrypto.block.ioctl import (
    BLKCRYPTOGENERATEKEY,
    BLKCRYPTOIMPORTKEY,
    BLKCRYPTOPREPAREKEY,
    IOCTLS,
    KeyArgument,
    generate_key,
    import_key,
    prepare_key,
)
from blkcrypto.block.key import BlkCryptoKey, CryptoModeNum, KeyType
from blkcrypto.block.op import ReqOp
from blkcrypto.block.ops import NO_SLOT
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.waiting import run_to_end
from blkcrypto.crypto.hwkdf import KDF_VARIANTS, derive
from hwmodel.keywrap import KeyWrapUnit
from tests.block_world import World, pattern
from tests.oracle.block_xts import ciphertext

XTS = CryptoModeNum.AES_256_XTS
RAW = bytes(range(32))
BLOB_BYTES = 100  # with padding, as Qualcomm's second version has
BOTH = KeyType.RAW | KeyType.HW_WRAPPED
WRAPPING = capabilities({XTS: 0x1200}, max_dun_bytes=8, key_types=BOTH)
RAW_ONLY = capabilities({XTS: 0x1200}, max_dun_bytes=8)


class WrappingDevice:
    """A key-wrapping unit with keyslots; only ``hidden`` knows what the hardware knows."""

    def __init__(self, seed: int = 3, kdf: str = "kdf1") -> None:
        self.unit = KeyWrapUnit(np.random.default_rng(seed), blob_bytes=BLOB_BYTES, kdf=kdf)
        self.hidden: dict[int, bytes] = {}

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        self.hidden[slot] = self.unit.inline_key(key.raw)

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        del self.hidden[slot]

    def import_key(self, raw_key: bytes) -> bytes:
        return self.unit.import_key(raw_key)

    def generate_key(self) -> bytes:
        return self.unit.generate_key()

    def prepare_key(self, lt_key: bytes) -> bytes:
        return self.unit.prepare_key(lt_key)

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        return self.unit.derive_sw_secret(eph_key)


def wrapping_profile(kdf: str = "kdf1") -> tuple[CryptoProfile, WrappingDevice]:
    device = WrappingDevice(kdf=kdf)
    return CryptoProfile("dev", 2, WRAPPING, device), device


def wrapped(blob: bytes) -> BlkCryptoKey:
    return init_key(blob, XTS, dun_bytes=8, data_unit_size=4096, key_type=KeyType.HW_WRAPPED, label="W")


@pytest.mark.parametrize("variant", ["kdf1", "kdf2", "kdf3", "kdf4", "kdf5"])
def test_27_a_prepared_import_programs_the_key_that_the_kdf_gives_for_the_raw_one(variant: str) -> None:
    profile, device = wrapping_profile(variant)

    blob = profile.prepare_key(profile.import_key(RAW))
    grant = run_to_end(profile.get_keyslot(wrapped(blob)))

    assert grant.status is BlkStatus.OK
    assert device.hidden[grant.slot] == derive(RAW, variant).inline_key


def test_27_the_software_secret_of_a_raw_key_is_the_same_in_every_boot_while_blobs_differ() -> None:
    profile, device = wrapping_profile()
    long_term = profile.import_key(RAW)
    blobs = [profile.prepare_key(long_term), profile.prepare_key(long_term)]
    secrets = [profile.derive_sw_secret(blob) for blob in blobs]

    device.unit.reboot()
    blobs.append(profile.prepare_key(long_term))
    secrets.append(profile.derive_sw_secret(blobs[-1]))

    assert len(set(blobs)) == 3
    assert set(secrets) == {derive(RAW).sw_secret}


def rejected(profile: CryptoProfile, blob: bytes, what: str) -> str:
    """How ``what`` fails on ``blob``: an errno, or the status of I/O."""
    if what == "program":
        return str(run_to_end(profile.get_keyslot(wrapped(blob))).status)
    try:
        {"prepare": profile.prepare_key, "derive": profile.derive_sw_secret}[what](blob)
    except BlkCryptoError as error:
        return error.errno_name
    return "accepted"


@pytest.mark.parametrize(("what", "expected"), [("derive", "EBADMSG"), ("program", "BLK_STS_IOERR")])
def test_28_an_ephemeral_blob_is_worthless_after_a_reboot(what: str, expected: str) -> None:
    profile, device = wrapping_profile()
    blob = profile.prepare_key(profile.generate_key())

    device.unit.reboot()

    assert rejected(profile, blob, what) == expected


@pytest.mark.parametrize(("what", "expected"), [("derive", "EBADMSG"), ("program", "BLK_STS_IOERR")])
def test_28_a_long_term_blob_is_not_taken_for_an_ephemeral_one(what: str, expected: str) -> None:
    profile, _ = wrapping_profile()

    assert rejected(profile, profile.generate_key(), what) == expected


def test_28_an_ephemeral_blob_is_not_taken_for_a_long_term_one() -> None:
    profile, _ = wrapping_profile()

    assert rejected(profile, profile.prepare_key(profile.generate_key()), "prepare") == "EBADMSG"


@settings(deadline=None)
@given(bit=st.integers(0, BLOB_BYTES * 8 - 1), what=st.sampled_from(["prepare", "derive", "program"]))
def test_28_a_blob_with_one_flipped_bit_is_rejected(bit: int, what: str) -> None:
    profile, _ = wrapping_profile()
    blob = bytearray(profile.generate_key())
    if what != "prepare":
        blob = bytearray(profile.prepare_key(bytes(blob)))
    blob[bit // 8] ^= 1 << bit % 8

    expected = "BLK_STS_IOERR" if what == "program" else "EBADMSG"
    assert rejected(profile, bytes(blob), what) == expected


def reachable_bytes(root: object, hardware: object) -> Iterable[bytes]:
    """All byte strings reachable from ``root`` without entering the hardware, code or modules."""
    todo, seen = [root], {id(hardware)}
    while todo:
        here = todo.pop()
        if id(here) in seen or isinstance(here, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(here))
        if isinstance(here, (bytes, bytearray)):
            yield bytes(here)
        todo.extend(gc.get_referents(here))


def test_29_neither_raw_nor_inline_key_nor_part_of_them_is_anywhere_in_software() -> None:
    profile, device = wrapping_profile()
    key = wrapped(profile.prepare_key(profile.import_key(RAW)))
    run_to_end(profile.get_keyslot(key))
    secret = profile.derive_sw_secret(key.raw)
    hidden = [RAW, device.hidden[0]]

    held = list(reachable_bytes([profile, key, secret], device))

    assert key.raw in held  # the walk does reach what software holds
    pieces = [whole[start : start + 16] for whole in hidden for start in range(0, len(whole), 16)]
    assert not [1 for blob in held for piece in pieces if piece in blob]


@pytest.mark.parametrize("variant", sorted(KDF_VARIANTS))
def test_30_the_software_secret_shares_nothing_with_the_inline_key(variant: str) -> None:
    both = derive(RAW, variant)

    pieces = {both.sw_secret[start : start + 8] for start in range(25)}
    assert not [1 for start in range(57) if both.inline_key[start : start + 8] in pieces]


def test_wrapped_and_raw_hardware_keys_put_the_same_bytes_on_the_medium() -> None:
    world = World(native=WRAPPING)
    unit = KeyWrapUnit(np.random.default_rng(1), blob_bytes=68)
    inline = unit.inline_key(unit.prepare_key(unit.import_key(RAW)))
    raw = init_key(inline, XTS, dun_bytes=8, data_unit_size=512, label="raw")

    world.write(0, pattern(4096), raw, dun=3)

    assert inline == derive(RAW).inline_key
    assert world.memory_disk.medium[:4096].tobytes() == ciphertext(inline, 3, pattern(4096).tobytes(), 512)


# The ioctls (section 5.3)


class Bare:
    """A device that takes wrapped keys but has no operations on them."""

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None: ...


class Failing(WrappingDevice):
    """A device whose every operation on keys fails with EIO."""

    def fail(self) -> bytes:
        error = type("DriverError", (BlkCryptoError,), {"errno": 5})
        raise error("told to fail")

    def import_key(self, raw_key: bytes) -> bytes:
        return self.fail()

    def generate_key(self) -> bytes:
        return self.fail()

    def prepare_key(self, lt_key: bytes) -> bytes:
        return self.fail()


def profile_with(ops: object, can: Capabilities = WRAPPING) -> CryptoProfile:
    return CryptoProfile("dev", 2, can, ops)


GOOD = WrappingDevice()
LONG_TERM = GOOD.import_key(RAW)
CALLS: dict[str, tuple[Any, bytes | None]] = {
    "import": (import_key, RAW),
    "generate": (generate_key, None),
    "prepare": (prepare_key, LONG_TERM),
}
# In the order of checks: what is wrong, which ioctls look at it, the errno.
FAULTS: list[tuple[str, dict[str, Any], str, int]] = [
    ("not built", {"built": False}, "import generate prepare", 25),
    ("no profile", {"profile": None}, "import generate prepare", 95),
    ("argument unreadable", {"readable": False}, "import generate prepare", 14),
    ("reserved word", {"reserved": (0, 0, 1, 0)}, "import generate prepare", 22),
    ("key too long", {"key_size": 129}, "import prepare", 22),
    ("key too short", {"key_size": 15}, "import", 22),
    ("key unreadable", {"key": None, "key_size": 32}, "import prepare", 14),
    ("no wrapped keys", {"profile": profile_with(GOOD, RAW_ONLY)}, "import generate prepare", 95),
    ("operation missing", {"profile": profile_with(Bare())}, "import generate prepare", 95),
    ("driver error", {"profile": profile_with(Failing())}, "import generate prepare", 5),
    ("no room", {"room": BLOB_BYTES - 1}, "import generate prepare", 75),
    ("result unwritable", {"writable": False}, "import generate prepare", 14),
]
SINGLE = [(call, fault) for fault in FAULTS for call in fault[2].split()]


def errno_of(call: str, *faults: dict[str, Any]) -> int:
    """Errno of an ioctl with these faults at once; 0 for success."""
    function, key = CALLS[call]
    fields: dict[str, Any] = {"key": key}
    for fault in faults:
        fields |= fault
    profile = fields.pop("profile", profile_with(GOOD))
    built = fields.pop("built", True)
    try:
        function(profile, KeyArgument(**fields), built=built)
    except BlkCryptoError as error:
        return error.errno
    return 0


@pytest.mark.parametrize("call", CALLS)
def test_a_faultless_ioctl_gives_a_blob(call: str) -> None:
    assert errno_of(call) == 0


@pytest.mark.parametrize(("call", "fault"), SINGLE, ids=[f"{call}: {fault[0]}" for call, fault in SINGLE])
def test_each_fault_of_an_ioctl_has_its_errno(call: str, fault: tuple[str, dict[str, Any], str, int]) -> None:
    assert errno_of(call, fault[1]) == fault[3]


def pairs() -> list[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    return [
        (call, first, second)
        for position, first in enumerate(FAULTS)
        for second in FAULTS[position + 1 :]
        for call in CALLS
        if call in first[2] and call in second[2] and not first[1].keys() & second[1].keys()
    ]


@pytest.mark.parametrize(
    ("call", "first", "second"), pairs(), ids=[f"{call}: {a[0]} before {b[0]}" for call, a, b in pairs()]
)
def test_of_two_faults_of_an_ioctl_the_one_checked_first_decides(
    call: str, first: tuple[Any, ...], second: tuple[Any, ...]
) -> None:
    assert errno_of(call, second[1], first[1]) == first[3]


def test_a_bad_blob_is_ebadmsg_and_an_empty_one_passes_the_size_check() -> None:
    assert errno_of("prepare", {"key": bytes(BLOB_BYTES)}) == 74
    assert errno_of("prepare", {"key": b""}) == 74


@pytest.mark.parametrize("size", [16, 64])
def test_an_import_of_16_to_64_bytes_reaches_the_driver_which_may_want_another_size(size: int) -> None:
    assert errno_of("import", {"key": bytes(size)}) == 22
    assert errno_of("import", {"key": bytes(size), "profile": profile_with(Failing())}) == 5


def test_the_ioctl_numbers_are_those_of_the_header() -> None:
    # _IOC(read|write, 0x12, number, size of the argument struct)
    def number(nr: int, size: int) -> int:
        return 3 << 30 | size << 16 | 0x12 << 8 | nr

    assert (number(137, 64), number(138, 48), number(139, 64)) == tuple(IOCTLS)
    assert tuple(IOCTLS) == (BLKCRYPTOIMPORTKEY, BLKCRYPTOGENERATEKEY, BLKCRYPTOPREPAREKEY)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [(profile_with(GOOD, RAW_ONLY), 95), (profile_with(Bare()), 95), (profile_with(GOOD), 0)],
    ids=["raw keys only", "no operation", "supported"],
)
def test_deriving_the_software_secret_needs_wrapped_keys_and_the_operation(
    profile: CryptoProfile, expected: int
) -> None:
    blob = GOOD.prepare_key(LONG_TERM)
    try:
        profile.derive_sw_secret(blob)
        got = 0
    except BlkCryptoError as error:
        got = error.errno

    assert got == expected


def test_a_wrapped_key_never_reaches_the_cpu() -> None:
    world = World(native=None)
    world.key("A")  # starts the mode

    world.submit((world.bio(ReqOp.WRITE, 0, pattern(512), name="bio"), world.wrapped_key("W"), 0))

    assert world.done == [("bio", BlkStatus.NOTSUPP)]


def test_a_wrapped_key_that_cannot_be_programmed_fails_the_io_that_uses_it() -> None:
    profile, _ = wrapping_profile()

    grant = run_to_end(profile.get_keyslot(wrapped(bytes(BLOB_BYTES))))

    assert (grant.status, grant.slot) == (BlkStatus.IOERR, NO_SLOT)
