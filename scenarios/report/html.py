"""One run as a page: a single file that loads nothing, for screens, phones and paper.

Nothing comes from the wall clock and figures are drawn from the run's own numbers, so equal runs give equal
bytes.
"""

from collections.abc import Iterator

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import format_duration
from blkcrypto.block.op import ReqOp
from scenarios.report import markup, run_figures, slot_figures
from scenarios.report.answer import answer
from scenarios.report.html_configuration import assumptions, configuration, device_figures
from scenarios.report.markup import Cell
from scenarios.report.stages import stage_words
from scenarios.results.observed import Observed
from scenarios.results.records import COLUMN, Records
from scenarios.results.result import STAGES, DirectionResult, RunResult
from scenarios.schema import Scenario


def run_page(scenario: Scenario, result: RunResult, observed: Observed) -> str:
    """The page of one run; ``observed`` is what its sinks collected."""
    return markup.page(f"{result.scenario}: {result.question}", _parts(scenario, result, observed))


def _parts(scenario: Scenario, result: RunResult, observed: Observed) -> Iterator[str]:
    yield from _top(result)
    yield _latency(result, observed)
    yield _over_time(scenario, observed)
    yield _keyslots(result, observed)
    yield _cpu(result)
    yield _slowest(observed.latencies.slowest)
    yield _data(result)
    yield _configuration(scenario, result)
    yield footer(result.version)


def _top(result: RunResult) -> Iterator[str]:
    yield f"<h1>{markup.text(result.question)}</h1>"
    yield markup.paragraph(answer(result), "answer")
    setting = f"{result.device}, {result.design}, {result.key_type} keys, {result.engine}, seed {result.seed}"
    yield markup.paragraph(f"{result.scenario}: {setting}", "setting")
    for name, held in result.checks.items():
        if not held:
            yield markup.paragraph(f"CHECK FAILED: {name}", "alarm")
    if result.mismatches:
        yield markup.paragraph(f"{result.mismatches:,} data units did not read back as written", "alarm")
    yield markup.headline(_headline(result))
    yield markup.bullets(result.notes)


def _headline(result: RunResult) -> Iterator[tuple[str, str]]:
    every, slots = result.directions["all"], result.keyslots
    yield "bios", f"{result.bios:,}"
    yield "mean latency", format_duration(every.lat_ns.mean)
    if every.lat_ns.percentile:
        yield "99 % within", format_duration(every.lat_ns.percentile[99.0])
    yield "I/O per s", f"{every.iops:,.0f}"
    yield "MB/s", f"{every.bw_bytes / 1e6:,.1f}"
    if slots.acquires:
        yield "keyslot hits", f"{100 * slots.hits / slots.acquires:.1f} %"
    yield "in flight", f"{result.inflight_mean:,.2f}"
    yield "simulated time", format_duration(result.sim_time_ns)


def _latency(result: RunResult, observed: Observed) -> str:
    rows = [_latency_row(name, result.directions[name]) for name in run_figures.directions(result)]
    columns = ["", "bios", "I/O per s", "MB/s", "mean", "95 % interval", "stddev", "min", "max"]
    return markup.section(
        "Latency",
        markup.figures(
            run_figures.latency_figure(result, observed.latencies),
            run_figures.stage_figure(result),
            *run_figures.stage_distributions(observed.latencies),
            run_figures.band_figure(observed.latencies.bands()),
        ),
        markup.table(columns, rows),
    )


def _latency_row(name: str, one: DirectionResult) -> list[Cell | str]:
    latency = one.lat_ns
    return [
        name,
        markup.count(one.total_ios),
        markup.count(one.iops),
        Cell(f"{one.bw_bytes / 1e6:,.1f}", one.bw_bytes),
        markup.duration(latency.mean),
        halfwidth(latency.mean_halfwidth95),
        *(markup.duration(ns) for ns in (latency.stddev, latency.min, latency.max)),
    ]


def halfwidth(ns: float) -> Cell:
    """Half of an interval; empty when there is none."""
    return Cell(f"± {format_duration(ns)}", ns) if ns else Cell("")


def _over_time(scenario: Scenario, observed: Observed) -> str:
    series = observed.over_time.series()
    if not len(series.begin_ns):
        return ""
    said = f"In intervals of {format_duration(series.interval_ns)}."
    if scenario.run.warmup:
        said += f" The first {scenario.run.warmup:,} bios are shown here, though no other figure counts them."
    return markup.section(
        "Over simulated time",
        markup.paragraph(said, "setting"),
        markup.figures(*run_figures.time_figures(series)),
        markup.folded("Numbers", run_figures.time_table(series)),
    )


