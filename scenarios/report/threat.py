"""Threat-model report: which secrets of a run were ever where, and what has them gives away.

Promises (reference block-layer.md section 5.6): with hardware-wrapped keys, neither the raw key nor an inline
encryption key is ever in host memory; what is there (ephemeral blob, software secret) is worthless without
this machine in this boot, or protects names only.  With raw keys, everything is in host memory.

Host memory is searched (``scenarios.hostmemory``) before the run, many times while requests are in flight,
and after it.  A master key, and a software secret, passes through host memory only while it is added; what
stays is HKDF's keyed state inside the C library, which no search sees and which is worth as much: those are
reported as ``at set-up``.

An observer outside the model recomputes the run's secrets from its seed, to know what to search for.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from rich.console import Console
from rich.text import Text

import blkcrypto
from blkcrypto.base.errors import BadInput
from blkcrypto.block.key import KeyType
from blkcrypto.crypto.batch import BatchCipher
from hwmodel.clock import Row
from hwmodel.engine import DataPath
from hwmodel.keywrap import KeyWrapUnit
from hwmodel.media import Media
from hwmodel.medium import Medium
from scenarios.build import build
from scenarios.designs import PLAIN
from scenarios.hostmemory import Scan, scan
from scenarios.model import Model
from scenarios.report.console import new_table, print_table, trimmed
from scenarios.report.json import Json
from scenarios.schema import Scenario
from scenarios.source import open_source
from scenarios.streams import stream

Presence = Literal["never", "at set-up", "yes"]

_HARDWARE: Final = (KeyWrapUnit, Media, Medium, DataPath)
_SCAN_EVERY: Final = 2_000  # rows between two searches
_MOST_SCANS: Final = 20
_RAW_MASTER_KEY_BYTES: Final = 64

MASTER, HW_RAW, WRAPPING = "raw master key", "raw hardware key", "wrapping key"
LONG_TERM, EPHEMERAL = "long-term blob", "ephemeral blob"
SW_SECRET, INLINE = "software secret", "inline encryption key"

# The host hands these on while a key is added, and keeps at most HKDF's state.
_PASSES_THROUGH: Final = (MASTER, LONG_TERM, SW_SECRET)
_MEANING: Final = {
    MASTER: "derives every key of its files, for ever",
    HW_RAW: "derives every key of its files, for ever",
    WRAPPING: "unwraps every blob of the device",
    LONG_TERM: "nothing without this device",
    EPHEMERAL: "nothing without this device in this boot",
    SW_SECRET: "decrypts names, not contents",
    INLINE: "decrypts the contents encrypted with it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatRow:
    """One kind of secret.

    Attributes:
        kind: what it is.
        count: how many there were.
        host_memory: whether the host ever had one.
        found_in: where the search found one; empty when it did not.
        keyslots, wrapping_unit: whether the hardware ever had one there.
    """

    kind: str
    count: int
    host_memory: Presence
    found_in: str
    keyslots: bool
    wrapping_unit: bool

    @property
    def meaning(self) -> str:
        """What having one gives away."""
        return _MEANING[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatReport:
    """One run; ``scans`` searches visited ``objects`` objects with ``nbytes`` bytes at most each time."""

    scenario: str
    device: str
    key_type: str
    engine: str
    scans: int
    objects: int
    nbytes: int
    rows: tuple[ThreatRow, ...]

    def row(self, kind: str) -> ThreatRow:
        """The row of ``kind``."""
        return next(row for row in self.rows if row.kind == kind)


class _Observer:
    """Knows the run's secrets, and searches the host for them.  Not part of the host."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.scans: list[Scan] = []
        self.found: dict[str, str] = {}
        self._drawn: list[bytes] = []
        self.secrets: dict[str, dict[str, bytes]] = {}
        self._unit: KeyWrapUnit | None = None
        seed, keys = scenario.run.seed, scenario.keys
        if keys.design == "none":
            return
        if keys.type == "raw":
            # As FileKeys draws them.
            rng = stream(seed, "master-keys")
            self._learn(MASTER, [rng.bytes(_RAW_MASTER_KEY_BYTES) for _ in range(keys.master_keys)])
        else:
            self._learn_wrapped(seed)

    def _learn_wrapped(self, seed: int) -> None:
        """A second unit with the first one's draws makes the same keys and blobs."""
        facts = self._scenario.device.keywrap
        assert facts is not None, "checked with the scenario"
        rng = stream(seed, "keywrap")
        self._unit = KeyWrapUnit(_Listening(rng, self._drawn), blob_bytes=facts.blob_bytes.value)
        self._learn(WRAPPING, self._drawn)
        self._drawn.clear()
        long_term, ephemeral, secrets = [], [], []
        for _ in range(self._scenario.keys.master_keys):
            long_term.append(self._unit.generate_key())
            ephemeral.append(self._unit.prepare_key(long_term[-1]))
            secrets.append(self._unit.derive_sw_secret(ephemeral[-1]))
        # Of its draws, nonces are shorter than keys.
        self._learn(HW_RAW, [draw for draw in self._drawn if len(draw) == 32])
        # The first 8 bytes of a blob are the same in all of them.
        self._learn(LONG_TERM, [blob[8:56] for blob in long_term])
        self._learn(EPHEMERAL, [blob[8:56] for blob in ephemeral])
        self._learn(SW_SECRET, secrets)

    def _learn(self, kind: str, values: Sequence[bytes]) -> None:
        self.secrets[kind] = {f"{kind} {number}": value for number, value in enumerate(values)}

    def look(self, model: Model, hardware: tuple[type, ...]) -> None:
        """Search the host now."""
        keys = model.keys.objects if model.keys is not None else []
        inline = [
            self._unit.inline_key(key.raw)
            if self._unit is not None and key.crypto_cfg.key_type is KeyType.HW_WRAPPED
            else key.raw
            for key in keys
        ]
        self._learn(INLINE, inline)
        wanted = {name: value for group in self.secrets.values() for name, value in group.items()}
        result = scan([model], wanted, hardware=hardware)
        self.scans.append(result)
        self.found.update(result.found)

    def found_in(self, kind: str) -> str:
        """Where the first of a kind was found."""
        return next((where for name, where in self.found.items() if name in self.secrets[kind]), "")


