"""What an attacker with the device and no key sees of each design: images taken over one short history.

The history: two files of the same four units, three of them equal and one of zeroes; a copy of one file; then
16 bytes of one unit are overwritten, and the same 16 bytes are put back.  An image is taken after each.  All
that is said below is computed from these images; nothing is looked up in the design.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np

from blkcrypto.fs.attacker import Image, one_image, two_images
from blkcrypto.fs.battery.rows import ROWS, UNENCRYPTED
from blkcrypto.fs.battery.subject import Subject, copy_file

_UNIT: Final = 4096
_PART: Final = 16
_TEXT: Final = (b"the same text over and over ...." * (_UNIT // 32)) * 2 + bytes(_UNIT)
_NAMES: Final = ("first file", "a second file with a longer name")
_COPY: Final = "copy"
_POS: Final = _UNIT + 5 * _PART
_SEED: Final = 8

Shown = Literal["yes", "padded", "no", "not modelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackersView:
    """Figures of one design.

    Attributes:
        sizes: how many of three files' exact sizes stand in clear.
        names: whether names stand in clear, as ciphertext whose length shows, or not at all.
        free_space: whether unused units can be told from used ones.
        equal_units: units of contents that look like another, beyond the first of each kind, of eight that
            held two kinds.
        zero_units: units of contents that are zeroes on the device because they are zeroes in a file.
        shared_units: units that metadata shows to belong to two files, once one was copied.
        changed_units: units of the device that differ, or are new, after 16 bytes were overwritten.
        same_parts: 16-byte parts of the unit written that show to be what they were: XTS and CBC.
        reused_pair: whether the old ciphertext came back with the old contents: key and IV were used again.
    """

    sizes: int
    names: Shown
    free_space: bool
    equal_units: int
    zero_units: int
    shared_units: int
    changed_units: int
    same_parts: int
    reused_pair: bool


@cache
def attackers_view(design: str) -> AttackersView:
    """The view of a design named as in ``rows.ROWS``, or ``none``; the same at every call.

    Raises:
        KeyError: there is no such design.
    """
    row = UNENCRYPTED if design == UNENCRYPTED.name else ROWS[design]
    subject = row.make(np.random.default_rng(_SEED))
    subject.add_key()
    for name in _NAMES:
        subject.write(name, 0, _TEXT + _TEXT[:_UNIT])
    contents = one_image(Image(units=dict(enumerate(_contents(subject)))))
    copy_file(subject, _NAMES[0], _COPY)
    copied, first = _image(subject), _written(subject)
    subject.write(_NAMES[1], _POS, b"something longer"[:_PART])
    changed, second = _image(subject), _written(subject)
    subject.write(_NAMES[1], _POS, _TEXT[_POS : _POS + _PART])
    at_rest, differences = one_image(copied), two_images(copied, changed)
    parts = two_images(Image(units={0: first}), Image(units={0: second})).rewritten_parts
    return AttackersView(
        sizes=at_rest.sizes.count(len(_TEXT) + _UNIT),
        names=_names(copied) if row.models_names else "not modelled",
        free_space=copied.in_use is not None,
        equal_units=contents.equal_units,
        zero_units=contents.zero_units,
        shared_units=at_rest.shared_units,
        changed_units=len(differences.changed) + len(differences.appeared),
        same_parts=parts,
        reused_pair=_written(subject) == first,
    )


def _contents(subject: Subject) -> list[bytes]:
    """Ciphertext of all files, a unit at a time."""
    return [subject.lift(place).ciphertext for name in _NAMES for place in subject.places(name)]


def _written(subject: Subject) -> bytes:
    """Ciphertext of the unit that is overwritten."""
    places = subject.places(_NAMES[1])
    return subject.lift(places[min(1, len(places) - 1)]).ciphertext


def _image(subject: Subject) -> Image:
    subject.sync()
    return subject.image()


def _names(image: Image) -> Shown:
    if not image.names:
        return "no"
    return "yes" if _COPY.encode() in image.names else "padded"
