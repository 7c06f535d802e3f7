"""A sweep's results: one file for programs, a table, and a summary for people."""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final

from rich.console import Console
from rich.text import Text

import blkcrypto
from blkcrypto.base.units import format_duration
from scenarios.report.console import new_table, print_table, trimmed
from scenarios.report.json import Json, distribution_object
from scenarios.results.result import PERCENTILES
from scenarios.sweeps.knee import Knee
from scenarios.sweeps.merged import Merged
from scenarios.sweeps.store import METRICS, metrics
from scenarios.sweeps.sweep import Ended

_MOST_ROWS: Final = 200
# Up to so many knees have a sentence each at the top of a page.
MOST_KNEES: Final = 2


def results_json(ended: Sequence[Ended], knees: Sequence[Knee], merged: Sequence[Merged] = ()) -> str:
    """All points in the order of the grid, pooled ones, and the knees, as JSON text; equal runs give equal
    bytes."""
    rows = [
        {
            "set": dict(one.point.labels),
            "repeat": one.point.repeat,
            "seed": one.point.seed,
            "digest": one.point.digest,
            "status": one.status,
            "error": one.error,
            "result": one.result,
        }
        for one in ended
    ]
    document = {
        "blkcrypto": {"version": blkcrypto.__version__},
        "points": rows,
        "merged": [_merged_object(one) for one in merged],
        "knees": [_knee_object(knee) for knee in knees],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _merged_object(merged: Merged) -> Json:
    """Shaped as a run's, less what does not add up."""
    return {
        "set": dict(merged.labels),
        "points": merged.points,
        "missing": merged.missing,
        **{
            direction: {
                "total_ios": merged.ios[direction],
                "io_bytes": merged.bytes[direction],
                **{name: distribution_object(values) for name, values in distributions.items()},
                "stage_ns": dict(merged.stage_ns[direction]),
            }
            for direction, distributions in merged.distributions.items()
        },
        "keyslots": dict(merged.keyslots),
    }


def _knee_object(knee: Knee) -> dict[str, object]:
    return {
        "set": dict(knee.labels),
        "metric": knee.metric,
        "loss": knee.loss,
        "keyslots": knee.keyslots,
        "too_few": knee.too_few,
        "most": knee.most,
        "value": knee.value,
        "value_at_most": knee.value_at_most,
    }


def results_csv(ended: Sequence[Ended]) -> str:
    """One line per point: what was varied, and the figures of the index."""
    keys = list(ended[0].point.labels) if ended else []
    names = [name for name, _, _ in METRICS]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_header(keys, "repeat", "seed", "status", *names))
    for one in ended:
        point, figures = one.point, metrics(one.result or {})
        values = ["" if figures[name] is None else figures[name] for name in names]
        table.writerow([*(point.labels[key] for key in keys), point.repeat, point.seed, one.status, *values])
    return text.getvalue()


def merged_csv(merged: Sequence[Merged]) -> str:
    """One line per pooled distribution: what was varied, direction, quantity, and the figures."""
    keys = list(merged[0].labels) if merged else []
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    percentages = [f"p{percentage:g}" for percentage in PERCENTILES]
    table.writerow(
        _header(keys, "points", "direction", "quantity", "N", "min", "mean", "stddev", "max", *percentages)
    )
    for one in merged:
        for direction, distributions in one.distributions.items():
            for quantity, found in distributions.items():
                figures = [found.N, found.min, found.mean, found.stddev, found.max]
                ranks = [found.percentile.get(percentage, "") for percentage in PERCENTILES]
                table.writerow([*one.labels.values(), one.points, direction, quantity, *figures, *ranks])
    return text.getvalue()


def _header(keys: Sequence[str], *fixed: str) -> list[str]:
    """Column names, all different: a varied key called like a fixed column is ``set.KEY``."""
    return [*(f"set.{key}" if key in fixed else key for key in keys), *fixed]


def print_sweep(
    console: Console, ended: Sequence[Ended], knees: Sequence[Knee], merged: Sequence[Merged] = ()
) -> None:
    """Knees, a table of what is done, of what is pooled, and what is not done, with the reason."""
    with trimmed(console):
        done = [one for one in ended if one.status == "done"]
        console.print(Text(f"{len(done)} of {len(ended)} points are done.", style="bold"))
        for knee in knees:
            console.print(Text(knee_sentence(knee)))
        _print_table(console, done)
        _print_merged(console, merged)
        for reason in reasons(ended):
            console.print(Text(reason))


