"""A result as JSON, shaped as fio's; our additions are under ``blkcrypto`` and in keys fio does not have.

Keys have a fixed order and nothing comes from the wall clock, so equal runs give equal bytes.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scenarios.results.result import DirectionResult, Distribution, RunResult

if TYPE_CHECKING:
    from scenarios.compare import Point

Json = dict[str, object]


def run_json(result: RunResult) -> str:
    """One run as JSON text, ending in a newline."""
    return _text(run_object(result))


def compare_json(points: Sequence["Point"]) -> str:
    """The points of ``blkcrypto compare`` as JSON text: what was set, and the result or why there is none."""
    rows = [
        {
            "set": dict(point.labels),
            "refused": point.refused or None,
            "result": run_object(point.result) if point.result else None,
        }
        for point in points
    ]
    return _text({"points": rows})


def run_object(result: RunResult) -> Json:
    """One run as nested dicts; the keys are those of the README's JSON table, stable between releases."""
    return {
        "blkcrypto": {"version": result.version, "assumptions": list(result.assumptions)},
        "scenario": result.scenario,
        "question": result.question,
        "seed": result.seed,
        "config": {
            "device": result.device,
            "design": result.design,
            "key_type": result.key_type,
            "engine": result.engine,
            "payload": result.payload,
        },
        "totals": {
            "bios": result.bios,
            "rows": result.rows,
            "splits": result.splits,
            "merges": result.merges,
            "read_bytes": result.read_bytes,
            "write_bytes": result.write_bytes,
            "sim_time_ns": result.sim_time_ns,
            "inflight_mean": result.inflight_mean,
            "errors": _sorted(result.errors),
            "skipped": _sorted(result.skipped),
        },
        **{name: _direction(direction) for name, direction in result.directions.items()},
        "keyslots": {name: getattr(result.keyslots, name) for name in _KEYSLOT_KEYS},
        "cpu": {name: getattr(result.cpu, name) for name in _CPU_KEYS},
        "data": {
            "verified_bytes": result.verified_bytes,
            "mismatches": result.mismatches,
            "medium_sha256": result.medium_sha256,
        },
        "design": {
            "on_disk_bytes": result.design_on_disk_bytes,
            "in_memory_bytes": result.design_in_memory_bytes,
            "derivations": result.design_derivations,
            "files": result.files,
            **({} if result.figures is None else result.figures.to_json()),
        },
        "key_ops": {name: {"count": count, "ns": ns} for name, (count, ns) in sorted(result.key_ops.items())},
        **({"faults": _sorted(result.faults)} if result.faults else {}),
        "checks": dict(result.checks),
        "notes": list(result.notes),
    }


_KEYSLOT_KEYS = (
    "count",
    "acquires",
    "hits",
    "programs",
    "evicts",
    "waits",
    "lock_waits",
    "distinct_keys",
    "lock_held_ns",
)
_CPU_KEYS = ("cpus", "crypto_ns", "setkey_ns", "submit_ns", "program_ns")


def _direction(direction: DirectionResult) -> Json:
    return {
        "total_ios": direction.total_ios,
        "io_bytes": direction.io_bytes,
        "iops": direction.iops,
        "bw_bytes": direction.bw_bytes,
        "lat_ns": distribution_object(direction.lat_ns),
        "keyslot_wait_ns": distribution_object(direction.keyslot_wait_ns),
        "cpu_crypto_ns": distribution_object(direction.cpu_crypto_ns),
        "device_ns": distribution_object(direction.device_ns),
        "stage_ns": dict(direction.stage_ns),
    }


def distribution_object(values: Distribution) -> Json:
    """A distribution as in a run's JSON."""
    return {
        "min": values.min,
        "max": values.max,
        "mean": values.mean,
        "stddev": values.stddev,
        "N": values.N,
        "mean_halfwidth95": values.mean_halfwidth95,
        "relative_error": values.relative_error,
        "percentile": {f"{percentage:.6f}": ns for percentage, ns in sorted(values.percentile.items())},
    }


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _text(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
