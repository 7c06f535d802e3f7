"""Keyslot curves for people, for programs, and as a figure."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from scenarios.curves.curve import Curve
from scenarios.report.console import new_table, trimmed
from scenarios.report.json import Json

# Colours that stay apart for colour-blind readers and in print (Okabe and Ito), one per design.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# "Nearly as good as the most keyslots": this much more of the accesses may miss.
_NEARLY: Final = 0.01


def curve_json(curves: Sequence[Curve]) -> str:
    """``curves`` as JSON text; equal curves give equal bytes."""
    document = {"blkcrypto": {"version": curves[0].version}, "curves": [_object(one) for one in curves]}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _object(curve: Curve) -> Json:
    optimal = curve.optimal_hits
    best = curve.optimal_miss_ratios
    return {
        "scenario": curve.scenario,
        "source": curve.source,
        "seed": curve.seed,
        "design": curve.design,
        "key_type": curve.key_type,
        "rows": curve.rows,
        "accesses": curve.accesses,
        "distinct_keys": curve.distinct_keys,
        "run_keyslots": curve.run_keyslots,
        "sampled_share": curve.sampled_share,
        "skipped": curve.skipped,
        "keyslots": [
            {
                "count": count,
                "hits": curve.hits[at],
                "misses": curve.accesses - curve.hits[at],
                "miss_ratio": curve.miss_ratios[at],
                "miss_ratio_halfwidth95": curve.halfwidth95[at],
                "optimal_misses": None if optimal is None else curve.accesses - optimal[at],
                "optimal_miss_ratio": None if best is None else best[at],
            }
            for at, count in enumerate(curve.keyslots)
        ],
    }


def print_curves(console: Console, curves: Sequence[Curve]) -> None:
    """One table per design: misses by number of keyslots, against the optimum."""
    with trimmed(console):
        for number, curve in enumerate(curves):
            if number:
                console.print()
            console.print(Text(f"{curve.design} on {curve.source}", style="bold"))
            for sentence in curve_answer(curve):
                console.print(Text(sentence))
            _print_table(console, curve)


def curve_answer(curve: Curve) -> Iterator[str]:
    """What a curve says, in a few sentences."""
    keys = "" if curve.distinct_keys is None else f" and use {_many(curve.distinct_keys, 'key')}"
    sample = "" if curve.sampled_share == 1 else f", a sample of {_percent(curve.sampled_share)}"
    yield f"{curve.accesses:,} bios are encrypted{keys}{sample}."
    ratios = curve.miss_ratios
    if curve.run_keyslots in curve.keyslots:
        at = curve.keyslots.index(curve.run_keyslots)
        yield f"With the scenario's {_slots(curve.run_keyslots)}, {_percent(ratios[at])} program a key."
        if curve.optimal_miss_ratios is not None:
            yield f"No choice of victims would do with less than {_percent(curve.optimal_miss_ratios[at])}."
    nearly = next(at for at, ratio in enumerate(ratios) if ratio <= ratios[-1] + _NEARLY)
    if nearly < len(ratios) - 1:
        least, most = curve.keyslots[nearly], curve.keyslots[-1]
        yield f"With {_slots(least)}, at most {_percent(_NEARLY)} of the bios more do so than with {most}."


def _print_table(console: Console, curve: Curve) -> None:
    sampled = curve.sampled_share < 1
    columns = ["keyslots", "programs", "of bios"]
    columns += ["95 %"] if sampled else []
    columns += ["optimum", "of bios", "LRU / optimum"] if curve.optimal_hits is not None else []
    table = new_table(console, "", *columns)
    ratios, best = curve.miss_ratios, curve.optimal_miss_ratios
    for at in _shown(curve):
        misses = curve.accesses - curve.hits[at]
        cells = [f"{curve.keyslots[at]}", f"{misses:,}", _percent(ratios[at])]
        cells += [f"± {_percent(curve.halfwidth95[at])}"] if sampled else []
        if curve.optimal_hits is not None and best is not None:
            least = curve.accesses - curve.optimal_hits[at]
            cells += [f"{least:,}", _percent(best[at]), f"{misses / least:.2f}"]
        table.add_row(*cells)
    console.print(table)


def _shown(curve: Curve) -> list[int]:
    """Powers of two, the device's number, and the most."""
    wanted = {1 << bit for bit in range(32)} | {curve.run_keyslots, curve.keyslots[-1]}
    return [at for at, count in enumerate(curve.keyslots) if count in wanted]


def plot_curves(curves: Sequence[Curve], target: str) -> None:
    """Write the curves as SVG to a file, or to standard output for ``-``; equal curves give equal bytes.

    Raises:
        BadInput: matplotlib is not installed, or the file cannot be written.
    """
    from scenarios.report.plot import new_figure, save

    figure = new_figure(7.5, 3.6)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        percent = [100 * ratio for ratio in curve.miss_ratios]
        axes.plot(curve.keyslots, percent, color=colour, label=curve.design, drawstyle="steps-post")
        if curve.optimal_miss_ratios is not None:
            least = [100 * ratio for ratio in curve.optimal_miss_ratios]
            label = f"{curve.design}, optimum"
            axes.plot(curve.keyslots, least, color=colour, label=label, drawstyle="steps-post", linestyle=":")
        if curve.sampled_share < 1:
            low = [middle - 100 * half for middle, half in zip(percent, curve.halfwidth95, strict=True)]
            high = [middle + 100 * half for middle, half in zip(percent, curve.halfwidth95, strict=True)]
            axes.fill_between(curve.keyslots, low, high, color=colour, alpha=0.2, step="post", linewidth=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Bios that program a keyslot: {curves[0].source}", loc="left", fontsize=10)
    axes.set_xlabel("keyslots")
    axes.set_ylabel("% of encrypted bios")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save(figure, target)


def _slots(count: int) -> str:
    return _many(count, "keyslot")


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.2f} %"