def knee_answers(knees: Sequence[Knee]) -> Iterator[str]:
    """The answer in a sentence: few knees each, more of them together by what they are about."""
    if len(knees) <= MOST_KNEES:
        yield from map(knee_sentence, knees)
        return
    for metric in dict.fromkeys(knee.metric for knee in knees):
        ours = [knee for knee in knees if knee.metric == metric]
        least, most = min(knee.keyslots for knee in ours), max(knee.keyslots for knee in ours)
        keys = ", ".join(key.rpartition(".")[2] for key in ours[0].labels)
        count = f"{least}" if least == most else f"{least} to {most}"
        depends = "whatever" if least == most else "depending on"
        yield (
            f"To lose at most {ours[0].loss:.0%} in {metric}, {count} of {max(knee.most for knee in ours)} "
            f"keyslots are needed, {depends} {keys}."
        )


def knee_sentence(knee: Knee) -> str:
    """What a knee says."""
    where = f"{setting(knee.labels)}: " if knee.labels else ""
    if knee.keyslots == knee.most:
        best = _value(knee.metric, knee.value_at_most)
        cost = f"more than {knee.loss:.0%} in {knee.metric} against {knee.most} ({best})"
        return f"{where}{knee.too_few} keyslots cost {cost}: the knee is not below {knee.most}."
    value, best = _value(knee.metric, knee.value), _value(knee.metric, knee.value_at_most)
    few = "" if knee.too_few is None else f"; {knee.too_few} would not"
    return (
        f"{where}{knee.keyslots} of {knee.most} keyslots cost at most {knee.loss:.0%} in {knee.metric} "
        f"({value} against {best}){few}."
    )


def _value(metric: str, value: float) -> str:
    return f"{value:,.0f} I/O per s" if metric == "throughput" else format_duration(value)


def _print_table(console: Console, done: Sequence[Ended]) -> None:
    """A row per combination; figures are means over the seeds."""
    if not done:
        return
    combinations: dict[tuple[str, ...], list[Ended]] = {}
    for one in done:
        combinations.setdefault(tuple(one.point.labels.values()), []).append(one)
    keys = [key.rpartition(".")[2] for key in done[0].point.labels] or [""]
    table = new_table(console, "", *keys, "seeds", "mean", "99 %", "I/O per s", "hits")
    for values, repeats in itertools.islice(combinations.items(), _MOST_ROWS):
        figures = [metrics(one.result or {}) for one in repeats]
        acquired = _mean(figures, "keyslot_hits") + _mean(figures, "keyslot_programs")
        table.add_row(
            *(values or ("",)),
            str(len(repeats)),
            format_duration(_mean(figures, "lat_mean_ns")),
            format_duration(_mean(figures, "lat_p99_ns")),
            f"{_mean(figures, 'iops'):,.0f}",
            f"{100 * _mean(figures, 'keyslot_hits') / acquired:.1f} %" if acquired else "",
        )
    console.print(table)
    if len(combinations) > _MOST_ROWS:
        console.print(Text(f"... and {len(combinations) - _MOST_ROWS} combinations more, in results.csv"))


def _print_merged(console: Console, merged: Sequence[Merged]) -> None:
    """A row per group of several points: all their bios together."""
    if not merged:
        return
    keys = [key.rpartition(".")[2] for key in merged[0].labels] or [""]
    columns = ("points", "bios", "mean", "50 %", "99 %", "99.9 %", "99.99 %")
    table = new_table(console, "All bios together", *keys, *columns)
    for one in itertools.islice(merged, _MOST_ROWS):
        found = one.distributions["all"]["lat_ns"]
        shown = [found.percentile.get(percentage) for percentage in (50.0, 99.0, 99.9, 99.99)]
        table.add_row(
            *(one.labels.values() or ("",)),
            str(one.points),
            f"{found.N:,}",
            format_duration(found.mean),
            *("" if value is None else format_duration(value) for value in shown),
        )
    print_table(console, table)


def _mean(figures: Sequence[Mapping[str, float | None]], name: str) -> float:
    return fmean(one[name] or 0.0 for one in figures)


def reasons(ended: Sequence[Ended]) -> Iterator[str]:
    """What is not done, and why."""
    for one in ended:
        if one.status == "refused":
            yield f"{setting(one.point.labels)} is refused: {one.error}"
        elif one.status == "failed":
            yield f"{setting(one.point.labels)}, seed {one.point.seed}, FAILED: {one.error}"


def setting(varied: Mapping[str, str]) -> str:
    """What was varied, in words."""
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in varied.items()) or "as it is"
