"""What a key design cost one run, beside time."""

from dataclasses import asdict, dataclass, field
from typing import Final

GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignFigures:
    """Figures of one run.

    Attributes:
        files: touched by the run.
        data_bytes: size of those files.
        extents: file extent items of theirs; 0 where extents have nothing of their own.
        keys_made, keys_live: contents keys made in the run, and in memory at its end.
        derivations: key derivations.
        on_disk_bytes: what the design stores for those files beside their contents.
        in_memory_bytes: what it holds for them at the end.
        setups_at_open, setups_in_io: keys set up when a file is opened, and while a bio waits.
        open_cpu_ns, io_cpu_ns: CPU time of those.
        programs_per_io: keyslot programs per bio.
        metadata_reads, metadata_writes: I/Os of the design's own.
        metadata_read_bytes, metadata_write_bytes: their bytes.
        write_amplification: bytes written for each byte that bios wrote; 0 without writes.
        violations: what the context checker objects to, and how often.
        extra: counts that only this design has.
        seen: the attacker's view of the medium, with ``payload = "verify"``.
    """

    files: int
    data_bytes: int
    extents: int
    keys_made: int
    keys_live: int
    derivations: int
    on_disk_bytes: int
    in_memory_bytes: int
    setups_at_open: int = 0
    setups_in_io: int = 0
    open_cpu_ns: int = 0
    io_cpu_ns: int = 0
    programs_per_io: float = 0.0
    metadata_reads: int = 0
    metadata_writes: int = 0
    metadata_read_bytes: int = 0
    metadata_write_bytes: int = 0
    write_amplification: float = 0.0
    violations: dict[str, int] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    @property
    def on_disk_per_file(self) -> float:
        """Bytes on disk for a file touched."""
        return self.on_disk_bytes / self.files if self.files else 0.0

    @property
    def on_disk_per_gib(self) -> float:
        """Bytes on disk for a GiB of files."""
        return self.on_disk_bytes * GIB / self.data_bytes if self.data_bytes else 0.0

    @property
    def in_memory_per_file(self) -> float:
        """Bytes in memory for a file touched."""
        return self.in_memory_bytes / self.files if self.files else 0.0

    @property
    def in_memory_per_gib(self) -> float:
        """Bytes in memory for a GiB of files."""
        return self.in_memory_bytes * GIB / self.data_bytes if self.data_bytes else 0.0

    def to_json(self) -> dict[str, object]:
        """All of it, for programs."""
        return {
            **asdict(self),
            "on_disk_bytes_per_file": self.on_disk_per_file,
            "on_disk_bytes_per_gib": self.on_disk_per_gib,
            "in_memory_bytes_per_file": self.in_memory_per_file,
            "in_memory_bytes_per_gib": self.in_memory_per_gib,
        }
