"""The keyslot curve: how often a key is programmed, for every number of keyslots at once.

Time is left out: bios use their keys one after another, in the order of the workload.  With one bio in
flight a run does the same, so its keyslots hit exactly as often as the curve says.  With more in flight,
slots are pinned and bios overtake one another, and the curve is an estimate.

The optimum is the fewest programs that any choice of victims can reach (``scenarios.curves.optimal``).
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import blkcrypto
from blkcrypto.base.errors import BadInput
from scenarios.curves.accesses import Accesses
from scenarios.curves.lru import LruTable
from scenarios.curves.optimal import OptimalCurve
from scenarios.curves.reuse import MOST_KEYSLOTS, LruCurve
from scenarios.curves.sampling import FEWEST_STRETCHES, SampledCurve
from scenarios.load import load_scenario, replay_scenario, shipped_scenarios
from scenarios.schema import Scenario
from scenarios.streams import stream
from scenarios.traces.batch import TraceBatch

DEFAULT_KEYSLOTS: Final = 64
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Keyslot hits of one key design, by number of keyslots.

    Attributes:
        rows: rows of the workload.
        accesses: bios that need a key; of a sample, those counted.
        distinct_keys: keys the workload uses; None for a sample, which does not see them all.
        run_keyslots: how many a run of the scenario has; 0 for none.
        keyslots: the numbers of keyslots that the next columns are about, ascending.
        hits: bios that find their key in a slot.
        optimal_hits: the most that any choice of victims reaches; None when not asked for, or for a sample.
        sampled_share: of the workload that was counted; 1 for all of it.
        halfwidth95: half the 95 % confidence interval of each hit ratio; 0 unless it is a sample.
        skipped: rows of the workload treated specially, by rule.
    """

    scenario: str
    source: str
    seed: int
    version: str
    design: str
    key_type: str
    rows: int
    accesses: int
    distinct_keys: int | None
    run_keyslots: int
    keyslots: tuple[int, ...]
    hits: tuple[int, ...]
    optimal_hits: tuple[int, ...] | None
    sampled_share: float
    halfwidth95: tuple[float, ...]
    skipped: dict[str, int]

    @property
    def miss_ratios(self) -> tuple[float, ...]:
        """Share of accesses that program a keyslot."""
        return tuple(1 - hits / self.accesses for hits in self.hits)

    @property
    def optimal_miss_ratios(self) -> tuple[float, ...] | None:
        """The least share that any choice of victims reaches."""
        if self.optimal_hits is None:
            return None
        return tuple(1 - hits / self.accesses for hits in self.optimal_hits)


def curve_scenario(
    trace_or_scenario: str, *, design: str | None = None, sets: Sequence[str] = ()
) -> Scenario:
    """The scenario that an argument of ``blkcrypto curve`` means.

    A shipped scenario's name or a ``.toml`` file is a scenario; anything else is a trace.

    Raises:
        BadInput: no such scenario, or the options do not go together.
    """
    if trace_or_scenario not in shipped_scenarios() and not trace_or_scenario.endswith(".toml"):
        return replay_scenario(trace_or_scenario, design=design, sets=sets)
    return load_scenario(trace_or_scenario, sets=(*sets, f"keys.design={design}") if design else sets)


def curve(
    scenario: Scenario,
    *,
    max_keyslots: int = DEFAULT_KEYSLOTS,
    optimal: bool = True,
    source: Iterable[TraceBatch] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Curve:
    """The exact curve from 1 to ``max_keyslots``, in one pass.

    Args:
        optimal: also find the optimum; the keys used go to a temporary file, 12 bytes each.
        source: batches to take instead of the scenario's own workload.
        folder: where temporary files go.
        progress: told how many rows of the workload were just consumed.

    Raises:
        BadInput: the trace is damaged, or nothing in the workload is encrypted.
    """
    _check(max_keyslots, "--max-keyslots")
    lru = LruCurve(max_keyslots)
    with closing(Accesses(scenario, source, progress)) as used, OptimalCurve(max_keyslots, folder) as best:
        for keys in used.key_numbers():
            lru.add(keys)
            if optimal:
                best.add(keys)
        return _curve(
            scenario,
            used,
            accesses=lru.accesses,
            distinct_keys=used.distinct_keys,
            keyslots=tuple(range(1, max_keyslots + 1)),
            hits=tuple(lru.hits().tolist()),
            optimal_hits=tuple(best.hits().tolist()) if optimal else None,
        )


def curve_at(
    scenario: Scenario,
    keyslots: int,
    *,
    source: Iterable[TraceBatch] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """The exact curve at one number of keyslots, without the optimum: faster than all numbers at once.

    Raises:
        BadInput: as ``curve``.
    """
    _check(keyslots, "--keyslots")
    table = LruTable(keyslots)
    with closing(Accesses(scenario, source, progress)) as used:
        for keys in used.key_numbers():
            table.add(keys)
        return _curve(
            scenario,
            used,
            accesses=table.accesses,
            distinct_keys=used.distinct_keys,
            keyslots=(keyslots,),
            hits=(table.hits(),),
        )


def sampled_curve(
    scenario: Scenario,
    share: float,
    *,
    max_keyslots: int = DEFAULT_KEYSLOTS,
    source: Iterable[TraceBatch] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """The curve from 1 to ``max_keyslots``, from a ``share`` of a huge workload, with its error.

    Raises:
        BadInput: as ``curve``, or the workload is too short to be sampled.
    """
    _check(max_keyslots, "--max-keyslots")
    rng = stream(scenario.run.seed, "curve.sample")
    with closing(Accesses(scenario, source, progress)) as used:
        sample = SampledCurve(max_keyslots, share, rng, used.keys_of)
        for batch in used.batches():
            sample.add(batch)
        found = sample.result()
        if found.stretches < FEWEST_STRETCHES:
            what = f"{share:g} of {used.rows} rows is {found.stretches} stretches, too few to know the error"
            raise BadInput(f"{what}: sample more, or leave --sample out", where="--sample")
        return _curve(
            scenario,
            used,
            accesses=found.accesses,
            distinct_keys=None,
            keyslots=tuple(range(1, max_keyslots + 1)),
            hits=tuple(found.hits.tolist()),
            sampled_share=share,
            halfwidth95=tuple(found.halfwidth95.tolist()),
        )


def _check(keyslots: int, option: str) -> None:
    if not 1 <= keyslots <= MOST_KEYSLOTS:
        raise BadInput(f"{keyslots} is out of range: 1 to {MOST_KEYSLOTS}", where=option)


def _curve(
    scenario: Scenario,
    used: Accesses,
    *,
    accesses: int,
    distinct_keys: int | None,
    keyslots: tuple[int, ...],
    hits: tuple[int, ...],
    optimal_hits: tuple[int, ...] | None = None,
    sampled_share: float = 1.0,
    halfwidth95: tuple[float, ...] = (),
) -> Curve:
    if not accesses:
        raise BadInput("no I/O of the workload is encrypted", where=used.name)
    return Curve(
        scenario=scenario.name,
        source=used.name,
        seed=scenario.run.seed,
        version=blkcrypto.__version__,
        design=scenario.keys.design,
        key_type=scenario.keys.type,
        rows=used.rows,
        accesses=accesses,
        distinct_keys=distinct_keys,
        run_keyslots=used.run_keyslots,
        keyslots=keyslots,
        hits=hits,
        optimal_hits=optimal_hits,
        sampled_share=sampled_share,
        halfwidth95=halfwidth95 or (0.0,) * len(keyslots),
        # Of a sample nobody knows them: rows left out were not looked at.
        skipped=used.skipped if distinct_keys is not None else {},
    )
