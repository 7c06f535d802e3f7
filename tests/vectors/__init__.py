"""Published vectors, one JSON file per algorithm; ``source`` in each file says where they are published."""

import json
from pathlib import Path
from typing import cast

Vector = dict[str, str]

_HERE = Path(__file__).parent


def vectors(name: str) -> list[Vector]:
    """The vectors of ``<name>.json``: strings, hex where they are bytes."""
    document = json.loads((_HERE / f"{name}.json").read_text(encoding="utf-8"))
    if not document["source"]:
        raise ValueError(f"{name}.json does not say where its vectors are published")
    return cast("list[Vector]", document["vectors"])
