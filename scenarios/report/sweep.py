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
from scenarios.report.console import new_table, trimmed
from scenarios.sweeps.knee import Knee
from scenarios.sweeps.store import METRICS, metrics
from scenarios.sweeps.sweep import Ended

_MOST_ROWS: Final = 200


def results_json(ended: Sequence[Ended], knees: Sequence[Knee]) -> str:
    """All points in the order of the grid, and the knees, as JSON text; equal runs give equal bytes."""
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
        "knees": [_knee_object(knee) for knee in knees],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
    table.writerow([*keys, "repeat", "seed", "status", *names])
    for one in ended:
        point, figures = one.point, metrics(one.result or {})
        values = ["" if figures[name] is None else figures[name] for name in names]
        table.writerow([*(point.labels[key] for key in keys), point.repeat, point.seed, one.status, *values])
    return text.getvalue()


def print_sweep(console: Console, ended: Sequence[Ended], knees: Sequence[Knee]) -> None:
    """Knees, a table of what is done, and what is not, with the reason."""
    with trimmed(console):
        done = [one for one in ended if one.status == "done"]
        console.print(Text(f"{len(done)} of {len(ended)} points are done.", style="bold"))
        for knee in knees:
            console.print(Text(_knee_sentence(knee)))
        _print_table(console, done)
        for reason in _reasons(ended):
            console.print(Text(reason))


def _knee_sentence(knee: Knee) -> str:
    where = f"{_labels(knee.labels)}: " if knee.labels else ""
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


def _mean(figures: Sequence[Mapping[str, float | None]], name: str) -> float:
    return fmean(one[name] or 0.0 for one in figures)


def _reasons(ended: Sequence[Ended]) -> Iterator[str]:
    for one in ended:
        if one.status == "refused":
            yield f"{_labels(one.point.labels)} is refused: {one.error}"
        elif one.status == "failed":
            yield f"{_labels(one.point.labels)}, seed {one.point.seed}, FAILED: {one.error}"


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in labels.items()) or "as it is"
