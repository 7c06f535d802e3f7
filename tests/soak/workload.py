"""One run after the other: campaigns of small workloads, and recorded traces on machines with faults."""

from collections import Counter
from typing import Final

import numpy as np

from hwmodel.invariants import InvariantBroken
from scenarios.campaign import run_seed
from scenarios.load import replay_scenario
from scenarios.run import run

# Device, who encrypts, key type, design, scheduler: all that leads through other code.
_MACHINES: Final = (
    ("ufs31-ice-raw", "inline", "raw", "fscrypt-per-file", "none"),
    ("ufs31-ice-raw", "inline", "raw", "fscrypt-per-file", "mq-deadline"),
    ("ufs31-ice-raw", "fallback", "raw", "fscrypt-per-file", "none"),
    ("ufs31-ice-raw", "fs-layer", "raw", "fscrypt-per-file", "none"),
    ("ufs40-ice-hwkm", "inline", "hw-wrapped", "fscrypt-iv-ino-lblk-64", "none"),
    ("tensor-kdn", "inline", "hw-wrapped", "fscrypt-iv-ino-lblk-64", "none"),
    ("ufs31-ice-raw", "inline", "raw", "extents-lightweight", "none"),
    ("ufs31-ice-raw", "inline", "raw", "dm-crypt", "none"),
)
_FAULTS: Final = (
    "faults.rates.resets_per_s=20",
    "faults.rates.program_failure=0.02",
    "faults.rates.clobber=0.3",
    "faults.rates.media_error=0.005",
)
_TRACE: Final = "builtin:ext4-db-log-scan.ftrace.txt.xz"
_CAMPAIGN: Final = 8  # of that many runs one is a replay


class Violated(Exception):
    """A run did what must never happen; the text says which run, and what."""


def run_next(number: int, rng: np.random.Generator) -> Counter[str]:
    """Run number ``number``; what happened.

    Raises:
        Violated: an invariant, a check or data.
    """
    return _replay(rng) if number % _CAMPAIGN == 0 else _campaign(number)


def _campaign(seed: int) -> Counter[str]:
    try:
        outcome = run_seed(seed, check=True)
    except InvariantBroken as broken:
        raise Violated(f"seed {seed}: {broken}") from broken
    if outcome.violations:
        raise Violated(f"seed {seed}: {dict(outcome.violations)}")
    return outcome.counts


def _replay(rng: np.random.Generator) -> Counter[str]:
    device, engine, key_type, design, scheduler = _MACHINES[int(rng.integers(len(_MACHINES)))]
    seed = int(rng.integers(1 << 31))
    sets = [f"block.scheduler={scheduler}", f"run.seed={seed}", "run.payload=verify", *_FAULTS]
    if engine == "inline" and design != "dm-crypt":
        sets.append("device.keyslots.count=4")
    scenario = replay_scenario(
        _TRACE,
        sets=sets,
        device=device,
        engine=engine,
        keys=key_type,
        design=design,
        limit=int(rng.integers(200, 3000)),
        time_scale=float(rng.choice([0.1, 1.0])),
    )
    try:
        result = run(scenario, check=True)
    except InvariantBroken as broken:
        raise Violated(f"replay on {device}, {design}, {engine}, seed {seed}: {broken}") from broken
    if result.mismatches or not all(result.checks.values()):
        raise Violated(f"replay on {device}, {design}, {engine}, seed {seed}: {result.notes}")
    return Counter({"runs": 1, "replays": 1, "bios": result.bios, **result.faults})
