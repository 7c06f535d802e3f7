"""Tables of device-mapper that are no tables: EINVAL, each for its own reason (dm-crypt(4), dmsetup(8))."""

import errno

import pytest

from blkcrypto.block.key import KeyType
from blkcrypto.fs.dm_table import (
    DmCrypt,
    DmInlinecrypt,
    DmTable,
    TableInvalid,
    WrappedKeysUnavailable,
    parse_table,
)

KEY = "".join(f"{byte:02x}" for byte in range(64))
INLINE = f"0 2048 inlinecrypt aes-xts-plain64 {KEY} 0 8:0 0"


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("0 2048 crypt", "not a crypt or inlinecrypt table"),
        (f"0 2048 linear aes-xts-plain64 {KEY} 0 8:0 0", "not a crypt or inlinecrypt table"),
        (f"0 much crypt aes-xts-plain64 {KEY} 0 8:0 0", "not a number"),
        ("0 2048 crypt aes-xts-plain64 nohex 0 8:0 0", "key in hex"),
        (f"{INLINE} 2 iv_large_sectors", "1 options, but the table says 2"),
        (f"{INLINE} 1 submit_from_crypt_cpus", "unknown options"),
        (f"{INLINE} 1 sector_size:1000", "sector_size 1000"),
        (f"{INLINE} 1 sector_size:4096", "needs iv_large_sectors"),
        (INLINE.replace(KEY, KEY[:64]), "a raw key has 64 bytes, not 32"),
        (INLINE.replace("aes-xts-plain64", "aes-cbc-plain64"), "knows aes-xts-plain64 only"),
        (f"{INLINE.replace('2048', '2047')} 2 sector_size:4096 iv_large_sectors", "multiples of sector_size"),
    ],
)
def test_a_table_that_cannot_be_is_refused(table: str, reason: str) -> None:
    with pytest.raises(TableInvalid, match=reason) as caught:
        parse_table(table)
    assert caught.value.errno == errno.EINVAL


def test_a_bio_begins_where_a_unit_does() -> None:
    target = DmInlinecrypt(parse_table(f"{INLINE} 2 sector_size:4096 iv_large_sectors"))
    assert target.crypt_ctx(16).dun == 2  # of 8 sectors each
    with pytest.raises(TableInvalid, match="inside a unit"):
        target.crypt_ctx(12)


@pytest.mark.parametrize(
    ("length", "iv_offset", "sector_size", "dun_bytes"),
    [
        (1, 0, 512, 1),
        (256, 0, 512, 1),
        (257, 0, 512, 2),
        (256, 1, 512, 2),
        (2048, 0, 4096, 1),
        (2056, 0, 4096, 2),
    ],
)
def test_a_dun_has_the_bytes_that_the_last_unit_of_the_mapping_needs(
    length: int, iv_offset: int, sector_size: int, dun_bytes: int
) -> None:
    """Units 0 to 255 need one; with 4096 bytes each, they are 2048 sectors."""
    head = f"0 {length} inlinecrypt aes-xts-plain64 {KEY} {iv_offset} 8:0 0"
    line = f"{head} 2 sector_size:{sector_size} iv_large_sectors"
    config = DmInlinecrypt(parse_table(line)).key.crypto_cfg
    assert (config.dun_bytes, config.data_unit_size) == (dun_bytes, sector_size)


def test_every_field_of_a_table_is_read() -> None:
    head = f"0 2048 inlinecrypt aes-xts-plain64 {KEY} 16 8:0 24"
    assert parse_table(f"{head} 3 sector_size:4096 iv_large_sectors allow_discards") == DmTable(
        target="inlinecrypt",
        length=2048,
        cipher="aes-xts-plain64",
        key=bytes(range(64)),
        iv_offset=16,
        device_start=24,
        sector_size=4096,
        iv_large_sectors=True,
        allow_discards=True,
    )
    plain = parse_table(f"0 2048 crypt aes-xts-plain64 {KEY} 16 8:0 24")
    assert (plain.sector_size, plain.iv_large_sectors, plain.allow_discards) == (512, False, False)
    assert DmCrypt(plain).iv_sector(100) == 116


@pytest.mark.parametrize(("size", "shift"), [(512, 0), (1024, 1), (2048, 2), (4096, 3)])
def test_a_sector_size_is_so_many_sectors_of_512_bytes(size: int, shift: int) -> None:
    assert parse_table(f"{INLINE} 2 sector_size:{size} iv_large_sectors").sector_shift == shift


@pytest.mark.parametrize("options", ["1 keytype:raw", "1 what:ever", "1 same_cpu_crypt_please"])
def test_options_that_dm_crypt_does_not_know_are_refused(options: str) -> None:
    with pytest.raises(TableInvalid):
        parse_table(f"0 2048 crypt aes-xts-plain64 {KEY} 0 8:0 0 {options}")


@pytest.mark.parametrize("iv_offset", [1, 4])
def test_an_iv_offset_inside_a_unit_is_refused(iv_offset: int) -> None:
    with pytest.raises(TableInvalid, match="multiples of sector_size"):
        parse_table(f"0 2048 crypt aes-xts-plain64 {KEY} {iv_offset} 8:0 0 1 sector_size:4096")


def test_a_wrapped_key_needs_a_device_that_takes_it_and_may_have_any_length() -> None:
    table = parse_table(f"0 2048 inlinecrypt aes-xts-plain64 {KEY[:80]} 0 8:0 0 1 keytype:hw-wrapped")
    with pytest.raises(WrappedKeysUnavailable, match="EOPNOTSUPP"):
        DmInlinecrypt(table)
    key = DmInlinecrypt(table, takes_wrapped=True).key
    assert (key.crypto_cfg.key_type, key.raw) == (KeyType.HW_WRAPPED, bytes(range(40)))
