"""Figures of keyslots: which key was where and when, and how soon keys come again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from blkcrypto.base.units import format_duration
from blkcrypto.block.key import BlkCryptoKey
from scenarios.report import axes, markup
from scenarios.report.markup import Cell
from scenarios.report.stages import STAGE_LOOKS
from scenarios.report.svg import Area, Line, Strip, line_chart, map_chart
from scenarios.results.slotuse import SlotMap, SlotUse

# More keys than that share a colour: nobody could tell them apart.
_COLOURED: Final = 60
_GOLDEN_ANGLE: Final = 137.508  # hues that follow one another lie far apart
_CROWDED: Final = 1 / 4  # of the cells: more marks hide the colours
_NUMBERED: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def occupancy_figure(seen: SlotMap, slots: int) -> str:
    """Which key each slot held, when it was programmed, and how many bios waited."""
    rows = len(seen.keys)
    if not rows or not any(any(row) for row in seen.keys):
        return ""
    x = axes.duration_axis("simulated time", float(seen.end_ns), snug=True)
    columns = [float(seen.interval_ns * number) for number in range(len(seen.lock_waiting))]
    marks = [(int(slot), int(column)) for slot, column in zip(*seen.programs.nonzero(), strict=True)]
    crowded = len(marks) > _CROWDED * seen.programs.size
    svg = map_chart(
        "Which key was in which keyslot over simulated time",
        x,
        [*columns, float(seen.end_ns)],
        _row_words(rows),
        rows,
        list(_areas(seen.keys)),
        [] if crowded else marks,
        list(
            _strips(
                seen.programs.sum(axis=0).tolist(),
                seen.lock_waiting.tolist(),
                seen.idle_waiting.tolist(),
                "in an interval",
            )
        ),
    )
    said = (
        f"A colour is a key. Intervals of {format_duration(seen.interval_ns)} show the key they began with. "
    )
    said += "Programs are too many to be marked: the next figure shows the last. " if crowded else ""
    said += "" if crowded else "Ticks are programs. "
    said += "Below: the stronger, the more."
    if slots > rows:
        said += f" The first {rows} of {slots} slots."
    return markup.figure("Keys in keyslots", svg, note=said, numbers=_numbers(seen))


def last_programs_figure(use: SlotUse) -> str:
    """The last programs, where a run has too many to mark each in its map."""
    seen, whole = use.last_programs(), use.slot_map()
    if seen is None or np.count_nonzero(whole.programs) <= _CROWDED * whole.programs.size:
        return ""
    first, last = seen.times[0], seen.times[-1]
    x = axes.duration_axis("simulated time from there", float(last - first), snug=True)
    being = [(slot, *run) for slot, row in enumerate(seen.programming) for run in _runs_of_true(row)]
    areas = [
        *_areas(seen.keys, _widths(seen.times)),
        Area(name="being programmed", colour="var(--ink)", runs=being),
    ]
    svg = map_chart(
        "Which key was in which keyslot during the last programs of the run",
        x,
        [float(when - first) for when in seen.times],
        _row_words(len(seen.keys)),
        len(seen.keys),
        areas,
        [],
        list(_strips(None, seen.lock_waiting.tolist(), seen.idle_waiting.tolist(), "between two events")),
    )
    said = f"From {format_duration(first)} on, to scale. A colour is a key, black a program. "
    said += "A slot without a colour is empty. Below: the stronger, the more bios wait."
    return markup.figure("The last programs, one by one", svg, note=said)


def _widths(times: Sequence[int]) -> list[int]:
    return [behind - first for first, behind in pairwise(times)]


def _runs_of_true(row: Sequence[bool]) -> Iterator[tuple[int, int]]:
    edges = [False, *row, False]
    changes = [at for at, (before, after) in enumerate(pairwise(edges)) if before != after]
    yield from zip(changes[::2], changes[1::2], strict=True)


def _row_words(rows: int) -> list[tuple[int, str]]:
    step = max(1, rows // 8)
    return [(row, f"slot {row}") for row in range(0, rows, step)]


def _areas(
    keys: Sequence[Sequence[BlkCryptoKey | None]], widths: Sequence[int] | None = None
) -> Iterator[Area]:
    runs: dict[BlkCryptoKey, list[tuple[int, int, int]]] = {}
    cells: Counter[BlkCryptoKey] = Counter()
    for slot, row in enumerate(keys):
        for key, first, behind in _runs(row):
            runs.setdefault(key, []).append((slot, first, behind))
            cells[key] += behind - first if widths is None else sum(widths[first:behind])
    # Of equally frequent keys the one seen first, so that equal runs give equal pages.
    ranked = [key for key, _ in cells.most_common()]
    for number, key in enumerate(ranked[:_COLOURED]):
        hue = number * _GOLDEN_ANGLE % 360
        yield Area(name=key.label, colour=f"hsl({hue:.0f} 65% {(45, 62, 54)[number % 3]}%)", runs=runs[key])
    others = [run for key in ranked[_COLOURED:] for run in runs[key]]
    if others:
        yield Area(name=f"{len(ranked) - _COLOURED} other keys", colour="var(--faint)", runs=others)


def _runs(row: Sequence[BlkCryptoKey | None]) -> Iterator[tuple[BlkCryptoKey, int, int]]:
    first = 0
    for column in range(1, len(row) + 1):
        if column == len(row) or row[column] is not row[first]:
            key = row[first]
            if key is not None:
                yield key, first, column
            first = column


def _strips(
    programs: Sequence[int] | None, lock: Sequence[float], idle: Sequence[float], where: str
) -> Iterator[Strip]:
    at_most = f"at most {{:,.3g}} bios {where}, on average".format
    if programs is not None and any(programs):
        words = f"at most {max(programs):,} {where}"
        yield Strip(name="programs", colour="var(--ink)", values=programs, words=words)
    if any(lock):
        colour = STAGE_LOOKS["keyslot_lock"].colour
        yield Strip(name="wait: lock", colour=colour, values=lock, words=at_most(max(lock)))
    if any(idle):
        colour = STAGE_LOOKS["keyslot_idle"].colour
        yield Strip(name="wait: idle", colour=colour, values=idle, words=at_most(max(idle)))


def _numbers(seen: SlotMap) -> str:
    """Per slot: how often it was programmed, and how many keys were seen in it."""
    programs = seen.programs.sum(axis=1).tolist()
    rows = [
        [Cell(f"{slot}", slot), markup.count(programs[slot]), markup.count(len({key for key in row if key}))]
        for slot, row in enumerate(seen.keys)
    ]
    return markup.table(["slot", "programs", "keys seen"], rows)


def reuse_figure(use: SlotUse) -> str:
    """How many keys apart the uses of a key are, and so what any number of keyslots would hit."""
    shares = use.reuse().tolist()
    if not shares:
        return ""
    shown = _worth_showing(shares, use.slots)
    percent = [100 * share for share in shares[:shown]]
    x = axes.count_axis("keys used most recently", float(shown))
    y = axes.linear_axis("% of bios", 100.0)
    points = [(float(number), share) for number, share in enumerate(percent, start=1)]
    lines = [
        Line(name="key used again", colour="var(--read)", points=points),
        Line(
            name=f"{use.slots} keyslots",
            colour="var(--write)",
            points=[(float(use.slots), 0.0), (float(use.slots), 100.0)],
            dashes="4 3",
        ),
    ]
    svg = line_chart("Share of bios whose key was among the keys used last", x, y, lines)
    note = "Read at a number of keyslots, it is the hit ratio with one bio in flight at a time."
    rows = [
        [Cell(f"{count}", count), Cell(f"{percent[count - 1]:.2f} %", percent[count - 1])]
        for count in sorted({*_NUMBERED, use.slots})
        if count <= shown
    ]
    return markup.figure(
        "How soon a key is used again",
        svg,
        legend=[(line.name, line.colour) for line in lines],
        note=note,
        numbers=markup.table(["among the last", "of the bios"], rows),
    )


def _worth_showing(shares: Sequence[float], slots: int) -> int:
    """Keys up to which the curve rises, and a little more."""
    flat = next(number for number, share in enumerate(shares, start=1) if share >= shares[-1])
    return min(len(shares), max(flat + flat // 4 + 1, slots + slots // 4 + 1))
