"""What a session did, for people and as JSON."""

import json
import shlex
from dataclasses import asdict, dataclass

from scenarios.schema import Scenario
from scenarios.serve.devices import ServedDevice
from scenarios.serve.export import ExportedDevice
from scenarios.serve.server import Server


@dataclass(frozen=True, slots=True)
class Summary:
    """One session.

    Attributes:
        facts: label and text, in the order they are shown.
        data: the same as numbers, under stable names.
        mismatches: data units that came back other than they were written.
    """

    facts: tuple[tuple[str, str], ...]
    data: dict[str, object]
    mismatches: int

    def text(self) -> str:
        """Lines for a terminal."""
        width = max(len(label) for label, _ in self.facts)
        return "\n".join(f"{label:{width}}  {text}" for label, text in self.facts)

    def json(self) -> str:
        """The numbers."""
        return json.dumps(self.data, indent=2) + "\n"


def summarize(scenario: Scenario, server: Server, exported: ExportedDevice, *, captured: int = 0) -> Summary:
    """What ``server`` did until now."""
    counts, device, known = exported.counts, exported.device, exported.known
    verified = 0 if known is None else known.verified_bytes
    mismatches = 0 if known is None else known.mismatches
    facts = [
        ("design", f"{scenario.keys.design}, {scenario.keys.type} keys, {scenario.keys.engine}"),
        ("clients", _clients(server)),
        ("requests", _requests(exported)),
        ("bytes", f"{counts.read_bytes:,} read, {counts.written_bytes:,} written"),
        ("block layer", _block_layer(exported)),
        ("keyslots", f"{device.keyslot_programs:,} programs, {device.distinct_keys:,} keys"),
        ("verified", "off" if known is None else f"{verified:,} bytes, {mismatches:,} mismatches"),
    ]
    if mismatches and known is not None:
        facts.append(("mismatches at", ", ".join(f"byte {at:,}" for at in known.where)))
    if captured:
        facts.append(("captured", f"{captured:,} requests"))
    data: dict[str, object] = {
        "scenario": scenario.name,
        "design": scenario.keys.design,
        "keys": scenario.keys.type,
        "engine": scenario.keys.engine,
        "size_bytes": device.size,
        "clients": asdict(server.counts),
        "requests": asdict(counts),
        "block": asdict(device.queue.counts),
        "keyslots": {"programs": device.keyslot_programs, "distinct_keys": device.distinct_keys},
        "data": {"verified_bytes": verified, "mismatches": mismatches},
        "captured": captured,
    }
    return Summary(tuple(facts), data, mismatches)


def _clients(server: Server) -> str:
    counts = server.counts
    text = f"{counts.accepted:,} connections"
    if counts.violations:
        text += f", {counts.violations:,} hung up on"
    if counts.refused:
        text += f", {counts.refused:,} too many"
    return text


def _requests(exported: ExportedDevice) -> str:
    counts = exported.counts
    parts = [f"{counts.requests:,}: {counts.reads:,} reads, {counts.writes:,} writes"]
    parts.append(f"{counts.flushes:,} flushes, {counts.trims:,} trims, {counts.errors:,} errors")
    return ", ".join(parts)


def _block_layer(exported: ExportedDevice) -> str:
    counts, queue = exported.counts, exported.device.queue.counts
    each = counts.requests / counts.batches if counts.batches else 0.0
    merges = queue.back_merges + queue.front_merges
    return f"{queue.requests:,} requests, {queue.splits:,} splits, {merges:,} merges; batches of {each:.1f}"


def replay_hint(scenario: Scenario, device: ServedDevice, trace: str, sets: tuple[str, ...]) -> str:
    """The command that says what the captured requests cost on the emulated device."""
    keys = scenario.keys
    words = ["blkcrypto", "replay", trace, "--device", scenario.device.name, "--design", keys.design]
    words += ["--keys", keys.type, "--engine", keys.engine, "--queue-depth", "32"]
    if scenario.run.seed != 1:
        words += ["--seed", str(scenario.run.seed)]
    words += ["--set", f"layout.span_bytes={device.size}"]
    for change in sets:
        words += ["--set", change]
    return shlex.join(words)
