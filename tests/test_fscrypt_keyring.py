"""Master keys of a filesystem: add, claim, remove, evict."""

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.inode_crypto import InodeCrypto
from blkcrypto.fs.fscrypt.key_args import (
    AddKeyArg,
    AddKeyFlags,
    KeySpecifier,
    KeySpecifierInvalid,
    KeySpecType,
    ReservedNotZero,
    parse_remove_arg,
    parse_status_arg,
)
from blkcrypto.fs.fscrypt.key_entry import (
    KeyStatus,
    MasterKeyEntry,
    NoSuchMasterKey,
    RemovalFlags,
    StatusFlags,
)
from blkcrypto.fs.fscrypt.keyring import (
    AddKeyArgInvalid,
    FsKeyring,
    NoClaim,
    NotPermitted,
    WrappedKeysUnavailable,
)
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey, MasterKeySizeInvalid
from blkcrypto.fs.fscrypt.policy import Context, Policy, PolicyFlags
from blkcrypto.fs.fscrypt.process_keys import (
    KeyRejected,
    KeyRevoked,
    NoSuchKey,
    PayloadInvalid,
    ProcessKeyring,
    logon_payload,
)
from blkcrypto.fs.fscrypt.quota import KeyQuota, KeyQuotaExceeded
from tests.fscrypt_world import EXT4, NONCE, RAW, UUID, policy_for

ALICE, BOB = Caller(1001), Caller(1002)
IDENTIFIER = KeySpecifier(KeySpecType.IDENTIFIER, bytes(16))
DESCRIPTOR = KeySpecifier(KeySpecType.DESCRIPTOR, bytes(range(8)))
LBLK_64 = PolicyFlags.PAD_32 | PolicyFlags.IV_INO_LBLK_64


class SyncFailed(BlkCryptoError):
    errno = 5  # EIO


@dataclass
class Inodes:
    """A filesystem whose inodes are busy or not, and which logs what removal asks of it."""

    entry: MasterKeyEntry | None = None
    busy: set[int] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    sync_fails: bool = False

    def sync_filesystem(self) -> None:
        self.log.append("sync")
        if self.sync_fails:
            raise SyncFailed("the disk is gone")

    def evict_unlocked(self, inos: Iterable[int]) -> None:
        for ino in inos:
            if ino not in self.busy:
                self.log.append(f"evict inode {ino}")
                assert self.entry is not None
                self.entry.lock(ino)


@dataclass
class World:
    """A keyring, its inodes, and the keys that devices were told to evict."""

    keyring: FsKeyring
    inodes: Inodes
    evicted: list[BlkCryptoKey]

    def add(self, caller: Caller = ROOT, raw: bytes = RAW) -> KeySpecifier:
        return self.keyring.add(AddKeyArg(spec=IDENTIFIER, raw=raw, raw_size=len(raw)), caller)

    def status(self, spec: KeySpecifier, caller: Caller = ROOT) -> KeyStatus:
        return self.keyring.status(spec, caller).status

    def unlock(self, spec: KeySpecifier, *inos: int) -> MasterKeyEntry:
        entry = self.keyring.find(spec)
        assert entry is not None
        self.inodes.entry = entry
        for ino in inos:
            entry.unlock(ino)
        return entry


def new_world(fs: FileSystem = EXT4, quota: KeyQuota | None = None) -> World:
    inodes, evicted = Inodes(), list[BlkCryptoKey]()
    return World(FsKeyring(fs, inodes, evict_key=evicted.append, quota=quota), inodes, evicted)


@pytest.fixture
def world() -> World:
    return new_world()


def test_an_unknown_key_is_absent_and_not_an_error(world: World) -> None:
    report = world.keyring.status(IDENTIFIER, ROOT)
    assert (report.status, report.flags, report.user_count) == (KeyStatus.ABSENT, 0, 0)


def test_adding_returns_the_identifier_and_makes_the_key_present(world: World) -> None:
    spec = world.add()
    assert spec.key == MasterKey.from_raw(RAW).identifier
    report = world.keyring.status(spec, ROOT)
    assert (report.status, report.flags, report.user_count) == (
        KeyStatus.PRESENT,
        StatusFlags.ADDED_BY_SELF,
        1,
    )


