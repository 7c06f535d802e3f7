"""Whole-device encryption: dm-crypt, dm-inlinecrypt, default-key."""

import errno
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import CryptoModeNum
from blkcrypto.fs.keysetup_io.contexts import CRYPT, Ctx, Place, Strictness, objection
from blkcrypto.fs.keysetup_io.progress import obstacle
from blkcrypto.fs.stacked.crypt_path import (
    WRITE_PATH,
    CryptFlag,
    Where,
    read_path,
    split_sectors,
    write_path,
)
from blkcrypto.fs.stacked.designs import DESIGNS
from blkcrypto.fs.stacked.dmcrypt_device import CryptDevice, flags_of
from blkcrypto.fs.stacked.inline_device import DefaultKeyDevice, InlinecryptDevice
from blkcrypto.fs.store import SoftwareStore
from tests.fscrypt_world import GOLDEN, needs_golden
from tests.oracle.design_stacked import dm_sector
from tests.oracle.slow_xts import xts_unit

XTS_KEY, CBC_KEY = bytes(range(64)), bytes(range(32))
SECTORS = 2048
TEXT = bytes(range(256)) * 32
FLAGS = tuple(flag.value for flag in CryptFlag)


def table(
    cipher: str = "aes-xts-plain64",
    *options: str,
    target: str = "crypt",
    key: bytes = XTS_KEY,
    iv_offset: int = 0,
    start: int = 0,
    length: int = SECTORS,
) -> str:
    tail = f" {len(options)} {' '.join(options)}" if options else ""
    return f"0 {length} {target} {cipher} {key.hex()} {iv_offset} 8:0 {start}{tail}"


def device(cipher: str = "aes-xts-plain64", *options: str, **given: Any) -> CryptDevice:
    return CryptDevice(table(cipher, *options, **given), bytearray(2 * SECTORS * 512))


def golden_cases() -> list[Any]:
    path = GOLDEN / "dm" / "dm.json"
    cases: list[Any] = json.loads(path.read_text())["cases"] if path.is_file() else []
    return cases


@needs_golden
@pytest.mark.parametrize("number", range(len(golden_cases())))
def test_the_device_writes_what_linux_wrote(number: int) -> None:
    case = golden_cases()[number]
    text = {errno.EINVAL: "Invalid argument", errno.ENOENT: "No such file or directory"}
    text[errno.EOPNOTSUPP] = "Operation not supported"
    medium, store = bytearray(8192 * 512), SoftwareStore(512)
    try:
        mapping = (
            CryptDevice(case["table"], medium)
            if case["target"] == "crypt"
            else InlinecryptDevice(case["table"], store)
        )
    except BlkCryptoError as error:
        result = text[error.errno]
    else:
        result = "OK"
    assert result == case["result"]
    data = (GOLDEN / "dm" / "dm.bin").read_bytes()
    for segment in case.get("segments", []):
        nbytes, place = segment["sectors"] * 512, segment["backing_sector"]
        plain = hashlib.shake_128(segment["seed"].encode()).digest(nbytes)
        if isinstance(mapping, CryptDevice):
            mapping.write(segment["sector"], plain)
            assert mapping.read(segment["sector"], nbytes) == plain
            stored = bytes(medium[place * 512 : place * 512 + nbytes])
        else:
            mapping.write(None, segment["sector"], plain)
            assert mapping.read(None, segment["sector"], nbytes) == plain
            stored = b"".join(store.medium[place + at] for at in range(segment["sectors"]))
        assert stored == data[segment["bin_offset"] : segment["bin_offset"] + nbytes]


