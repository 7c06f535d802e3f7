"""What a device is: frozen facts, each with a source.

A device file (``hwmodel/devices/*.toml``) describes a storage device with its inline encryption
hardware and the host it sits in.  Every quantity is a ``Figure``: a value, and where it comes from.
A source that begins with ``assumption`` marks a number nobody published; every run lists those it used.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import msgspec

ServiceShape = Literal["deterministic", "exponential", "empirical"]
Placement = Literal["striped", "any"]
Programs = Literal["in-order", "yield", "suspend", "apart"]


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number of a device.

    Attributes:
        value: in the unit the field's name ends with (``_ns``, ``_bytes``, ``_per_s``), otherwise a count.
        source: a citation, or ``assumption: why``, or ``set by the scenario``.
    """

    value: int
    source: str

    @property
    def is_assumption(self) -> bool:
        """Whether nobody published this number."""
        return self.source.startswith("assumption")


class Quantiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured distribution: its quantile function at some percentages, straight between them.

    Attributes:
        points: (percent, ns), percentages rising from 0 to 100, ns never falling.
        source: as of a ``Figure``.

    Raises:
        ValueError: points that are no quantile function.
    """

    points: tuple[tuple[float, int], ...]
    source: str

    def __post_init__(self) -> None:
        percents = [percent for percent, _ in self.points]
        values = [ns for _, ns in self.points]
        if len(percents) < 2 or (percents[0], percents[-1]) != (0, 100):
            raise ValueError("quantiles begin at 0 and end at 100 percent")
        if any(low >= high for low, high in pairwise(percents)):
            raise ValueError("quantiles need rising percentages")
        if values[0] < 0 or any(low > high for low, high in pairwise(values)):
            raise ValueError("quantiles are times of 0 ns or more that never fall")


class Controller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Host controller and link.

    Attributes:
        tags: commands in flight, i.e. requests that exist at once without a scheduler.
        link_per_s: payload rate of the link in bytes per second; 0 means it never limits.
        reset_ns: from the beginning of a reset until keys can be programmed; faults ask for it.
        gate_after_ns: an idle controller stops its clocks after this; 0 for never.
        ungate_ns: until they run again, which the next command waits for.
        suspend_after_ns: an idle device is suspended after this and loses its keys; 0 for never.
        resume_ns: until keys can be programmed again.
    """

    tags: Figure
    link_per_s: Figure
    reset_ns: Figure = Figure(
        20_000_000, "assumption: re-initialising a UFS host and its link takes some tens of ms"
    )
    gate_after_ns: Figure = Figure(0, "clocks never stop")
    ungate_ns: Figure = Figure(0, "clocks never stop")
    suspend_after_ns: Figure = Figure(0, "never suspended")
    resume_ns: Figure = Figure(0, "never suspended")


