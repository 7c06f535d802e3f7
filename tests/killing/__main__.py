"""Kill sweeps and servers at random moments: exit status 0 when nothing was lost, 1 else."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.killing.serves import killed_servers
from tests.killing.sweeps import killed_sweeps


def main() -> int:
    """Run what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.killing", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all; half of them hit sweeps")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="killing-") as folder:
        for campaign, kills in (
            (killed_sweeps, (options.kills + 1) // 2),
            (killed_servers, options.kills // 2),
        ):
            try:
                print(campaign(Path(folder), kills, rng), flush=True)
            except AssertionError as error:
                print(f"{campaign.__name__}: {error}", flush=True)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
