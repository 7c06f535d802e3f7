"""What a run leaves: plain values, ready for any report."""

from dataclasses import dataclass, field

from hwmodel.request import STAGE_FIELDS
from scenarios.keying.figures import DesignFigures

# Stages of a bio, in the order it passes them.  They sum to its total.
#   queued          waiting for a CPU to run on
#   submit          CPU time of submission
#   tag_wait        waiting for a tag
#   scheduler       held back in the scheduler, where bios merge
#   keyslot_lock    waiting for the profile lock behind other keyslot operations
#   keyslot_idle    waiting for any keyslot to become idle
#   keyslot_program programming a keyslot with the bio's own key (fallback: setkey)
#   cpu_crypto      software encryption or decryption
#   device_queue    waiting for the link, the engine or a media unit
#   transfer        link and inline engine
#   media           flash
STAGES = STAGE_FIELDS
KEYSLOT_STAGES = ("keyslot_lock", "keyslot_idle", "keyslot_program")
DEVICE_STAGES = ("device_queue", "transfer", "media")
PERCENTILES = (
    1.0,
    5.0,
    10.0,
    20.0,
    30.0,
    40.0,
    50.0,
    60.0,
    70.0,
    80.0,
    90.0,
    95.0,
    99.0,
    99.5,
    99.9,
    99.95,
    99.99,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A measured quantity in ns.  ``percentile`` maps a percentage to ns; empty when ``N`` is 0.

    ``relative_error`` bounds the percentiles' error: 0 when they come from all values.
    ``mean_halfwidth95`` is half the 95 % confidence interval of the mean by batch means; 0 when there
    are too few values to say.
    """

    N: int
    min: int
    max: int
    mean: float
    stddev: float
    mean_halfwidth95: float
    percentile: dict[float, int]
    relative_error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionResult:
    """Reads, writes, or all bios together (``all`` also counts flushes and discards)."""

    total_ios: int
    io_bytes: int
    iops: float
    bw_bytes: float
    lat_ns: Distribution
    keyslot_wait_ns: Distribution
    cpu_crypto_ns: Distribution
    device_ns: Distribution
    stage_ns: dict[str, int]  # stage -> sum over bios


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyslotResult:
    """The device's keyslots, or the fallback's when it did the work.

    ``acquires == hits + programs`` when nothing failed; ``waits`` counts bios that slept for an idle slot,
    ``lock_waits`` bios that waited for the profile lock.  ``failures`` could not be programmed, ``abandoned``
    were still waiting when power failed.
    """

    count: int
    acquires: int
    hits: int
    programs: int
    evicts: int
    waits: int
    lock_waits: int
    distinct_keys: int
    lock_held_ns: int
    failures: int = 0
    abandoned: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuResult:
    """CPU time by cause, in ns."""

    cpus: int
    crypto_ns: int
    setkey_ns: int
    submit_ns: int
    program_ns: int

    @property
    def total_ns(self) -> int:
        """Of all causes."""
        return self.crypto_ns + self.setkey_ns + self.submit_ns + self.program_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One finished run.  Holds no wall-clock fact: equal runs give equal results.

    ``inflight_mean`` is the time-averaged number of bios in the system, from the clock alone; by Little's
    law it equals arrival rate times mean latency.
    """

    scenario: str
    question: str
    device: str
    design: str
    key_type: str
    engine: str
    seed: int
    payload: str
    version: str
    assumptions: tuple[str, ...]  # "media.read_ns = 80 us (assumption: ...)"
    bios: int
    rows: int  # rows of the trace or generator the bios came from
    read_bytes: int
    write_bytes: int
    sim_time_ns: int
    inflight_mean: float
    splits: int  # requests beyond the first that bios were split into
    merges: int  # bios and requests merged into requests that the scheduler held
    errors: dict[str, int]  # blk_status name -> bios
    skipped: dict[str, int]  # trace rows left out, widened or cut, by rule
    directions: dict[str, DirectionResult]  # "read", "write", "all"
    keyslots: KeyslotResult
    cpu: CpuResult
    verified_bytes: int
    mismatches: int
    medium_sha256: str  # of the stored data units, see hwmodel.medium; empty where nobody asked for it
    design_on_disk_bytes: int
    design_in_memory_bytes: int
    design_derivations: int
    key_ops: dict[str, tuple[int, int]]  # keywrap operation -> (count, ns)
    files: int
    checks: dict[str, bool] = field(default_factory=dict)  # invariant -> held
    notes: tuple[str, ...] = ()
    faults: dict[str, int] = field(default_factory=dict)  # what went wrong on purpose -> how often
    figures: DesignFigures | None = None  # of the key design; None for a plain one that is not compared
