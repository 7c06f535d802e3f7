"""Chrome trace-event JSON, written event by event.

``ts`` and ``dur`` are microseconds there: nanoseconds are written with three decimals, so none is lost.
Viewers sort events by time and keep the order of the file at one instant, so a slice is written before the
slices inside it and before flow arrows that touch it.

Two things the format allows are left out, because viewers differ: ``displayTimeUnit`` (of "ns", versions of
Perfetto took times to be nanoseconds) and numbers of threads that two processes share (its older importers
gave a name to the last thread of that number).

Source: "Trace Event Format", the document of the Chromium project; src/trace_processor/importers/json of
Perfetto.
"""

import gzip
import json
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self, cast

from blkcrypto.base.errors import BadInput
from scenarios.report.files import STDOUT, check_target, whole_file

FlowPhase = Literal["s", "t", "f"]  # where arrows begin, pass, and end
Arguments = Mapping[str, str | int]
_GZIP_LEVEL: Final = 4  # half the time of 6, and a tenth more bytes


class TraceFile:
    """A trace-event file.  A context: it appears whole when that ends well, and not at all otherwise.

    Args:
        target: its name; compressed when it ends in ``.gz``.

    Attributes:
        facts: about the whole; written at the end.

    Raises:
        BadInput: ``target`` cannot be written; says so before the run.
    """

    def __init__(self, target: str) -> None:
        if target == STDOUT:
            raise BadInput("a timeline goes to a file: name one", where="--timeline")
        check_target(target)
        self._target = target
        self._stack = ExitStack()
        self._comma = ""
        self._quoted: dict[str, str] = {}
        self.facts: dict[str, str | int] = {}

    def __enter__(self) -> Self:
        file = self._stack.enter_context(whole_file(self._target))
        if self._target.endswith(".gz"):
            # Neither a name nor a time inside: equal runs give equal bytes.
            packed = gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0)
            file = cast(BinaryIO, self._stack.enter_context(packed))
        self._file = file
        self._file.write(b'{"traceEvents":[\n')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            other = json.dumps(self.facts, ensure_ascii=False)
            self._file.write(f'\n],\n"otherData":{other}}}\n'.encode())
        self._stack.__exit__(kind, error, trace)

    def slice(
        self, process: int, thread: int, name: str, begin: int, end: int, kind: str, arguments: Arguments
    ) -> None:
        """Something that took from ``begin`` to ``end``; slices of one thread nest or lie apart."""
        args = f',"args":{json.dumps(arguments, ensure_ascii=False)}' if arguments else ""
        self._event(
            f'"ph":"X","pid":{process},"tid":{thread},"ts":{_us(begin)},"dur":{_us(end - begin)},'
            f'"name":{self._quote(name)},"cat":"{kind}"{args}'
        )

    def flow(self, phase: FlowPhase, flow: int, process: int, thread: int, at: int) -> None:
        """An arrow of ``flow`` begins, passes or ends at the slice that begins at ``at``."""
        binding = ',"bp":"e"' if phase == "f" else ""
        self._event(
            f'"ph":"{phase}","id":{flow},"pid":{process},"tid":{thread},"ts":{_us(at)},'
            f'"name":"bio","cat":"bio"{binding}'
        )

    def counter(self, process: int, name: str, at: int, value: int) -> None:
        """A counter has ``value`` from ``at`` on."""
        self._event(
            f'"ph":"C","pid":{process},"ts":{_us(at)},"name":{self._quote(name)},"args":{{"value":{value}}}'
        )

    def name_process(self, process: int, thread: int, name: str) -> None:
        """``process``, one of whose threads is ``thread``, is called ``name``; shown by number."""
        self._metadata("process_name", process, thread, f'"name":{self._quote(name)}')
        self._metadata("process_sort_index", process, thread, f'"sort_index":{process}')

    def name_thread(self, process: int, thread: int, name: str) -> None:
        """``thread`` is called ``name``; shown by number."""
        self._metadata("thread_name", process, thread, f'"name":{self._quote(name)}')
        self._metadata("thread_sort_index", process, thread, f'"sort_index":{thread}')

    def _metadata(self, name: str, process: int, thread: int, argument: str) -> None:
        self._event(f'"ph":"M","pid":{process},"tid":{thread},"name":"{name}","args":{{{argument}}}')

    def _event(self, fields: str) -> None:
        self._file.write(f"{self._comma}{{{fields}}}".encode())
        self._comma = ",\n"

    def _quote(self, words: str) -> str:
        quoted = self._quoted.get(words)
        if quoted is None:
            if len(self._quoted) > 1 << 12:  # names of keys can be many
                self._quoted.clear()
            quoted = self._quoted[words] = json.dumps(words, ensure_ascii=False)
        return quoted


def _us(ns: int) -> str:
    whole, rest = divmod(ns, 1000)
    return f"{whole}.{rest:03}" if rest else str(whole)
