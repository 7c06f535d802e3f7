"""Splitting a batch over cores.  The heavy calls (AES, numpy) release the interpreter lock.

A batch is cut into one contiguous part per core; parts never share a byte, so the result does not depend on
how many there are or in which order they run.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None


def _forget_executor() -> None:
    # Threads do not survive fork(): the child starts its own when it needs them.
    global _executor, _lock
    _executor, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_executor)


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(max_workers=max(1, cores() - 1), thread_name_prefix="blkcrypto")
        return _executor


def for_parts(count: int, threads: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(start, stop)`` so that together the calls cover ``range(count)`` once.

    Args:
        threads: at most so many parts at once; 1 works in the calling thread.
        work: must not call ``for_parts`` itself.
    """
    parts = min(threads, count)
    if parts <= 1:
        work(0, count)
        return
    bounds = [count * part // parts for part in range(parts + 1)]
    pool = _pool()
    others = [pool.submit(work, start, stop) for start, stop in itertools.pairwise(bounds[1:])]
    try:
        work(0, bounds[1])
    finally:
        # Nobody may see the output, or reuse a buffer, while a part still works on it.
        errors = [future.exception() for future in others]
    for error in errors:
        if error is not None:
            raise error