@pytest.mark.parametrize("mode", ["plain", "plain64", "plain64be", "benbi", "null", "essiv:sha256", "eboiv"])
@pytest.mark.parametrize("iv_offset", [0, 1000, 2**32 - 3])
def test_iv_modes_of_cbc_are_what_the_oracle_says(mode: str, iv_offset: int) -> None:
    dm = device(f"aes-cbc-{mode}", key=CBC_KEY, iv_offset=iv_offset, start=16)
    dm.write(5, TEXT[:2048])
    for at in range(4):
        expected = dm_sector("cbc", mode, CBC_KEY, 5 + at + iv_offset, TEXT[at * 512 : at * 512 + 512])
        place = (16 + 5 + at) * 512
        assert bytes(dm.medium[place : place + 512]) == expected


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("large", [False, True])
def test_sector_sizes_count_ivs_in_sectors_or_units(size: int, large: bool) -> None:
    options = [f"sector_size:{size}", *(["iv_large_sectors"] if large else [])]
    dm = device("aes-xts-plain64", *options, iv_offset=16)
    dm.write(8, TEXT[:4096])
    for at in range(0, 4096, size):
        sector = 8 + 16 + at // 512
        number = sector // (size // 512) if large else sector
        expected = dm_sector("xts", "plain64", XTS_KEY, number, TEXT[at : at + size])
        assert bytes(dm.medium[4096 + at : 4096 + at + size]) == expected
    assert dm.counts.crypto_calls == 4096 // size


def test_plain_repeats_every_2_tib_and_plain64_does_not() -> None:
    stored = {}
    for mode in ("plain", "plain64"):
        for iv_offset in (0, 2**32):
            dm = device(f"aes-xts-{mode}", iv_offset=iv_offset)
            dm.write(0, bytes(512))
            stored[mode, iv_offset] = bytes(dm.medium[:512])
    assert stored["plain", 0] == stored["plain", 2**32]
    assert stored["plain64", 0] != stored["plain64", 2**32]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_keys_take_turns_by_sector(count: int) -> None:
    key = bytes((at * 7) % 256 for at in range(64 * count))
    dm = device(f"aes:{count}-xts-plain64", key=key, iv_offset=3)
    dm.write(0, TEXT[:4096])
    for sector in range(8):
        which = (sector + 3) % count
        expected = xts_unit(
            key[64 * which : 64 * which + 64],
            (sector + 3).to_bytes(16, "little"),
            TEXT[sector * 512 : sector * 512 + 512],
            "encrypt",
        )
        assert bytes(dm.medium[sector * 512 : sector * 512 + 512]) == expected
    assert dm.read(0, 4096) == TEXT[:4096]


def test_with_4096_byte_units_eight_keys_are_one() -> None:
    key = bytes((at * 7) % 256 for at in range(64 * 8))
    one, eight = device(key=key[:64]), device("aes:8-xts-plain64", "sector_size:4096", key=key)
    plain = device("aes-xts-plain64", "sector_size:4096", key=key[:64])
    for dm in (one, eight, plain):
        dm.write(0, TEXT)
    assert eight.medium == plain.medium != one.medium


@pytest.mark.parametrize("cipher", ["aes:3-xts-plain64", "aes:2-cbc-essiv:sha256", "aes:2-cbc-eboiv"])
def test_key_counts_that_linux_refuses_are_einval(cipher: str) -> None:
    with pytest.raises(BlkCryptoError, match="EINVAL"):
        device(cipher, key=bytes(range(64)))