def test_a_key_goes_with_its_last_claim(world: World) -> None:
    spec = world.add(ROOT)
    world.add(ALICE)
    assert world.keyring.remove(spec, ALICE) == RemovalFlags.OTHER_USERS
    assert world.status(spec) is KeyStatus.PRESENT
    assert world.keyring.remove(spec, ROOT) == RemovalFlags.NONE
    assert world.status(spec) is KeyStatus.ABSENT


def test_removing_without_a_claim_changes_nothing(world: World) -> None:
    spec = world.add(ALICE)
    with pytest.raises(NoClaim, match="ENOKEY"):
        world.keyring.remove(spec, BOB)
    assert world.status(spec) is KeyStatus.PRESENT


def test_all_claims_go_at_once_for_the_administrator_only(world: World) -> None:
    spec = world.add(ALICE)
    world.add(BOB)
    with pytest.raises(NotPermitted, match="EACCES"):
        world.keyring.remove(spec, ALICE, all_users=True)
    assert world.keyring.remove(spec, ROOT, all_users=True) == RemovalFlags.NONE
    assert world.status(spec) is KeyStatus.ABSENT


def test_removing_an_absent_key_is_enokey(world: World) -> None:
    with pytest.raises(NoSuchMasterKey, match="ENOKEY"):
        world.keyring.remove(IDENTIFIER, ROOT)


def test_adding_twice_by_one_user_is_one_claim(world: World) -> None:
    spec = world.add(ALICE)
    world.add(ALICE)
    assert world.keyring.status(spec, ALICE).user_count == 1


def test_descriptor_keys_have_no_claims_and_need_the_administrator(world: World) -> None:
    arg = AddKeyArg(spec=DESCRIPTOR, raw=RAW, raw_size=64)
    with pytest.raises(NotPermitted, match="EACCES"):
        world.keyring.add(arg, ALICE)
    world.keyring.add(arg, ROOT)
    assert world.keyring.status(DESCRIPTOR, ROOT).user_count == 0
    with pytest.raises(NotPermitted, match="EACCES"):
        world.keyring.remove(DESCRIPTOR, ALICE)
    assert world.keyring.remove(DESCRIPTOR, ROOT) == RemovalFlags.NONE


def test_removal_with_busy_files_wipes_the_secret_and_keeps_the_shared_key(world: World) -> None:
    spec = world.add()
    entry = world.unlock(spec, 1, 2, 3)
    assert isinstance(entry.secret, MasterKey)
    setup = KeySetup(policy_for(entry.secret, LBLK_64), entry.secret, EXT4)
    shared = setup.contents_key(1, NONCE)
    world.inodes.busy = {2}
    assert world.keyring.remove(spec, ROOT) == RemovalFlags.FILES_BUSY
    assert world.inodes.log == ["sync", "evict inode 1", "evict inode 3"]
    assert world.status(spec) is KeyStatus.INCOMPLETELY_REMOVED
    assert entry.secret.is_wiped
    assert world.evicted == []
    assert setup.contents_key(1, NONCE) is shared


def test_the_last_inode_to_go_takes_the_key_out_of_every_device(world: World) -> None:
    spec = world.add()
    entry = world.unlock(spec, 1)
    assert isinstance(entry.secret, MasterKey)
    setup = KeySetup(policy_for(entry.secret, LBLK_64), entry.secret, EXT4)
    shared = setup.contents_key(1, NONCE)
    world.inodes.busy = {1}
    world.keyring.remove(spec, ROOT)
    entry.lock(1)
    assert world.status(spec) is KeyStatus.ABSENT
    assert world.evicted == [shared]


def test_removal_can_be_tried_again_until_the_object_is_gone(world: World) -> None:
    spec = world.add()
    world.unlock(spec, 1)
    world.inodes.busy = {1}
    assert world.keyring.remove(spec, ROOT) == RemovalFlags.FILES_BUSY
    assert world.keyring.remove(spec, ALICE) == RemovalFlags.FILES_BUSY
    world.inodes.busy = set()
    assert world.keyring.remove(spec, ROOT) == RemovalFlags.NONE
    with pytest.raises(NoSuchMasterKey, match="ENOKEY"):
        world.keyring.remove(spec, ROOT)


