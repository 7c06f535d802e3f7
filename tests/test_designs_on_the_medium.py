"""What runs leave on the medium, against oracles for each design's keys and IVs."""

from collections.abc import Sequence

import numpy as np
import pytest

from hwmodel.payload import plaintext
from scenarios.build import build
from scenarios.keying.ciphers import SealingCipher
from scenarios.keying.device_keys import DeviceKeyer
from scenarios.keying.inline_data import InlineDataKeyer
from scenarios.model import Model
from scenarios.streams import stream
from tests.design_world import KIB, READ, WRITE, Io, batch, scenario
from tests.oracle import design_stacked
from tests.oracle.design_authenticated import gcm
from tests.oracle.extent_ciphertext import key_and_iv, unit
from tests.oracle.slow_xts import xts_unit

_UNITS_PER_FILE = 256  # of 4 KiB: files of 1 MiB lie one after another


def on_medium(design: str, ios: Sequence[Io], *sets: str) -> tuple[Model, dict[int, bytes]]:
    """The model after ``ios``, and what lies in each unit of its medium."""
    model = build(scenario(design, "payload=verify", *sets))
    model.machine.run(model.rows([batch(ios)]), queue_depth=1)
    assert model.plane is not None
    model.plane.process()
    assert model.plane.verified.mismatches == 0
    medium = model.plane.medium
    numbers = sorted(medium._index)
    stored = medium.load(medium.places(np.array(numbers)))
    return model, {number: row.tobytes() for number, row in zip(numbers, stored, strict=True)}


def plain(model: Model, number: int, version: int = 1) -> bytes:
    """What a unit holds that was written ``version`` times."""
    size = model.scenario.keys.data_unit_size
    made = plaintext(model.scenario.run.seed, np.array([number]), np.array([version], np.uint32), size)
    return bytes(made[0])


def key_of(model: Model, number: int = 0) -> bytes:
    assert model.wired is not None
    return model.wired.keyer.objects[number].raw


WRITES = [(WRITE, 1, 8 * KIB, 8 * KIB)]
FIRST = _UNITS_PER_FILE + 2


@pytest.mark.parametrize("mode", ["plain", "plain64", "plain64be", "benbi", "null", "essiv:sha256"])
def test_dm_crypt_counts_sectors_of_512_bytes(mode: str) -> None:
    model, medium = on_medium("dm-crypt", WRITES, f"design.iv_mode={mode}")
    chain = "cbc" if mode == "essiv:sha256" else "xts"
    for number in (FIRST, FIRST + 1):
        stored = design_stacked.dm_sector(chain, mode, key_of(model), 8 * number, plain(model, number))
        assert medium[number] == stored


def test_dm_crypt_with_large_sectors_counts_units() -> None:
    model, medium = on_medium("dm-crypt", WRITES, "design.iv_large_sectors=true")
    assert medium[FIRST] == design_stacked.dm_sector(
        "xts", "plain64", key_of(model), FIRST, plain(model, FIRST)
    )


@pytest.mark.parametrize(("chain", "mode"), [("xts", "plain64"), ("cbc", "eboiv")])
def test_dm_crypt_with_units_of_512_bytes_encrypts_each_for_itself(chain: str, mode: str) -> None:
    sets = ("data_unit_size=512", f"design.iv_mode={mode}")
    model, medium = on_medium("dm-crypt", [(WRITE, 0, 1024, 512)], *sets)
    assert medium[2] == design_stacked.dm_sector(chain, mode, key_of(model), 2, plain(model, 2))


def test_dm_inlinecrypt_leaves_what_dm_crypt_with_large_sectors_does() -> None:
    model, medium = on_medium("dm-inlinecrypt", WRITES)
    assert medium[FIRST] == xts_unit(
        key_of(model), FIRST.to_bytes(16, "little"), plain(model, FIRST), "encrypt"
    )


def test_ecryptfs_hashes_the_page_s_index_in_its_file() -> None:
    model, medium = on_medium("ecryptfs", WRITES)
    for page in (2, 3):
        number = _UNITS_PER_FILE + page
        stored = design_stacked.ecryptfs_extent(key_of(model), page, plain(model, number))
        assert medium[number] == stored


def test_a_file_of_2014_has_the_page_index_as_tweak() -> None:
    model, medium = on_medium("ext4-2014-multi-user", WRITES)
    assert medium[FIRST] == xts_unit(
        key_of(model), (2).to_bytes(16, "little"), plain(model, FIRST), "encrypt"
    )


