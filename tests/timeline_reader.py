"""Reads a timeline as a viewer would, and checks it against the published trace-event format.

The rules are those of "Trace Event Format" (the document of the Chromium project): which fields each kind of
event has and of which type, that complete events of one thread nest, and that an arrow of an id begins,
passes and ends in that order at slices that are there.  To these come rules that Perfetto's importer of this
format adds (src/trace_processor/importers/json): an arrow binds to the slice begun last on its thread, and
where two processes share a thread's number, or times have a unit of their own, versions of it disagree.
"""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

NUMBER = (int, Decimal)
# Phase -> its fields and their types; others are not allowed.
FIELDS: dict[str, dict[str, Any]] = {
    "X": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "dur": NUMBER},
    "s": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "id": int},
    "t": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "id": int},
    "f": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "id": int, "bp": str},
    "C": {"name": str, "pid": int, "ts": NUMBER, "args": dict},
    "M": {"name": str, "pid": int, "tid": int, "args": dict},
}
METADATA = {
    "process_name": {"name": str},
    "thread_name": {"name": str},
    "process_sort_index": {"sort_index": int},
    "thread_sort_index": {"sort_index": int},
}


@dataclass(frozen=True)
class Slice:
    process: str
    thread: str
    name: str
    kind: str
    begin: int
    end: int
    args: dict[str, Any]

    @property
    def ns(self) -> int:
        return self.end - self.begin


def ns(us: int | Decimal) -> int:
    exact = us * 1000
    assert exact == int(exact), f"{us} us is no whole number of ns"
    return int(exact)


class Timeline:
    """A timeline file, valid or refused."""

    def __init__(self, file: Path) -> None:
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        document = json.loads(text, parse_float=Decimal)
        self.events: list[dict[str, Any]] = document["traceEvents"]
        self.facts: dict[str, Any] = document["otherData"]
        assert set(document) == {"traceEvents", "otherData"}
        self._check_fields()
        self._check_threads()
        names: dict[tuple[str, int, int], str] = {}
        for event in self.events:
            if event["ph"] == "M" and "name" in event["args"]:
                thread = event["tid"] if event["name"] == "thread_name" else 0
                names[event["name"], event["pid"], thread] = event["args"]["name"]
        self.slices = [
            Slice(
                names["process_name", event["pid"], 0],
                names["thread_name", event["pid"], event["tid"]],
                event["name"],
                event["cat"],
                ns(event["ts"]),
                ns(event["ts"]) + ns(event["dur"]),
                event.get("args", {}),
            )
            for event in self.events
            if event["ph"] == "X"
        ]
        self._check_nesting()
        self._check_arrows()

    def _check_fields(self) -> None:
        for event in self.events:
            fields = FIELDS[event["ph"]]
            optional = {"ph", "args"} if event["ph"] == "X" else {"ph"}
            assert set(fields) | {"ph"} <= set(event) <= set(fields) | optional, event
            for name, kind in fields.items():
                assert isinstance(event[name], kind), event
            if event["ph"] == "M":
                assert {name: type(value) for name, value in event["args"].items()} == METADATA[event["name"]]
            elif event["ph"] == "C":
                assert all(isinstance(value, NUMBER) for value in event["args"].values()), event
            assert event.get("bp", "e") == "e"
            assert event.get("ts", 0) >= 0
            assert event.get("dur", 0) >= 0

    def _check_threads(self) -> None:
        processes = dict[int, int]()
        for event in self.events:
            if "tid" in event:
                assert event["tid"] > 0, "0 is the idle thread"
                assert processes.setdefault(event["tid"], event["pid"]) == event["pid"], event

    def _check_nesting(self) -> None:
        threads: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
        for order, one in enumerate(self.slices):
            threads[one.process, one.thread].append((one.begin, order, one.end))
        for thread, slices in threads.items():
            ends: list[int] = []
            for begin, _, end in sorted(slices):
                while ends and ends[-1] <= begin:
                    ends.pop()
                assert not ends or end <= ends[-1], f"{thread}: slices overlap at {begin} ns"
                ends.append(end)

    def _check_arrows(self) -> None:
        last: dict[int, dict[str, Any]] = {}
        arrows: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        # As Perfetto does: by time, in the order of the file at one time.
        timed = (event for event in self.events if event["ph"] in "Xstf")
        for order, event in enumerate(sorted(timed, key=lambda event: ns(event["ts"]))):
            if event["ph"] == "X":
                last[event["tid"]] = event
                continue
            at, bound = ns(event["ts"]), last[event["tid"]]
            assert ns(bound["ts"]) == at, "an arrow touches a slice yet to come"
            assert bound["cat"] == "bio", "an arrow touches a part of a slice"
            arrows[event["id"]].append((at, order, event["ph"]))
        for flow, steps in arrows.items():
            phases = "".join(phase for _, _, phase in sorted(steps))
            assert phases == f"s{'t' * (len(phases) - 2)}f", f"arrows of bio {flow}: {phases}"

    def of(self, process: str, thread: str = "", kind: str = "") -> list[Slice]:
        """Slices of threads whose name begins like that."""
        return [
            one
            for one in self.slices
            if one.process == process and one.thread.startswith(thread) and kind in ("", one.kind)
        ]

    def stages(self, least: int = 0) -> Counter[str]:
        """ns by stage, as a result has them, of bios whose number is ``least`` or more."""
        sums: Counter[str] = Counter()
        for bio, parts in self.bios():
            if bio.args["bio"] >= least:
                for part in parts:
                    sums[part.name.replace(" ", "_")] += part.ns
        return sums

    def bios(self) -> Iterator[tuple[Slice, list[Slice]]]:
        """Each bio with its stages."""
        threads: dict[str, list[Slice]] = defaultdict(list)
        for one in self.of("bios in flight"):
            threads[one.thread].append(one)
        for slices in threads.values():
            whole, parts = None, list[Slice]()
            for one in slices:
                if one.kind == "stage":
                    parts.append(one)
                    continue
                if whole is not None:
                    yield whole, parts
                whole, parts = one, []
            if whole is not None:
                yield whole, parts

    def counter(self, name: str) -> list[tuple[int, int]]:
        """(ns, value) at each change."""
        return [
            (ns(event["ts"]), event["args"]["value"])
            for event in self.events
            if event["ph"] == "C" and event["name"] == name
        ]