def test_no_inode_unlocks_after_removal_until_the_key_is_back(world: World) -> None:
    spec = world.add()
    entry = world.unlock(spec, 1)
    world.inodes.busy = {1}
    world.keyring.remove(spec, ROOT)
    with pytest.raises(NoSuchMasterKey, match="ENOKEY"):
        entry.unlock(2)
    world.add(ALICE)
    entry.unlock(2)
    assert world.status(spec) is KeyStatus.PRESENT
    assert not entry.secret.is_wiped if isinstance(entry.secret, MasterKey) else False


def test_a_sync_error_wins_over_busy_files_but_eviction_goes_on(world: World) -> None:
    spec = world.add()
    world.unlock(spec, 1, 2)
    world.inodes.busy, world.inodes.sync_fails = {1}, True
    with pytest.raises(SyncFailed):
        world.keyring.remove(spec, ROOT)
    assert world.inodes.log == ["sync", "evict inode 2"]
    assert world.status(spec) is KeyStatus.INCOMPLETELY_REMOVED


def test_without_unlocked_inodes_nothing_is_synced(world: World) -> None:
    world.keyring.remove(world.add(), ROOT)
    assert world.inodes.log == []


def test_each_claim_counts_against_its_users_quota_once() -> None:
    quota = KeyQuota(max_keys=2)
    world = new_world(quota=quota)
    first = world.add(ALICE, bytes(32))
    world.add(ALICE, bytes(32))
    world.add(ALICE, bytes([1]) * 32)
    with pytest.raises(KeyQuotaExceeded, match="EDQUOT"):
        world.add(ALICE, bytes([2]) * 32)
    world.add(BOB, bytes([2]) * 32)
    world.keyring.remove(first, ALICE)
    world.add(ALICE, bytes([3]) * 32)
    assert quota.used_keys(1001) == 2


def test_the_bytes_of_claims_are_limited_whatever_the_keys_size() -> None:
    # 64 bytes of payload, 32 hex digits, ".uid.1001" and a NUL: 106 bytes a claim, so 212 for two.
    world = new_world(quota=KeyQuota(max_bytes=212))
    world.add(ALICE, bytes(16))
    world.add(ALICE, bytes(64))
    with pytest.raises(KeyQuotaExceeded):
        world.add(ALICE, bytes([1]) * 16)


def test_limits_are_linux_s_defaults_and_root_has_its_own() -> None:
    """``key_quota_maxkeys`` and the like, security/keys/key.c."""
    quota = KeyQuota()
    assert (quota.max_keys, quota.max_bytes) == (200, 20_000)
    assert (quota.root_max_keys, quota.root_max_bytes) == (1_000_000, 25_000_000)
    small = KeyQuota(max_keys=0, root_max_keys=1)
    small.charge(0)
    for uid in (0, 1):
        with pytest.raises(KeyQuotaExceeded):
            small.charge(uid)


def test_bytes_of_a_released_claim_may_be_used_again() -> None:
    quota = KeyQuota(max_bytes=64 + 32 + len(".uid.7") + 1)
    for _ in range(3):
        quota.charge(7)
        quota.release(7)
    assert (quota.used_keys(7), quota.used_keys(8)) == (0, 0)


def test_unmounting_evicts_every_key_and_returns_the_quota() -> None:
    quota = KeyQuota()
    world = new_world(quota=quota)
    spec = world.add(ALICE)
    entry = world.unlock(spec)
    assert isinstance(entry.secret, MasterKey)
    shared = KeySetup(policy_for(entry.secret, LBLK_64), entry.secret, EXT4).contents_key(1, NONCE)
    world.keyring.unmount()
    assert (world.evicted, quota.used_keys(1001), world.status(spec)) == ([shared], 0, KeyStatus.ABSENT)


@pytest.mark.parametrize("size", [0, 15, 65, 0xFFFFFFFF])
def test_a_key_of_impossible_size_is_refused(world: World, size: int) -> None:
    with pytest.raises(MasterKeySizeInvalid, match="EINVAL"):
        world.keyring.add(AddKeyArg(spec=IDENTIFIER, raw=bytes(64), raw_size=size), ROOT)