@settings(deadline=None, max_examples=40)
@given(
    writes=st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 8), st.integers(0, 255)), min_size=1, max_size=8
    ),
    size=st.sampled_from([512, 4096]),
)
def test_a_device_is_the_bytes_written_to_it(writes: list[tuple[int, int, int]], size: int) -> None:
    dm = device("aes-xts-plain64", f"sector_size:{size}")
    model = bytearray(dm.read(0, SECTORS * 512))
    for unit, count, fill in writes:
        data = bytes([fill]) * (count * size)
        dm.write(unit * size // 512, data)
        model[unit * size : unit * size + len(data)] = data
    again = CryptDevice(dm.line, dm.medium)
    assert again.read(0, SECTORS * 512) == bytes(model)


@pytest.mark.parametrize(
    ("sector", "nbytes"), [(1, 4096), (8, 512), (SECTORS, 4096), (SECTORS - 8, 8192), (-8, 4096)]
)
def test_io_that_is_not_whole_units_inside_the_mapping_is_eio(sector: int, nbytes: int) -> None:
    dm = device("aes-xts-plain64", "sector_size:4096")
    for io in (lambda: dm.write(sector, bytes(nbytes)), lambda: dm.read(sector, nbytes)):
        with pytest.raises(BlkCryptoError, match="EIO"):
            io()


def test_discards_are_refused_and_when_allowed_show_what_is_unused() -> None:
    with pytest.raises(BlkCryptoError, match="EOPNOTSUPP"):
        device().discard(0, 4096)
    dm = device("aes-xts-plain64", "allow_discards")
    dm.write(0, TEXT)
    dm.discard(0, 4096)
    assert bytes(dm.medium[:4096]) == bytes(4096) != bytes(dm.medium[4096:8192])


def test_erasing_the_key_erases_the_device_and_a_wrong_key_is_not_noticed() -> None:
    dm = device()
    dm.write(0, TEXT)
    dm.wipe_key()
    for io in (lambda: dm.read(0, 512), lambda: dm.write(0, bytes(512))):
        with pytest.raises(BlkCryptoError, match="EIO"):
            io()
    dm.set_key(XTS_KEY[::-1])
    assert dm.read(0, len(TEXT)) != TEXT
    dm.set_key(XTS_KEY)
    assert dm.read(0, len(TEXT)) == TEXT


def test_the_same_sector_written_twice_shows_which_blocks_changed() -> None:
    dm = device()
    dm.write(0, TEXT[:512])
    before = bytes(dm.medium[:512])
    changed = bytearray(TEXT[:512])
    changed[100] ^= 1
    dm.write(0, bytes(changed))
    blocks = [at for at in range(0, 512, 16) if before[at : at + 16] != dm.medium[at : at + 16]]
    assert blocks == [96]


@pytest.mark.parametrize(
    ("flags", "crypt", "submit", "handovers", "is_sorted"),
    [
        ((), Where.KCRYPTD, Where.DMCRYPT_WRITE, 2, True),
        (("submit_from_crypt_cpus",), Where.KCRYPTD, Where.KCRYPTD, 1, False),
        (("no_write_workqueue",), Where.SUBMITTER, Where.SUBMITTER, 0, False),
        (("no_write_workqueue", "submit_from_crypt_cpus"), Where.SUBMITTER, Where.SUBMITTER, 0, False),
        (("no_read_workqueue",), Where.KCRYPTD, Where.DMCRYPT_WRITE, 2, True),
    ],
)
def test_flags_choose_who_encrypts_a_write_and_who_submits_it(
    flags: tuple[str, ...], crypt: Where, submit: Where, handovers: int, is_sorted: bool
) -> None:
    path = write_path(flags_of(table("aes-xts-plain64", *flags)))
    assert (path.crypt, path.submit, path.handovers, path.sorted_writes) == (
        crypt,
        submit,
        handovers,
        is_sorted,
    )


@pytest.mark.parametrize(
    ("flags", "interrupts_off", "crypt", "context", "handovers"),
    [
        ((), False, Where.KCRYPTD, Ctx.NOIO, 1),
        ((), True, Where.KCRYPTD, Ctx.NOIO, 1),
        (("no_read_workqueue",), False, Where.COMPLETION, Ctx.ATOMIC, 0),
        (("no_read_workqueue",), True, Where.SOFTIRQ_WORKER, Ctx.ATOMIC, 1),
    ],
)
def test_flags_choose_who_decrypts_a_read(
    flags: tuple[str, ...], interrupts_off: bool, crypt: Where, context: Ctx, handovers: int
) -> None:
    path = read_path(flags_of(table("aes-xts-plain64", *flags)), interrupts_off=interrupts_off)
    assert (path.crypt, path.crypt_context, path.handovers) == (crypt, context, handovers)
    assert objection(CRYPT, Place(path.crypt_context), Strictness.STRICT) == ""


@pytest.mark.parametrize("flag", FLAGS)
def test_no_flag_changes_a_byte_on_the_medium(flag: str) -> None:
    plain, flagged = device(), device("aes-xts-plain64", flag)
    for dm in (plain, flagged):
        dm.write(0, TEXT)
    assert flagged.medium == plain.medium


@pytest.mark.parametrize("flag", [None, *CryptFlag])
@pytest.mark.parametrize("bound", [True, False])
def test_same_cpu_crypt_alone_binds_workers_and_no_write_is_encrypted_where_it_may_start_io(
    flag: CryptFlag | None, bound: bool
) -> None:
    flags = frozenset({*([flag] if flag else []), *([CryptFlag.SAME_CPU_CRYPT] if bound else [])})
    bound = CryptFlag.SAME_CPU_CRYPT in flags
    assert (write_path(flags).bound, write_path(flags).crypt_context) == (bound, Ctx.NOIO)
    for interrupts_off in (True, False):
        path = read_path(flags, interrupts_off=interrupts_off)
        assert (path.bound, path.submit, path.sorted_writes) == (bound, Where.SUBMITTER, False)


@pytest.mark.parametrize(
    ("sectors", "size", "limit", "parts"),
    [
        (256, 512, 131072, [256]),
        (300, 512, 131072, [256, 44]),
        (600, 4096, 131072, [256, 256, 88]),
        (16, 4096, 5000, [8, 8]),
        (16, 4096, 512, [8, 8]),
    ],
)
def test_bios_are_split_into_whole_units_of_at_most_the_limit(
    sectors: int, size: int, limit: int, parts: list[int]
) -> None:
    assert split_sectors(sectors, size, limit) == parts


def test_writes_are_copied_and_reads_are_not() -> None:
    dm = device()
    dm.write(0, bytes(300 * 512))
    written = dm.counts.bounce_bytes
    dm.read(0, 300 * 512)
    assert (written, dm.counts.bounce_bytes - written, dm.counts.bios) == (300 * 512, 0, 4)
    # Two parts each way; writes change hands twice, reads once.
    assert (dm.counts.handovers, dm.counts.crypto_calls) == (2 * 2 + 2 * 1, 600)


def test_the_targets_pools_are_enough_for_progress() -> None:
    assert obstacle(WRITE_PATH) == ""
    pages, requests = WRITE_PATH
    assert pages.count * 4096 == 131072  # all of the largest part at once
    assert (pages.min_nr, requests.min_nr, requests.count) == (256, 64, 1)  # BIO_MAX_VECS, MIN_IOS


def test_a_part_is_at_most_128_kib_unless_told_otherwise() -> None:
    assert split_sectors(257, 512) == [256, 1]


INLINE = ("sector_size:4096", "iv_large_sectors")


def inline_key() -> BioCryptCtx:
    key = init_key(XTS_KEY[::-1], CryptoModeNum.AES_256_XTS, dun_bytes=8, data_unit_size=4096)
    return BioCryptCtx(key, 77)


def test_dm_inlinecrypt_writes_what_dm_crypt_writes_with_large_sectors() -> None:
    dm, store = device("aes-xts-plain64", *INLINE, iv_offset=16), SoftwareStore(512)
    inline = InlinecryptDevice(table("aes-xts-plain64", *INLINE, target="inlinecrypt", iv_offset=16), store)
    dm.write(8, TEXT)
    inline.write(None, 8, TEXT)
    assert b"".join(store.medium[8 + at] for at in range(16)) == bytes(dm.medium[4096 : 4096 + len(TEXT)])


def test_dm_inlinecrypt_ends_bios_with_a_context_or_inside_a_unit_with_eio() -> None:
    inline = InlinecryptDevice(table("aes-xts-plain64", *INLINE, target="inlinecrypt"), SoftwareStore(512))
    for ctx, sector in ((inline_key(), 0), (None, 1)):
        with pytest.raises(BlkCryptoError, match="EIO"):
            inline.write(ctx, sector, bytes(4096))


def test_a_file_encrypted_above_dm_inlinecrypt_is_encrypted_twice() -> None:
    store = SoftwareStore(512)
    dm = InlinecryptDevice(table("aes-xts-plain64", *INLINE, target="inlinecrypt"), store)
    above = xts_unit(XTS_KEY[::-1], (77).to_bytes(16, "little"), TEXT[:4096], "encrypt")
    dm.write(None, 8, above)
    stored = b"".join(store.medium[8 + at] for at in range(8))
    assert stored == xts_unit(XTS_KEY, (1).to_bytes(16, "little"), above, "encrypt")


def test_a_raw_copy_elsewhere_reads_only_with_the_iv_offset_of_where_it_was() -> None:
    dm = device()
    dm.write(0, TEXT)
    dm.medium[100 * 512 : 100 * 512 + len(TEXT)] = dm.medium[: len(TEXT)]
    moved = CryptDevice(table(start=100), dm.medium)
    shifted = CryptDevice(table(iv_offset=8, start=100 - 8), dm.medium)
    assert (dm.read(100, len(TEXT)) == TEXT, moved.read(0, len(TEXT)) == TEXT) == (False, True)
    assert shifted.read(8, len(TEXT)) != TEXT


def test_a_snapshot_of_the_medium_reads_with_the_same_table() -> None:
    dm = device()
    dm.write(0, TEXT)
    snapshot = bytearray(dm.medium)
    dm.write(0, bytes(len(TEXT)))
    assert CryptDevice(dm.line, snapshot).read(0, len(TEXT)) == TEXT


def test_default_key_encrypts_metadata_once_and_contents_once() -> None:
    store = SoftwareStore(512)
    dm = DefaultKeyDevice(table("aes-xts-plain64", *INLINE, target="inlinecrypt"), store)
    dm.write(None, 0, TEXT[:4096])
    dm.write(inline_key(), 8, TEXT[:4096], skip=True)
    metadata, contents = (b"".join(store.medium[at + n] for n in range(8)) for at in (0, 8))
    assert metadata == xts_unit(XTS_KEY, bytes(16), TEXT[:4096], "encrypt")
    assert contents == xts_unit(XTS_KEY[::-1], (77).to_bytes(16, "little"), TEXT[:4096], "encrypt")
    assert dm.read(None, 0, 4096) == dm.read(inline_key(), 8, 4096, skip=True) == TEXT[:4096]


def test_default_key_moves_ciphertext_unchanged() -> None:
    store = SoftwareStore(512)
    dm = DefaultKeyDevice(table("aes-xts-plain64", *INLINE, target="inlinecrypt"), store)
    dm.write(inline_key(), 0, TEXT[:4096], skip=True)
    dm.write(None, 16, dm.read(None, 0, 4096, skip=True), skip=True)
    assert dm.read(inline_key(), 16, 4096, skip=True) == TEXT[:4096]


def test_default_key_refuses_a_context_without_the_mark() -> None:
    dm = DefaultKeyDevice(table("aes-xts-plain64", *INLINE, target="inlinecrypt"), SoftwareStore(512))
    with pytest.raises(BlkCryptoError, match="EIO"):
        dm.write(inline_key(), 0, bytes(4096))


def test_each_target_refuses_the_others_table() -> None:
    with pytest.raises(BlkCryptoError, match="EINVAL"):
        CryptDevice(table(target="inlinecrypt"), bytearray(512))
    with pytest.raises(BlkCryptoError, match="EINVAL"):
        InlinecryptDevice(table(), SoftwareStore(512))


def test_every_stacked_design_has_a_row() -> None:
    assert [row.name for row in DESIGNS] == ["dm-crypt", "dm-inlinecrypt", "dm-default-key", "ecryptfs"]


def test_a_key_that_does_not_divide_into_as_many_as_the_table_says_is_einval() -> None:
    with pytest.raises(BlkCryptoError, match="129 bytes do not make 2 keys"):
        device("aes:2-xts-plain64", key=bytes(range(129)))
