"""Where the points of a sweep run: processes of this machine, or a Dask cluster, behind one face.

Both are ``concurrent.futures.Executor``s.  What differs is how they start, how wide they are, and how what
runs is given up.
"""

import importlib
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from blkcrypto.base.errors import BadInput

_CONNECT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    executor: Executor
    width: int  # points that run at the same time
    give_up: Callable[[], None]  # end what runs, at once
    close: Callable[[], None]  # nothing runs any more


class Workers:
    """An executor that can be started anew.  Use it as a context; leaving by an exception gives up.

    Args:
        where: ``local``, ``local:N`` or ``dask://HOST:PORT``.

    Raises:
        BadInput: none of these, or no such cluster.
    """

    def __init__(self, where: str) -> None:
        self._open = _opener(where)
        self._pool = self._open()

    @property
    def executor(self) -> Executor:
        """Takes work."""
        return self._pool.executor

    @property
    def width(self) -> int:
        """Points that run at the same time."""
        return self._pool.width

    def restart(self) -> None:
        """Replace an executor that broke."""
        self._pool.give_up()
        self._pool = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._pool.close()
        else:
            self._pool.give_up()


def _opener(where: str) -> Callable[[], _Pool]:
    if local := re.fullmatch(r"local(?::([1-9][0-9]{0,3}))?", where):
        width = int(local[1] or 0) or len(os.sched_getaffinity(0))
        return lambda: _local(width)
    if re.fullmatch(r"dask://\S+:\d+", where):
        address = f"tcp://{where.removeprefix('dask://')}"
        return lambda: _dask(address)
    raise BadInput(f"{where!r} is not local, local:N or dask://HOST:PORT", where="--on")


def _local(width: int) -> _Pool:
    # A spawned process shares nothing with this one, not even threads' locks.
    context = get_context("spawn")
    stay, leave = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(width, mp_context=context, initializer=_obey, initargs=(stay,))

    def give_up() -> None:
        leave.close()
        executor.shutdown(wait=True, cancel_futures=True)
        stay.close()

    def close() -> None:
        executor.shutdown(wait=True)
        leave.close()
        stay.close()

    return _Pool(executor=executor, width=width, give_up=give_up, close=close)


def _obey(stay: Connection) -> None:
    """In a worker: leave it to the parent to be interrupted, and end when it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        # Nothing is ever sent.  The pipe ends when its other end is closed, by the parent or for it.
        with suppress(EOFError, OSError):
            stay.recv_bytes()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _dask(address: str) -> _Pool:
    try:
        # Without type stubs; by name, so that it makes no difference whether it is installed.
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise BadInput(
            "a Dask cluster needs distributed: pip install 'blkcrypto[sweep]'", where="--on"
        ) from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except OSError as error:
        raise BadInput(f"no Dask scheduler answers: {error}", where="--on") from None
    width = sum(client.nthreads().values())
    if not width:
        client.close()
        raise BadInput("the Dask cluster has no workers", where="--on")
    executor = client.get_executor(pure=False, retries=0)

    def give_up() -> None:
        executor.shutdown(wait=False)  # cancels
        client.close()

    def close() -> None:
        executor.shutdown(wait=True)
        client.close()

    return _Pool(executor=executor, width=width, give_up=give_up, close=close)
