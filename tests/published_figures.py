"""Figures that vendors, drivers and mailing lists publish, and what the shipped devices make of them.

    python -m tests.published_figures docs/devices.md

writes the table of the page anew; ``tests/test_published_figures.py`` checks figures and page.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

from scenarios.load import load_scenario
from scenarios.results.result import RunResult
from scenarios.run import run

WITHIN: Final = 0.15
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

SAMSUNG: Final = "Samsung's table of its eMMC and eUFS generations (liliputing.com, 2020-03)"
UFS40: Final = "Samsung's announcement of UFS 4.0 (voonze.com, 2022-05-07)"
PHONE: Final = "AndroBench on a UFS 3.0 phone (notebookcheck.net)"
LINK: Final = "bus votes of drivers/ufs/host/ufs-qcom.c"
SM8650: Final = "commit b41c1d8d0790"

EMMC51, EUFS21, EUFS21_1TB = "eMMC 5.1", "eUFS 2.1, 256 GB", "eUFS 2.1, 1 TB"
EUFS30, EUFS31 = "eUFS 3.0", "eUFS 3.1"

# Device, what the source calls it, MB/s in sequence and 4 KiB random IOPS, each of reads and writes; None
# where nothing is published.
STORAGE: Final = (
    ("emmc51-cqhci", EMMC51, (250, 125, 11_000, 13_000), SAMSUNG),
    ("emmc51-ice", EMMC51, (250, 125, 11_000, 13_000), SAMSUNG),
    ("ufs21-std", EUFS21, (850, 260, 45_000, 40_000), SAMSUNG),
    ("ufs21-1tb", EUFS21_1TB, (1000, 260, 58_000, 50_000), SAMSUNG),
    ("ufs30-std", EUFS30, (2100, 410, 63_000, 68_000), SAMSUNG),
    ("ufs30-phone", "UFS 3.0 phone", (2280, 1802, 37_240, 34_962), PHONE),
    ("ufs31-ice-raw", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("ufs31-ice-hwkm1", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("ufs31-mediatek", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("ufs31-unisoc", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("exynos-fmp", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("exynos-fmp-slots", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("tensor-kdn", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("none", EUFS31, (2100, 1200, 100_000, 70_000), SAMSUNG),
    ("ufs40-mcq", "UFS 4.0", (4200, 2800, None, None), UFS40),
    ("ufs40-ice-hwkm", "UFS 4.0", (4200, 2800, None, None), UFS40),
)
KINDS: Final = ("sequential read", "sequential write", "4k random read", "4k random write")
MB: Final = "MB/s"
# Ceilings of two lanes at rate B, by gear, in KB/s as the driver has them.
LINKS: Final = (("ufs21-std", 3, 1_492_582), ("ufs31-ice-raw", 4, 2_915_200), ("ufs40-mcq", 5, 5_836_800))


@dataclass(frozen=True, slots=True)
class Published:
    """One figure: of which device, what, how much, who says so, and how to run the matching workload."""

    device: str
    what: str
    figure: int
    unit: str
    source: str
    measure: Callable[[], float]

    @property
    def ours(self) -> float:
        """Measured once."""
        return _measured(self)

    @property
    def difference(self) -> float:
        """Ours against theirs, e.g. -0.05 for 5 % less."""
        return self.ours / self.figure - 1


@cache
def _measured(figure: Published) -> float:
    return figure.measure()


def _run(device: str, body: str) -> RunResult:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figure.toml"
        file.write_text(f'question = "Is it as fast as is published?"\ndevice = {device}\n{body}')
        return run(load_scenario(str(file)))


def _storage(device: str, kind: int) -> float:
    """Unencrypted, 32 outstanding from 4 jobs, as AndroBench and vendors measure; 512 KiB in sequence."""
    sequential, reads = kind < 2, kind % 2 == 0
    result = _run(
        f'"{device}"',
        f"""
        layout = {{ files = 4, file_size = "1G" }}
        keys = {{ design = "none" }}
        run = {{ queue_depth = 8, warmup = 200 }}
        [workload]
        ios = {1500 if sequential else 6000}
        read_share = {int(reads)}
        access = "{"sequential" if sequential else "random"}"
        block_sizes = "{"512k" if sequential else "4k"}"
        jobs = 4
        """,
    )
    every = result.directions["all"]
    return every.bw_bytes / 1e6 if sequential else every.iops


def _link(device: str) -> float:
    """As above, in front of a medium that takes no time: what the link lets through."""
    instant = ", ".join(f"{name} = 0" for name in ("read_ns", "write_ns", "read_per_s", "write_per_s"))
    result = _run(
        f'{{ base = "{device}", media = {{ {instant} }} }}',
        """
        layout = { files = 4, file_size = "1G" }
        keys = { design = "none" }
        run = { queue_depth = 8, warmup = 200 }
        workload = { ios = 1500, access = "sequential", block_sizes = "512k", jobs = 4 }
        """,
    )
    return result.directions["all"].bw_bytes / 1e6


def _cpu_cipher(device: str) -> float:
    """The fallback's bytes per CPU second spent in the cipher, 4 KiB at a time."""
    result = _run(
        f'"{device}"',
        """
        keys = { engine = "fallback" }
        run = { queue_depth = 1 }
        workload = { ios = 2000, block_sizes = "4k" }
        """,
    )
    return (result.read_bytes + result.write_bytes) * 1000 / result.cpu.crypto_ns


def _storage_figures() -> Iterator[Published]:
    for device, of, figures, source in STORAGE:
        for kind, figure in enumerate(figures):
            if figure is not None:
                unit = MB if kind < 2 else "IOPS"
                yield Published(
                    device,
                    f"{of}: {KINDS[kind]}",
                    figure,
                    unit,
                    source,
                    partial(_storage, device, kind),
                )


def _figures() -> Iterator[Published]:
    yield from _storage_figures()
    for device, gear, kb_per_s in LINKS:
        what = f"link, two lanes at gear {gear} rate B"
        yield Published(device, what, kb_per_s // 1000, MB, LINK, partial(_link, device))
    what = "CPU, AES-256-XTS, 4 KiB, SM8650"
    yield Published("ufs40-mcq", what, 4301, MB, SM8650, partial(_cpu_cipher, "ufs40-mcq"))


PUBLISHED: Final = tuple(_figures())


def table() -> str:
    """The page's table, as it should be; devices that share a medium share a row while they agree."""
    devices: dict[str, list[str]] = {}
    for each in PUBLISHED:
        line = (
            f"| {each.what} | {each.figure:,} {each.unit} | {each.ours:,.0f} "
            f"| {100 * each.difference:+.1f} % | {each.source}"
        )
        devices.setdefault(line, []).append(f"`{each.device}`")
    lines = ["| figure | published | ours | difference | source | devices |", "|---|---:|---:|---:|---|---|"]
    lines += [f"{line} | {', '.join(names)} |" for line, names in devices.items()]
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """``page`` with the table as it should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_table(target.read_text(encoding="utf-8")), encoding="utf-8")
