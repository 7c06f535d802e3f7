"""Tables of device-mapper that are no tables: EINVAL, each for its own reason (dm-crypt(4), dmsetup(8))."""

import errno

import pytest

from blkcrypto.fs.dm_table import DmInlinecrypt, TableInvalid, parse_table

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
