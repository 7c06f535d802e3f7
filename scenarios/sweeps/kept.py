"""What is kept of a finished point, and how it is told from what was damaged since: by a hash."""

import hashlib
import json

import msgspec

from scenarios.sweeps.pool import Packed

Json = dict[str, object]


class KeptPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a finished point.

    Attributes:
        result: the run's JSON object.
        pool: what it adds to pooled distributions (``Pool.packed``).
    """

    result: Json
    pool: dict[str, dict[str, Packed]]


class _Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sha256: str
    kept: msgspec.Raw


def sealed(result: Json, pool: object) -> str:
    """A ``KeptPoint`` as JSON on one line, with its hash."""
    kept = json.dumps({"result": result, "pool": pool}, ensure_ascii=False, allow_nan=False)
    return f'{{"sha256": "{_sha256(kept.encode())}", "kept": {kept}}}'


def unsealed(data: bytes) -> KeptPoint | None:
    """What was ``sealed``; None when it is not that any more."""
    try:
        found = msgspec.json.decode(data, type=_Sealed)
        if _sha256(bytes(found.kept)) != found.sha256:
            return None
        return msgspec.json.decode(found.kept, type=KeptPoint)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