class Keyslots(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keyslots and what the crypto profile advertises.

    Attributes:
        count: keyslots; 0 for hardware that takes the key with each request.
        dun_bytes: ``max_dun_bytes_supported``.
        data_unit_sizes: bitmask of supported sizes in bytes, e.g. ``0x1200`` for 512 and 4096.
        key_types: ``raw``, ``hw-wrapped`` or both; with ``exclusive`` the host chooses one at boot.
        exclusive: supports either key type, never both at once (Qualcomm ICE with HWKM).
        program_raw_ns, program_hw_wrapped_ns: one ``keyslot_program``, lock held.
        evict_ns: one ``keyslot_evict``, lock held.
        program_on_cpu: the submitter's CPU is busy for the whole of it (MMIO or a secure-monitor call).
        per_data_unit_ns: cost of writing key and IV into a descriptor entry, per data unit (FMP).
        drains_io: programming and evicting wait until no request of the device is in flight, and hold up new
            ones meanwhile (Tensor's KDN).
        drain_poll_ns: with ``drains_io``, the wait is checked at such intervals, so it is a multiple of this.
    """

    count: Figure
    dun_bytes: Figure
    data_unit_sizes: Figure
    key_types: tuple[Literal["raw", "hw-wrapped"], ...]
    program_raw_ns: Figure
    program_hw_wrapped_ns: Figure
    evict_ns: Figure
    per_data_unit_ns: Figure
    exclusive: bool = False
    program_on_cpu: bool = True
    drains_io: bool = False
    drain_poll_ns: Figure = Figure(0, "nothing is drained, so nothing waits for it")


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Inline encryption engine, in the data path between link and media.

    Attributes:
        rate_per_s: bytes per second; 0 means it never limits.
        latency_ns: pipeline latency added to each encrypted request; does not occupy the engine.
        clock_percent: the engine's clock, of the one ``rate_per_s`` is meant for.
        cores: AES cores that share ``rate_per_s`` while all data goes one way; 0 for an engine that is one
            whole.  With cores, reads and writes pass engine and link side by side.
        mixed_read_cores, mixed_write_cores: cores that reads and writes have while both are on their way.
    """

    rate_per_s: Figure
    latency_ns: Figure
    clock_percent: Figure = Figure(100, "full clock")
    cores: Figure = Figure(0, "no pool of cores")
    mixed_read_cores: Figure = Figure(0, "no pool of cores")
    mixed_write_cores: Figure = Figure(0, "no pool of cores")


class KeyWrap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Key-wrapping unit: what each operation takes, lock held.

    Attributes:
        import_ns, generate_ns: making a long-term blob, of a given or a new key.
        prepare_ns: rewrapping a long-term blob for this boot.
        derive_sw_secret_ns: deriving the software secret.
        blob_bytes: size of either blob.
    """

    import_ns: Figure
    generate_ns: Figure
    prepare_ns: Figure
    derive_sw_secret_ns: Figure
    blob_bytes: Figure


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Flash behind the controller: ``units`` servers, each first come first served.

    Attributes:
        units: dies or planes that work in parallel.
        stripe_bytes: a request is cut at multiples of this, each piece served by one unit.
        channels: buses that units share, dealt out to them in turn; 0 for channels that never limit.
        channel_per_s: rate of one channel; data passes it before a write is served and after a read is.
        read_ns, write_ns: fixed part of serving one piece.
        read_per_s, write_per_s: rate of one unit beyond the fixed part; 0 means no size-dependent part.
        flush_ns, discard_ns: one such command, on one unit.
        capacity_bytes: size of the device.
        cache_bytes: write cache; 0 for none.
        cache_write_ns: accepting a write into the cache.
        programs: how reads get past the cache's writing in the background: ``in-order``, not at all;
            ``yield``, they wait for the program in progress only; ``suspend``, not even for that; ``apart``,
            they never meet: reads and programs each have units of their own.
        suspend_ns: with ``suspend``, from a read's arrival until the program is out of its way.
        fua: a FUA write waits for its own data only; without it Linux sends a FLUSH after the write.
        shape: distribution of a piece's service time around its mean.
        read_quantiles, write_quantiles, flush_quantiles: with the shape ``empirical``, how the fixed part is
            distributed, which ``read_ns``, ``write_ns``, ``flush_ns`` are then the mean of; an operation
            without one takes its mean.
        placement: ``striped`` by address, or ``any`` idle unit (the textbook's c servers).
    """

    units: Figure
    stripe_bytes: Figure
    read_ns: Figure
    write_ns: Figure
    read_per_s: Figure
    write_per_s: Figure
    flush_ns: Figure
    discard_ns: Figure
    capacity_bytes: Figure
    channels: Figure = Figure(0, "channels never limit")
    channel_per_s: Figure = Figure(0, "channels never limit")
    cache_bytes: Figure = Figure(0, "no write cache")
    cache_write_ns: Figure = Figure(0, "no write cache")
    programs: Programs = "in-order"
    suspend_ns: Figure = Figure(0, "programs are not suspended")
    fua: bool = True
    shape: ServiceShape = "deterministic"
    placement: Placement = "striped"
    read_quantiles: Quantiles | None = None
    write_quantiles: Quantiles | None = None
    flush_quantiles: Quantiles | None = None

    def __post_init__(self) -> None:
        if self.shape == "empirical" and not (
            self.read_quantiles or self.write_quantiles or self.flush_quantiles
        ):
            raise ValueError('shape = "empirical" needs read_quantiles, write_quantiles or flush_quantiles')
        if self.programs != "in-order" and not self.cache_bytes.value:
            raise ValueError(f'programs = "{self.programs}" needs a write cache: media.cache')
        yields = self.programs in ("yield", "suspend")
        if yields and self.placement == "any":
            raise ValueError(
                f'programs = "{self.programs}" needs placement = "striped": a read knows its unit'
            )
        if self.channels.value and (yields or self.placement == "any"):
            raise ValueError('channels need placement = "striped", and programs that do not yield to reads')


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """CPUs and what software costs on them.

    Attributes:
        cpus: online CPUs.
        submit_ns: CPU time of submitting one bio, before its request exists.
        setkey_ns: loading a key into a cipher object (the fallback's ``keyslot_program``).
        cipher_per_s: AES-256-XTS in bytes per second on one CPU.
        cipher_ns: fixed CPU time of a cipher call per data unit.
        worker_ns: from queueing work to a worker starting it, when a CPU is idle.
    """

    cpus: Figure
    submit_ns: Figure
    setkey_ns: Figure
    cipher_per_s: Figure
    cipher_ns: Figure
    worker_ns: Figure


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One device file.

    Attributes:
        name: of the device, as ``blkcrypto list devices`` shows it.
        summary: what it is, in one line.
    """

    name: str
    summary: str
    controller: Controller
    media: Media
    host: Host
    keyslots: Keyslots | None = None
    engine: Engine | None = None
    keywrap: KeyWrap | None = None

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Every figure with its dotted name, in file order."""
        return ((name, value) for name, value in self._fields() if isinstance(value, Figure))

    def choices(self) -> Iterator[tuple[str, object]]:
        """Everything else that a file may say, with its dotted name, in file order."""
        return ((name, value) for name, value in self._fields() if not isinstance(value, Figure))

    def _fields(self) -> Iterator[tuple[str, object]]:
        for section in ("controller", "keyslots", "engine", "keywrap", "media", "host"):
            part = getattr(self, section)
            if part is not None:
                for field in part.__struct_fields__:
                    yield f"{section}.{field}", getattr(part, field)
