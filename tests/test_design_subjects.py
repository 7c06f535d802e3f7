"""What the 2014 draft and inline data show of themselves to the battery: units, whose they are, names."""

from collections.abc import Callable

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.subject import Loot, Place
from blkcrypto.fs.ext4_2014.packet import UserKey
from blkcrypto.fs.ext4_2014.subject import Ext42014Subject
from blkcrypto.fs.inline_data.subject import InlineSubject
from blkcrypto.fs.inline_data.volume import f2fs_layout

PAGE = 4096
LARGE = bytes(range(256)) * 32  # two pages
SMALL = b"a small file"
Make = Callable[[], Ext42014Subject | InlineSubject]
AREA = 1 << 32  # where inline areas stand, above all blocks


def of_2014() -> Ext42014Subject:
    subject = Ext42014Subject(UserKey("0123456789abcdef", bytes(range(64))), np.random.default_rng(1))
    subject.add_key()
    subject.write("large", 0, LARGE)
    subject.write("small", 2 * PAGE, SMALL)
    return subject


def of_inline() -> InlineSubject:
    subject = InlineSubject("A2", f2fs_layout(), bytes(range(64)), np.random.default_rng(1))
    subject.add_key()
    subject.write("large", 0, LARGE)
    subject.write("small", 0, SMALL)
    subject.sync()
    return subject


def test_an_image_of_the_2014_draft_shows_names_sizes_packets_and_which_blocks_are_whose() -> None:
    image = of_2014().image()
    assert (image.names, image.sizes) == ((b"large", b"small"), (2 * PAGE, 2 * PAGE + len(SMALL)))
    assert [len(context) for context in image.contexts] == [152, 152]
    assert {ino: len(blocks) for ino, blocks in image.links.items()} == {1: 2, 2: 1}
    # The directory's block and the two of attributes are no contents.
    assert image.in_use == image.links[1] | image.links[2] == set(image.units)


def test_deleted_ciphertext_of_the_2014_draft_stays_in_view() -> None:
    subject = of_2014()
    subject.remount()
    before = subject.image()
    assert subject.delete_without_key()
    after = subject.image()
    assert (after.names, after.sizes, after.in_use) == ((b"small",), before.sizes[1:], before.links[2])
    assert before.links[1] < set(after.units)


@pytest.mark.parametrize("make", [of_2014, of_inline], ids=["2014", "inline"])
def test_moving_puts_every_block_elsewhere_and_nothing_else(make: Make) -> None:
    subject = make()
    before = subject.image()
    inline = {at for at in before.units if at >= AREA}
    blocks = set(before.in_use or ()) - inline
    assert subject.move() == len(blocks)
    after = subject.image()
    assert (after.in_use or frozenset()) - inline == moved(before, after, blocks)
    subject.remount()
    subject.add_key()
    assert (subject.read("large"), subject.read("small")[-len(SMALL) :]) == (LARGE, SMALL)


def moved(before: Image, after: Image, blocks: set[int]) -> set[int]:
    """Where the ciphertext of ``blocks`` stands besides."""
    wanted = {before.units[block] for block in blocks}
    return {at for at, data in after.units.items() if data in wanted and at not in blocks}


def test_an_image_with_inline_data_shows_regions_beside_blocks() -> None:
    subject = of_inline()
    image = subject.image()
    large, small = subject.inos["large"], subject.inos["small"]
    assert image.links == {large: frozenset({1, 2}), small: frozenset({AREA + small})}
    assert set(image.in_use or ()) == set(image.units) == {1, 2, AREA + small}
    assert (image.sizes, [len(context) for context in image.contexts]) == ((2 * PAGE, len(SMALL)), [40, 40])
    assert len(image.units[AREA + small]) == 16
    assert {len(image.units[block]) for block in (1, 2)} == {PAGE}


def test_places_are_the_units_that_a_file_has() -> None:
    assert of_2014().places("large") == [Place("large", 0), Place("large", 1)]
    assert of_2014().places("small") == [Place("small", 2)]
    assert of_inline().places("large") == [Place("large", 0), Place("large", 1)]
    assert of_inline().places("small") == [Place("small", 0)]


@pytest.mark.parametrize("path", ["large", "small"])
@pytest.mark.parametrize("make", [of_2014, of_inline], ids=["2014", "inline"])
def test_what_is_lifted_and_planted_back_reads_as_before_and_noise_does_not(make: Make, path: str) -> None:
    subject = make()
    written = subject.read(path)
    place = subject.places(path)[-1]
    loot = subject.lift(place)
    read = []
    for planted in (Loot(bytes(len(loot.ciphertext))), loot):
        subject.plant(place, planted, mend=False)
        subject.remount()
        subject.add_key()
        read.append(subject.read(path))
    assert len(read[0]) == len(written)
    assert (read[0] != written, read[1]) == (True, written)


def test_a_hole_of_the_2014_draft_cannot_be_lifted() -> None:
    with pytest.raises(BlkCryptoError, match="ENOENT"):
        of_2014().lift(Place("small", 0))


@pytest.mark.parametrize("make", [of_2014, of_inline], ids=["2014", "inline"])
def test_a_saved_device_is_restored_without_its_key(
    make: Make,
) -> None:
    subject = make()
    saved = subject.save()
    subject.write("large", 0, b"changed")
    subject.delete("small")
    subject.restore(saved)
    with pytest.raises(BlkCryptoError):
        subject.read("large")
    subject.add_key()
    assert (subject.read("large"), subject.read("small")[-len(SMALL) :]) == (LARGE, SMALL)


@pytest.mark.parametrize("make", [of_2014, of_inline], ids=["2014", "inline"])
def test_a_held_file_reads_and_writes_ranges(make: Make) -> None:
    subject = make()
    held = subject.hold("large")
    held.write(10, b"range")
    held.fsync()
    held.close()
    subject.remount()
    subject.add_key()
    assert subject.hold("large").read(8, 9) == LARGE[8:10] + b"range" + LARGE[15:17]
    subject.truncate("large", 12)
    assert subject.read("large") == LARGE[:10] + b"ra"