@pytest.mark.parametrize(
    "design", ["extents-heavyweight", "extents-nonce-only", "extents-lightweight", "extents-iv-from-fs"]
)
def test_extents_have_keys_of_their_nonces_and_duns_from_their_start(design: str) -> None:
    """Extents in order of their keys: file 1's first is read, then each write makes one."""
    ios = [(READ, 1, 0, 4 * KIB), (WRITE, 1, 8 * KIB, 8 * KIB), (WRITE, 1, 12 * KIB, 4 * KIB)]
    model, medium = on_medium(design, ios, "design.key_extent=64k")
    seed = model.scenario.run.seed
    master = stream(seed, "master-keys").bytes(64)
    nonces = stream(seed, "extent-nonces")
    expected = {}
    # Unit of the file: version, extent in order of creation, unit in that extent.
    for at, version, extent, inside in ((0, 0, 0, 0), (2, 1, 1, 0), (3, 2, 2, 0)):
        expected[_UNITS_PER_FILE + at] = (version, extent, inside)
    stored = [nonces.bytes(16) for _ in range(3)]
    for number, (version, extent, inside) in expected.items():
        context = stored[extent]
        if design == "extents-heavyweight":
            context = bytes(24) + context
        elif design == "extents-lightweight":
            context = bytes(18) + context
        key, first = key_and_iv(design, master, context)
        assert unit(key, first + inside, medium[number]) == plain(model, number, version)


def test_the_second_unit_of_an_extent_has_the_next_dun() -> None:
    model, medium = on_medium("extents-lightweight", WRITES, "design.key_extent=64k")
    master = stream(model.scenario.run.seed, "master-keys").bytes(64)
    context = bytes(18) + stream(model.scenario.run.seed, "extent-nonces").bytes(16)
    key, _ = key_and_iv("extents-lightweight", master, context)
    assert unit(key, 1, medium[FIRST + 1]) == plain(model, FIRST + 1)


def test_sealed_units_are_gcm_with_the_entry_that_was_kept() -> None:
    model, medium = on_medium("aead-table", WRITES)
    assert model.wired is not None
    keyer = model.wired.keyer
    assert isinstance(keyer, DeviceKeyer)
    cipher = keyer.cipher_of(keyer.objects[0])
    assert isinstance(cipher, SealingCipher)
    iv, tag = cipher.entries[FIRST]
    made = gcm(key_of(model), iv, FIRST.to_bytes(8, "little"), plain(model, FIRST))
    assert made == (medium[FIRST], tag)


def test_a_unit_that_was_never_sealed_is_refused_and_reads_as_zeroes() -> None:
    """As a read does that carries the key of a write which is still on its way."""
    cipher = SealingCipher(bytes(32), None)
    ivs = np.zeros((1, 16), dtype=np.uint8)

    found = cipher.decrypt(ivs, np.full((1, 64), 7, dtype=np.uint8))

    assert not found.any()
    assert cipher.refused == 1


def test_a_flipped_byte_of_a_sealed_unit_is_refused_and_counted() -> None:
    text = "[{byte = 8200, after_bios = 1}]"
    ios = [(WRITE, 0, 8 * KIB, 4 * KIB), (READ, 0, 8 * KIB, 4 * KIB)]
    model = build(scenario("aead-table", "payload=verify", f"faults.flips={text}"))
    model.machine.run(model.rows([batch(ios)]), queue_depth=1)
    assert model.plane is not None
    assert model.wired is not None
    model.plane.process()
    assert model.plane.verified.mismatches == 1
    assert model.wired.keyer.footprint().extra == {"units_refused": 1}


def test_an_inline_region_is_a_unit_under_its_own_key_in_the_inode_s_block() -> None:
    """A3: HKDF context 2 of the file's nonce, IV 0; the inode of file 0 is the device's last block."""
    model, medium = on_medium("inline-data-a3", [(WRITE, 0, 0, 4 * KIB)], "design.small_files=1")
    assert model.wired is not None
    keyer = model.wired.keyer
    assert isinstance(keyer, InlineDataKeyer)
    (key, dun), last = keyer.regions[0], model.scenario.device.media.capacity_bytes.value // 4096 - 1
    assert dun == 0
    assert list(medium) == [last]
    assert medium[last] == xts_unit(key.raw, bytes(16), plain(model, last), "encrypt")