class _Listening:
    """Random bytes, written down by the observer."""

    def __init__(self, rng: np.random.Generator, log: list[bytes]) -> None:
        self._rng = rng
        self._log = log

    def bytes(self, length: int, /) -> "bytes":
        drawn = self._rng.bytes(length)
        self._log.append(drawn)
        return drawn


def threat_report(scenario: Scenario) -> ThreatReport:
    """Run ``scenario`` under observation.

    Raises:
        BadInput: the workload cannot be run, or nobody says what the design's secrets are.
    """
    if scenario.keys.design not in PLAIN:
        what = f"the secrets of {scenario.keys.design} are not known here: use a design of fscrypt"
        raise BadInput(what, where="keys.design")
    observer = _Observer(scenario)
    # Where the device encrypts, the ciphers of the byte plane are its engine; else they are the CPU's.
    inline = scenario.keys.engine == "inline"
    hardware = (*_HARDWARE, BatchCipher) if inline else _HARDWARE
    with closing(open_source(scenario)) as source:
        model = build(scenario, named_files=source.named_files)
        observer.look(model, hardware)
        rows = _observed(model.rows(source.batches(model.layout)), model, observer, hardware)
        model.machine.run(rows, queue_depth=scenario.run.queue_depth * scenario.workload.jobs)
    if model.plane is not None:
        model.plane.process()
    observer.look(model, hardware)
    return _report(scenario, observer)


def _observed(
    rows: Iterator[Row], model: Model, observer: _Observer, hardware: tuple[type, ...]
) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        yield row
        if number % _SCAN_EVERY == 0 and number < _SCAN_EVERY * _MOST_SCANS:
            observer.look(model, hardware)


def _report(scenario: Scenario, observer: _Observer) -> ThreatReport:
    slots = scenario.device.keyslots
    in_slots = scenario.keys.engine == "inline" and slots is not None and bool(slots.count.value)
    wrapped = scenario.keys.type == "hw-wrapped"
    return ThreatReport(
        scenario=scenario.name,
        device=scenario.device.name,
        key_type=scenario.keys.type,
        engine=scenario.keys.engine,
        scans=len(observer.scans),
        objects=max(each.objects for each in observer.scans),
        nbytes=max(each.nbytes for each in observer.scans),
        rows=tuple(
            ThreatRow(
                kind=kind,
                count=len(values),
                host_memory=_presence(kind, observer.found_in(kind)),
                found_in=observer.found_in(kind),
                keyslots=kind == INLINE and in_slots,
                wrapping_unit=wrapped and kind != MASTER,
            )
            for kind, values in observer.secrets.items()
            if values
        ),
    )


def _presence(kind: str, found_in: str) -> Presence:
    if found_in:
        return "yes"
    return "at set-up" if kind in _PASSES_THROUGH else "never"


def print_threats(console: Console, reports: Sequence[ThreatReport]) -> None:
    """Where secrets were, one table per run."""
    with trimmed(console):
        for report in reports:
            setting = f"{report.scenario}: {report.device}, {report.key_type} keys, {report.engine}"
            console.print(Text(setting, style="bold"))
            console.print(Text(_answer(report)))
            table = new_table(console, "Where secrets ever were", "", "host", "keyslots", "unit")
            for row in report.rows:
                hardware = ("yes" if there else "never" for there in (row.keyslots, row.wrapping_unit))
                table.add_row(f"{row.kind}, {row.count:,}", row.host_memory, *hardware)
            print_table(console, table)
            console.print()
            for row in report.rows:
                if row.host_memory != "never":
                    found = f" (found: {row.found_in})" if row.found_in else ""
                    console.print(Text(f"{row.kind}: {row.meaning}{found}", style="dim"))
            console.print()


def _answer(report: ThreatReport) -> str:
    looked = f"{report.scans} searches of up to {report.objects:,} objects"
    if not report.rows:
        return "Nothing is encrypted, so there is no secret."
    if any(row.kind == INLINE and row.host_memory == "yes" for row in report.rows):
        return f"Whoever reads the host's memory decrypts the contents ({looked})."
    return f"The host's memory never held what decrypts the contents ({looked})."


def threats_json(reports: Sequence[ThreatReport]) -> str:
    """JSON text; equal runs give equal bytes."""
    document: Json = {
        "blkcrypto": {"version": blkcrypto.__version__},
        "reports": [_object(report) for report in reports],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _object(report: ThreatReport) -> Json:
    return {
        "scenario": report.scenario,
        "config": {"device": report.device, "key_type": report.key_type, "engine": report.engine},
        "scans": report.scans,
        "secrets": {
            row.kind: {
                "count": row.count,
                "host_memory": row.host_memory,
                "found_in": row.found_in or None,
                "keyslots": row.keyslots,
                "wrapping_unit": row.wrapping_unit,
                "gives_away": row.meaning,
            }
            for row in report.rows
        },
    }
