"""A run's answer in a few sentences, made of its own figures."""

from collections.abc import Iterator

from blkcrypto.base.units import format_duration
from scenarios.results.result import KEYSLOT_STAGES, RunResult

_STAGE_WORDS = {
    "keyslot_lock": "waiting for the lock",
    "keyslot_idle": "waiting for an idle slot",
    "keyslot_program": "programming",
}


def answer(result: RunResult) -> str:
    """What the run says about its question: latency, keyslots, software crypto, data."""
    return " ".join(_sentences(result))


def _sentences(result: RunResult) -> Iterator[str]:
    everything = result.directions["all"]
    if not everything.total_ios:
        left_out = f": all {result.rows:,} rows were warm-up (run.warmup), or failed" if result.rows else ""
        yield f"No bio was measured{left_out}."
        return
    latency = everything.lat_ns
    mean = format_duration(latency.mean)
    if latency.mean_halfwidth95:
        mean += f" ± {format_duration(latency.mean_halfwidth95)}"
    p99 = f", and 99 % took at most {format_duration(latency.percentile[99.0])}" if latency.percentile else ""
    yield f"A bio took {mean} on average{p99}."
    total = sum(everything.stage_ns.values())
    if result.keyslots.acquires:
        yield _keyslots(result, everything.stage_ns, total)
    elif result.design != "none" and not result.keyslots.count:
        yield "There are no keyslots to wait for: the key travels with every request."
    crypto = everything.stage_ns.get("cpu_crypto", 0)
    if crypto:
        yield f"Encrypting on CPUs took {_share(crypto, total)} of the time."
    if result.payload == "verify":
        yield _data(result)
    if result.errors:
        failed = ", ".join(f"{count} {status}" for status, count in sorted(result.errors.items()))
        yield f"Some bios failed: {failed}."


def _keyslots(result: RunResult, stage_ns: dict[str, int], total: int) -> str:
    slots = result.keyslots
    hits = f"{_share(slots.hits, slots.acquires)} found their key in one of {slots.count} keyslots"
    parts = {stage: stage_ns.get(stage, 0) for stage in KEYSLOT_STAGES}
    spent = sum(parts.values())
    if not spent:
        return f"{hits}; no time went to keyslots."
    worst = max(parts, key=lambda stage: parts[stage])
    per_bio = format_duration(spent / result.directions["all"].total_ios)
    spent_text = f"keyslots took {_share(spent, total)} of the time, {per_bio} a bio"
    return f"{hits}; {spent_text}, mostly {_STAGE_WORDS[worst]}."


def _data(result: RunResult) -> str:
    if result.mismatches:
        return f"{result.mismatches} data units did NOT read back as written."
    if not result.verified_bytes:
        return "Nothing was read back, so no data was compared."
    return f"All {result.verified_bytes:,} bytes read back were as written."


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
