"""What a report needs beyond a result: collected while a run goes on, in bounded memory."""

from dataclasses import dataclass

from hwmodel.software import FALLBACK_KEYSLOTS
from scenarios.build import settled
from scenarios.results.latencies import LatencyProfile
from scenarios.results.overtime import OverTime
from scenarios.results.records import RecordSink
from scenarios.results.slotuse import SlotUse
from scenarios.schema import Scenario


@dataclass(frozen=True, slots=True)
class Observed:
    """Collectors of one run: give ``sinks`` and ``slot_use`` (its observer) to ``scenarios.run.run``.

    ``slot_use`` is None where there are no keyslots.
    """

    latencies: LatencyProfile
    over_time: OverTime
    slot_use: SlotUse | None = None

    @classmethod
    def of(cls, scenario: Scenario) -> "Observed":
        """Empty collectors for a run of ``scenario``."""
        real = settled(scenario)
        slots = _keyslots(real)
        use = SlotUse(slots, real.keys.engine) if slots else None
        return cls(LatencyProfile(warmup=scenario.run.warmup), OverTime(), use)

    @property
    def sinks(self) -> tuple[RecordSink, ...]:
        """All of them."""
        return (self.latencies, self.over_time)


def _keyslots(scenario: Scenario) -> int:
    """How many keyslots contents pass through; 0 for none."""
    facts = scenario.device.keyslots
    if scenario.keys.design == "none" or scenario.keys.engine == "fs-layer":
        return 0
    if scenario.keys.engine == "fallback":
        return FALLBACK_KEYSLOTS
    return facts.count.value if facts is not None else 0
