"""Shipped devices against the storage figures that vendors publish (reference block-layer.md section 6.2)."""

from pathlib import Path

import pytest

from scenarios.load import load_scenario
from scenarios.result import RunResult
from scenarios.run import run

WITHIN = 0.15
# Samsung's own table (eMMC 5.1, eUFS 2.1 of 256 GB, eUFS 3.1) and its announcement of UFS 4.0, which has no
# random rates: device, 4 KiB random reads and writes per s, sequential MB/s of reads and writes.
PUBLISHED = [
    ("emmc51-cqhci", 11_000, 13_000, 250, 125),
    ("emmc51-ice", 11_000, 13_000, 250, 125),
    ("ufs21-std", 45_000, 40_000, 850, 260),
    ("ufs31-ice-raw", 100_000, 70_000, 2100, 1200),
    ("ufs31-mediatek", 100_000, 70_000, 2100, 1200),
    ("tensor-kdn", 100_000, 70_000, 2100, 1200),
    ("ufs40-ice-hwkm", None, None, 4200, 2800),
    ("ufs40-mcq", None, None, 4200, 2800),
]
RANDOM = [(row[0], read, row[2 - read]) for row in PUBLISHED for read in (1, 0) if row[1] is not None]
SEQUENTIAL = [(row[0], read, row[4 - read]) for row in PUBLISHED for read in (1, 0)]


def measured(path: Path, device: str, read_share: int, access: str, size: str, ios: int) -> RunResult:
    """Unencrypted, 32 outstanding from 4 jobs, as AndroBench and vendors measure."""
    file = path / "figure.toml"
    file.write_text(
        f"""
        question = "Is it as fast as its vendor says?"
        device = "{device}"
        layout = {{ files = 4, file_size = "1G" }}
        keys = {{ design = "none" }}
        run = {{ queue_depth = 8, warmup = 200 }}
        [workload]
        ios = {ios}
        read_share = {read_share}
        access = "{access}"
        block_sizes = "{size}"
        jobs = 4
        """
    )
    return run(load_scenario(str(file)))


@pytest.mark.parametrize(("device", "read_share", "iops"), RANDOM)
def test_random_rates_are_within_15_percent(tmp_path: Path, device: str, read_share: int, iops: int) -> None:
    result = measured(tmp_path, device, read_share, "random", "4k", 6000)
    assert result.directions["all"].iops == pytest.approx(iops, rel=WITHIN)


@pytest.mark.parametrize(("device", "read_share", "megabytes_per_s"), SEQUENTIAL)
def test_sequential_rates_are_within_15_percent(
    tmp_path: Path, device: str, read_share: int, megabytes_per_s: int
) -> None:
    result = measured(tmp_path, device, read_share, "sequential", "512k", 1500)
    assert result.directions["all"].bw_bytes == pytest.approx(megabytes_per_s * 1e6, rel=WITHIN)