@pytest.mark.parametrize(
    ("spec", "flags"),
    [(IDENTIFIER, 2), (IDENTIFIER, 3), (IDENTIFIER, 2**31), (DESCRIPTOR, AddKeyFlags.HW_WRAPPED)],
)
def test_unknown_flags_and_wrapped_descriptor_keys_are_refused(
    world: World, spec: KeySpecifier, flags: int
) -> None:
    with pytest.raises(AddKeyArgInvalid, match="EINVAL"):
        world.keyring.add(AddKeyArg(spec=spec, raw=RAW, raw_size=64, flags=flags), ROOT)


@pytest.mark.parametrize("size", [16, 64])
def test_a_key_of_least_and_of_greatest_size_is_taken(world: World, size: int) -> None:
    assert world.status(world.add(raw=RAW[:size])) is KeyStatus.PRESENT


@pytest.mark.parametrize("inlinecrypt", [True, False])
def test_wrapped_keys_need_the_mount_option_and_a_device(inlinecrypt: bool) -> None:
    fs = ext4_like(UUID, inlinecrypt=inlinecrypt)
    world = new_world(fs)
    with pytest.raises(WrappedKeysUnavailable) as caught:
        world.keyring.add(AddKeyArg(spec=IDENTIFIER, raw=bytes(128), raw_size=128, flags=1), ROOT)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_wrapped_key_is_named_by_what_the_device_derives() -> None:
    keyring = FsKeyring(EXT4, Inodes(), evict_key=print, derive_sw_secret=lambda blob: bytes(32))
    spec = keyring.add(AddKeyArg(spec=IDENTIFIER, raw=bytes(range(128)), raw_size=128, flags=1), ROOT)
    assert spec.key == MasterKey.from_hw_wrapped(bytes(range(128)), bytes(32)).identifier


@pytest.mark.parametrize("size", [15, 129])
def test_a_wrapped_key_of_impossible_size_is_refused(size: int) -> None:
    keyring = FsKeyring(EXT4, Inodes(), evict_key=print, derive_sw_secret=lambda blob: bytes(32))
    with pytest.raises(MasterKeySizeInvalid, match="EINVAL"):
        keyring.add(AddKeyArg(spec=IDENTIFIER, raw=bytes(size), raw_size=size, flags=1), ROOT)


def test_status_tells_one_s_own_claim_from_others(world: World) -> None:
    spec = world.add(ALICE)
    world.add(BOB)
    reports = [world.keyring.status(spec, caller) for caller in (ALICE, ROOT)]
    assert [report.user_count for report in reports] == [2, 2]
    assert [report.flags for report in reports] == [StatusFlags.ADDED_BY_SELF, StatusFlags.NONE]


def test_a_claim_is_its_user_s_and_a_descriptor_key_has_none(world: World) -> None:
    spec = world.add(ALICE)
    world.keyring.add(AddKeyArg(spec=DESCRIPTOR, raw=RAW, raw_size=64), ROOT)
    assert world.keyring.has_claim(spec, ALICE)
    assert not world.keyring.has_claim(spec, BOB)
    assert not world.keyring.has_claim(DESCRIPTOR, ROOT)
    assert not world.keyring.has_claim(IDENTIFIER, ALICE)


def test_unmounting_leaves_a_key_alone_that_was_removed_from_under_open_files(world: World) -> None:
    spec = world.add()
    world.unlock(spec, 1)
    world.inodes.busy = {1}
    world.keyring.remove(spec, ROOT)
    world.keyring.unmount()
    assert world.status(spec) is KeyStatus.INCOMPLETELY_REMOVED


def provisioning(kind: int, flags: int, raw: bytes) -> bytes:
    return struct.pack("<II", kind, flags) + raw


def test_a_provisioning_key_serves_its_own_type_only(world: World) -> None:
    keys = ProcessKeyring()
    serial = keys.add("fscrypt-provisioning", "k", provisioning(2, 0, RAW))
    spec = world.keyring.add(AddKeyArg(spec=IDENTIFIER, raw_size=0, key_id=serial), ROOT, keys)
    assert spec.key == MasterKey.from_raw(RAW).identifier
    with pytest.raises(KeyRejected, match="EKEYREJECTED"):
        world.keyring.add(AddKeyArg(spec=DESCRIPTOR, raw_size=0, key_id=serial), ROOT, keys)
    with pytest.raises(KeyRejected, match="EKEYREJECTED"):
        world.keyring.add(AddKeyArg(spec=IDENTIFIER, raw_size=0, key_id=serial, flags=1), ROOT, keys)


