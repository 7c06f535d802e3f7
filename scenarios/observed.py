"""What a report needs beyond a result: collected while a run goes on, in bounded memory."""

from dataclasses import dataclass

from scenarios.latencies import LatencyProfile
from scenarios.overtime import OverTime
from scenarios.records import RecordSink
from scenarios.schema import Scenario


@dataclass(frozen=True, slots=True)
class Observed:
    """Collectors of one run: give ``sinks`` to ``scenarios.run.run``."""

    latencies: LatencyProfile
    over_time: OverTime

    @classmethod
    def of(cls, scenario: Scenario) -> "Observed":
        """Empty collectors for a run of ``scenario``."""
        return cls(LatencyProfile(warmup=scenario.run.warmup), OverTime())

    @property
    def sinks(self) -> tuple[RecordSink, ...]:
        """All of them."""
        return (self.latencies, self.over_time)
