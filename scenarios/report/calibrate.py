"""A calibration for people, for programs, as a device file and as a figure."""

import json
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.text import Text

import blkcrypto
from blkcrypto.base.units import format_duration, format_size
from scenarios.calibration.calibrate import FEWEST_JUDGED, JUDGED, Calibration, Fidelity
from scenarios.calibration.servicetimes import WHOLE, Structure
from scenarios.report.console import new_table, print_table, trimmed
from scenarios.report.device_file import device_toml
from scenarios.report.json import Json


def calibration_toml(calibration: Calibration, within: float) -> str:
    """The fitted device; comments say how well it fits."""
    recording = calibration.recording
    how = "every second of 32 blocks" if recording.held_back_as == "alternate" else "the second half"
    comments = [
        f"Fitted by `blkcrypto calibrate` to the completion times of {recording.name},",
        f"{len(recording)} rows; {how} was held back. Replayed through this device, that takes:",
        *(f"  {each.direction:5} {_sentence(each)}" for each in calibration.fidelity),
        verdict(calibration, within),
    ]
    return device_toml(calibration.device, comments)


def _sentence(each: Fidelity) -> str:
    parts = (
        f"{name} {format_duration(each.replayed_ns[percent])} (recorded "
        f"{format_duration(each.recorded_ns[percent])}, {_signed(each.error(percent))})"
        for name, percent in (("median", 50.0), ("99th percentile", 99.0))
    )
    return ", ".join(parts)


def verdict(calibration: Calibration, within: float) -> str:
    """One sentence: whether the device may stand for the recorded one."""
    if calibration.is_within(within):
        few = [each.direction for each in calibration.fidelity if each.rows < FEWEST_JUDGED]
        skipped = f" Too few to judge: {', '.join(few)}." if few else ""
        return f"Median and 99th percentile are within {100 * within:g} % of what was recorded.{skipped}"
    wrong = [
        f"{each.direction} {percent:g} % by {_signed(each.error(percent))}"
        for each in calibration.fidelity
        for percent in JUDGED
        if each.rows >= FEWEST_JUDGED and abs(each.error(percent)) > within
    ]
    return f"Not within {100 * within:g} % of what was recorded: {', '.join(wrong)}."


def structure_text(structure: Structure) -> str:
    """Parallelism in words."""
    units = "1 unit" if structure.units == 1 else f"{structure.units} units"
    if structure.stripe_bytes == WHOLE:
        return f"{units}, any idle one serves a request" if structure.units > 1 else units
    return f"{units}, striped every {format_size(structure.stripe_bytes)}"


def print_calibration(console: Console, calibration: Calibration, within: float) -> None:
    """What was fitted, and recorded against replayed latencies."""
    with trimmed(console):
        console.print(Text(f"{calibration.recording.name} as a device", style="bold"))
        console.print(Text(verdict(calibration, within)))
        for line in _facts(calibration):
            console.print(Text(line))
        draws = "1 draw" if calibration.replays == 1 else f"{calibration.replays} draws"
        title = f"Latency of what was held back, recorded and replayed ({draws})"
        table = new_table(console, title, "", "recorded", "replayed", "off by", "fitted part")
        for each in calibration.fidelity:
            table.add_row(f"{each.direction}, {each.rows:,}", "", "", "", "")
            for percent, recorded in each.recorded_ns.items():
                table.add_row(
                    f"  {percent:g} %",
                    format_duration(recorded),
                    format_duration(each.replayed_ns[percent]),
                    _signed(each.error(percent)),
                    format_duration(each.fitted_ns[percent]),
                )
            low, high = map(format_duration, each.p99_interval_ns)
            table.add_row("  99 % is known to", f"{low} - {high}", "", "", "")
        print_table(console, table)


def _facts(calibration: Calibration) -> Iterator[str]:
    fit = calibration.fit
    unsure = " (never two in flight: nothing tells)" if fit.most_in_flight == 1 else ""
    yield f"parallelism: {structure_text(fit.structure)}{unsure}"
    yield f"service times: {fit.shape}"
    if (cache := fit.cache) is not None:
        rate, accepts = f"{cache.drain_per_s / 1e6:,.0f} MB/s", format_duration(cache.write_ns)
        yield f"write cache: {cache.nbytes / 1024:,.0f} KiB, accepts in {accepts}, drains at {rate};"
        yield f"  {cache.waited:,} of {cache.rows:,} writes waited for room"
    for op, each in fit.ops.items():
        rate = f" + size at {each.per_s / 1e6:,.0f} MB/s" if each.per_s else ""
        yield f"  {op.name.lower()}: mean {format_duration(each.fixed_ns)}{rate}, from {each.rows:,} requests"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"


def calibration_json(calibration: Calibration, within: float) -> str:
    """JSON text; equal calibrations give equal bytes."""
    fit = calibration.fit
    document: Json = {
        "blkcrypto": {"version": blkcrypto.__version__},
        "trace": calibration.recording.name,
        "device": calibration.device.name,
        "rows": len(calibration.recording),
        "held_back": calibration.recording.held_back_as,
        "within": within,
        "is_within": calibration.is_within(within),
        "fit": {
            "units": fit.structure.units,
            "stripe_bytes": fit.structure.stripe_bytes or None,
            "dependence": fit.dependence,
            "most_in_flight": fit.most_in_flight,
            "shape": fit.shape,
            "cache": None
            if fit.cache is None
            else {
                "bytes": fit.cache.nbytes,
                "drain_per_s": fit.cache.drain_per_s,
                "write_ns": fit.cache.write_ns,
                "waited": fit.cache.waited,
                "explained": fit.cache.explained,
            },
            "ops": {
                op.name.lower(): {"rows": each.rows, "fixed_ns": each.fixed_ns, "per_s": each.per_s}
                for op, each in fit.ops.items()
            },
        },
        "fidelity": {each.direction: _object(each) for each in calibration.fidelity},
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _object(each: Fidelity) -> Json:
    return {
        "rows": each.rows,
        "percentile": {
            f"{percent:.6f}": {
                "recorded_ns": recorded,
                "replayed_ns": each.replayed_ns[percent],
                "fitted_ns": each.fitted_ns[percent],
            }
            for percent, recorded in each.recorded_ns.items()
        },
        "recorded_p99_interval95_ns": list(each.p99_interval_ns),
    }


def plot_calibration(calibration: Calibration, target: str) -> None:
    """Recorded and replayed distributions of the held-back part as SVG.

    Raises:
        BadInput: matplotlib is not installed, or the file cannot be written.
    """
    from scenarios.report.plot import new_figure, save

    shown = [each for each in calibration.fidelity if each.direction != "all"]
    figure = new_figure(3.8 * len(shown), 3.4)
    percents = np.concatenate([np.linspace(0, 90, 91), 100 - np.geomspace(10, 0.1, 60)[1:]])
    for number, each in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        for values, label, colour, style in (
            (each.recorded_sorted, "recorded", "#0072b2", "-"),
            (each.replayed_sorted, "replayed", "#d55e00", "--"),
        ):
            axes.plot(
                np.percentile(values, percents) / 1000, 100 - percents, style, color=colour, label=label
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{each.direction}: {each.rows:,} held-back requests", loc="left", fontsize=10)
        axes.set_xlabel("from issue to completion (us)")
        axes.set_ylabel("% that took longer")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    save(figure, target)