def test_a_provisioning_key_comes_instead_of_a_raw_key(world: World) -> None:
    keys = ProcessKeyring()
    serial = keys.add("fscrypt-provisioning", "k", provisioning(2, 0, RAW))
    with pytest.raises(AddKeyArgInvalid, match="EINVAL"):
        world.keyring.add(AddKeyArg(spec=IDENTIFIER, raw=RAW, raw_size=64, key_id=serial), ROOT, keys)
    with pytest.raises(NoSuchKey, match="ENOKEY"):
        world.keyring.add(AddKeyArg(spec=IDENTIFIER, raw_size=0, key_id=serial + 1), ROOT, keys)
    keys.revoke(serial)
    with pytest.raises(KeyRevoked, match="EKEYREVOKED"):
        world.keyring.add(AddKeyArg(spec=IDENTIFIER, raw_size=0, key_id=serial), ROOT, keys)


@pytest.mark.parametrize(
    ("kind", "flags", "size", "holds"),
    [
        (2, 0, 15, False),
        (2, 0, 16, True),
        (2, 0, 64, True),
        (2, 0, 65, False),
        (2, 1, 65, True),
        (2, 1, 128, True),
        (2, 1, 129, False),
        (2, 2, 64, False),
        (1, 0, 64, True),
        (0, 0, 64, False),
        (3, 0, 64, False),
    ],
)
def test_a_provisioning_payload_is_checked_when_the_key_is_made(
    kind: int, flags: int, size: int, holds: bool
) -> None:
    payload = provisioning(kind, flags, bytes(range(size)))
    keys = ProcessKeyring()
    if not holds:
        with pytest.raises(PayloadInvalid, match="EINVAL"):
            keys.add("fscrypt-provisioning", "k", payload)
        return
    serial = keys.add("fscrypt-provisioning", "k", payload)
    assert keys.provisioning(serial, KeySpecType(kind), flags) == bytes(range(size))


def test_only_a_provisioning_key_can_be_given_by_number() -> None:
    keys = ProcessKeyring()
    serial = keys.add("user", "k", provisioning(2, 0, RAW))
    with pytest.raises(KeyRejected, match="EKEYREJECTED"):
        keys.provisioning(serial, KeySpecType.IDENTIFIER, 0)


@pytest.mark.parametrize("description", ["fscrypt", ":fscrypt", ":fscrypt:", ""])
def test_a_logon_key_needs_a_prefix(description: str) -> None:
    """``logon_vet_description()``: the first colon is not the first character."""
    with pytest.raises(PayloadInvalid, match="EINVAL"):
        ProcessKeyring().add("logon", description, bytes(72))


def test_a_prefix_of_one_character_is_enough_and_other_keys_need_none() -> None:
    keys = ProcessKeyring()
    assert keys.add("logon", "f:", bytes(72)) != keys.add("user", "f", bytes(72))


def test_a_key_of_the_same_kind_and_description_is_replaced_and_no_longer_revoked() -> None:
    keys = ProcessKeyring()
    old = keys.add("fscrypt-provisioning", "k", provisioning(2, 0, bytes(64)))
    other = keys.add("fscrypt-provisioning", "l", provisioning(2, 0, bytes(32)))
    keys.revoke(old)
    assert keys.add("fscrypt-provisioning", "k", provisioning(2, 0, RAW)) == old
    assert keys.provisioning(old, KeySpecType.IDENTIFIER, 0) == RAW
    assert keys.provisioning(other, KeySpecType.IDENTIFIER, 0) == bytes(32)


def logon(size: int, *, stated: int | None = None, prefix: str = "fscrypt:") -> ProcessKeyring:
    keys = ProcessKeyring()
    keys.add("logon", prefix + bytes(8).hex(), logon_payload(RAW[:size], stated))
    return keys


@pytest.mark.parametrize(("size", "least"), [(1, 1), (64, 64), (64, 16), (32, 32)])
def test_a_logon_key_holds_as_many_bytes_as_it_states(size: int, least: int) -> None:
    assert logon(size).v1_key("ext4", bytes(8), least) == RAW[:size]