def _keyslots(result: RunResult, observed: Observed) -> str:
    slots = result.keyslots
    if not slots.count:
        return ""
    held = f"{100 * slots.lock_held_ns / result.sim_time_ns:.1f} %" if result.sim_time_ns else ""
    rows: list[list[Cell | str]] = [
        ["keyslots", markup.count(slots.count)],
        ["distinct keys", markup.count(slots.distinct_keys)],
        ["acquires", markup.count(slots.acquires)],
        ["hits", markup.count(slots.hits)],
        ["programs", markup.count(slots.programs)],
        ["evicts", markup.count(slots.evicts)],
        ["waits for an idle slot", markup.count(slots.waits)],
        ["waits for the lock", markup.count(slots.lock_waits)],
        ["lock held", markup.duration(slots.lock_held_ns)],
        ["lock held, of the time", held],
    ]
    use = observed.slot_use
    return markup.section(
        "Keyslots",
        markup.figures(
            slot_figures.occupancy_figure(use.slot_map(), slots.count) if use is not None else "",
            slot_figures.last_programs_figure(use) if use is not None else "",
            slot_figures.reuse_figure(use) if use is not None else "",
            run_figures.keyslot_figure(slots),
            markup.table(["", ""], rows),
        ),
    )


def _cpu(result: RunResult) -> str:
    causes = run_figures.cpu_causes(result.cpu)
    rows: list[list[Cell | str]] = [
        [
            name,
            markup.duration(ns),
            markup.duration(ns / max(1, result.bios)),
            markup.share(ns, sum(causes.values())),
        ]
        for name, ns in causes.items()
    ]
    numbers = markup.table(["cause", "time", "per bio", "share"], rows)
    return markup.section("CPU time", markup.figures(run_figures.cpu_figure(result.cpu), numbers))


def _slowest(records: Records) -> str:
    if not len(records):
        return ""
    used = [stage for stage in STAGES if records[:, COLUMN[stage]].any()]
    rows: list[list[Cell | str]] = []
    for record in records.tolist():
        of = dict(zip(COLUMN, record, strict=True))
        rows.append(
            [
                Cell(f"{of['row']}", of["row"]),
                ReqOp(of["op"]).name.lower(),
                markup.count(of["nbytes"]),
                markup.duration(of["done_ns"] - of["total"]),
                markup.duration(of["total"]),
                *(markup.duration(of[stage]) if of[stage] else "" for stage in used),
                "" if not of["status"] else str(BlkStatus(of["status"])),
            ]
        )
    columns = ["bio", "op", "bytes", "arrived", "took", *(stage_words(stage) for stage in used), "status"]
    if not records[:, COLUMN["status"]].any():
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return markup.section("The slowest bios", markup.table(columns, rows))


def _data(result: RunResult) -> str:
    rows: list[list[Cell | str]] = [
        ["rows of the workload", markup.count(result.rows)],
        ["bytes read", markup.count(result.read_bytes)],
        ["bytes written", markup.count(result.write_bytes)],
        ["splits", markup.count(result.splits)],
        ["merges", markup.count(result.merges)],
    ]
    rows += [[f"rows {rule}", markup.count(number)] for rule, number in sorted(result.skipped.items())]
    rows += [[status, markup.count(number)] for status, number in sorted(result.errors.items())]
    if result.payload == "verify":
        rows.append(["bytes read back and compared", markup.count(result.verified_bytes)])
        rows.append(["data units that differ", markup.count(result.mismatches)])
    if result.design != "none":
        rows.append(["files", markup.count(result.files)])
        rows.append(["key derivations", markup.count(result.design_derivations)])
        rows.append(["key design, bytes on disk", markup.count(result.design_on_disk_bytes)])
        rows.append(["key design, bytes in memory", markup.count(result.design_in_memory_bytes)])
    for name, (number, ns) in sorted(result.key_ops.items()):
        rows.append([f"{name} ({format_duration(ns)} in all)", markup.count(number)])
    return markup.section("Data and keys", markup.table(["", ""], rows))


def _configuration(scenario: Scenario, result: RunResult) -> str:
    return markup.section(
        "Configuration",
        *configuration(scenario),
        *device_figures([scenario.device]),
        assumptions(result.assumptions),
    )


def footer(version: str) -> str:
    """Who made the page."""
    said = f"blkcrypto {version}. Times are simulated; equal runs give equal pages."
    return f"<footer>{markup.text(said)}</footer>"
