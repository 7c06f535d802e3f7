"""Where a process that fuzzes keeps its files."""

import functools
import os
import tempfile
from pathlib import Path


@functools.cache
def folder() -> Path:
    """A folder of this process, in memory where there is such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