@pytest.mark.parametrize(("stated", "least"), [(0, 0), (65, 16), (31, 32), (2**32 - 1, 16)])
def test_a_logon_key_that_states_an_impossible_size_or_too_few_bytes_is_enokey(
    stated: int, least: int
) -> None:
    with pytest.raises(NoSuchKey, match="ENOKEY"):
        logon(64, stated=stated).v1_key("ext4", bytes(8), least)


@pytest.mark.parametrize("nbytes", [71, 73])
def test_a_logon_payload_of_another_length_is_enokey(nbytes: int) -> None:
    keys = ProcessKeyring()
    keys.add("logon", "fscrypt:" + bytes(8).hex(), logon_payload(RAW).ljust(nbytes, b"\0")[:nbytes])
    with pytest.raises(NoSuchKey, match="ENOKEY"):
        keys.v1_key("ext4", bytes(8), 16)


def test_the_filesystem_s_own_prefix_is_looked_for_after_the_common_one() -> None:
    keys = logon(16, prefix="ext4:")
    assert keys.v1_key("ext4", bytes(8), 16) == RAW[:16]
    with pytest.raises(NoSuchKey, match="ENOKEY"):
        keys.v1_key("f2fs", bytes(8), 16)
    keys.add("logon", "fscrypt:" + bytes(8).hex(), logon_payload(RAW[:32]))
    assert keys.v1_key("ext4", bytes(8), 16) == RAW[:32]


SPEC = KeySpecifier(KeySpecType.IDENTIFIER, bytes(range(16))).to_bytes()


@pytest.mark.parametrize("at", [0, 4])
def test_a_damaged_key_specifier_is_refused_everywhere(at: int) -> None:
    data = bytearray(SPEC + bytes(128))
    data[at] = 3
    for parse in (AddKeyArg.from_bytes, parse_remove_arg, parse_status_arg):
        with pytest.raises(KeySpecifierInvalid, match="EINVAL"):
            parse(bytes(data))


@pytest.mark.parametrize(
    ("parse", "size", "first", "last"),
    [(AddKeyArg.from_bytes, 80, 52, 79), (parse_remove_arg, 64, 44, 63), (parse_status_arg, 128, 40, 63)],
)
def test_reserved_bytes_must_be_zero(parse: object, size: int, first: int, last: int) -> None:
    assert callable(parse)
    parse(SPEC + bytes(size - 40))
    for at in (first, last):
        data = bytearray(SPEC + bytes(size - 40))
        data[at] = 1
        with pytest.raises(ReservedNotZero, match="EINVAL"):
            parse(bytes(data))


@pytest.mark.parametrize("at", [16, 39])
def test_the_rest_of_a_specifiers_union_is_ignored(at: int) -> None:
    data = bytearray(DESCRIPTOR.to_bytes())
    data[at] = 0xFF
    assert KeySpecifier.from_bytes(bytes(data)) == DESCRIPTOR
    assert parse_status_arg(bytes(data) + bytes(88)) == DESCRIPTOR
    assert parse_remove_arg(bytes(data) + bytes(24)) == DESCRIPTOR
    assert AddKeyArg.from_bytes(bytes(data) + bytes(40)).spec == DESCRIPTOR


def test_files_of_a_v1_direct_key_policy_share_one_key_which_goes_with_the_last_of_them() -> None:
    evicted = list[BlkCryptoKey]()
    keyring = FsKeyring(EXT4, Inodes(), evict_key=evicted.append)
    crypto = InodeCrypto(EXT4, "ext4", keyring, evict_key=evicted.append)
    keys = logon(64)
    policy = Policy(
        version=1, contents_mode=9, filenames_mode=9, flags=PolicyFlags.DIRECT_KEY, master_key=bytes(8)
    )
    infos = {}
    for ino in (1, 2):
        stored = Context(policy, bytes([ino]) * 16).to_bytes()
        infos[ino] = crypto.load(ino, InodeKind.REGULAR, stored, process_keys=keys)
    shared = [info.setup.contents_key(ino, info.nonce) for ino, info in infos.items() if info and info.setup]
    assert len(shared) == 2
    assert shared[0] is shared[1]
    gone = []
    for ino, info in infos.items():
        assert info is not None
        crypto.drop(ino, info)
        gone.append(list(evicted))
    assert gone == [[], [shared[0]]]
