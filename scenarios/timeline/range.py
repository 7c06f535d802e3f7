"""Which bios a timeline shows."""

import re
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.errors import BadInput

# About 2 kB each as text: a file that viewers open at once.
DEFAULT_BIOS: Final = 20_000


@dataclass(frozen=True, slots=True)
class BioRange:
    """Bios ``first`` to ``last - 1``, numbered from 0 in the order of their arrival."""

    first: int = 0
    last: int = DEFAULT_BIOS


def parse_bios(text: str) -> BioRange:
    """``20000``: so many from the first on.  ``5000:6000``: from 5000 to 5999.  ``5000:``: to the end.

    Raises:
        BadInput: it is written in another way, or is empty.
    """
    found = re.fullmatch(r"(?:(\d+)(:))?(\d*)", text.replace("_", "").strip())
    if found is None or not (found[2] or found[3]):
        raise BadInput(
            f"{text!r} is no choice of bios: write N, FIRST:LAST or FIRST:", where="--timeline-bios"
        )
    chosen = BioRange(int(found[1] or 0), int(found[3]) if found[3] else 1 << 62)
    if chosen.first >= chosen.last:
        raise BadInput(f"{text!r} holds no bio: LAST comes after FIRST", where="--timeline-bios")
    return chosen
