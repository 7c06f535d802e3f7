"""A fault campaign as a page: the same file rules as ``scenarios.report.html``."""

from collections.abc import Iterator

import blkcrypto
from scenarios.campaign import Campaign
from scenarios.report import axes, markup
from scenarios.report.html import footer
from scenarios.report.svg import Bar, Part, bar_chart

_MOST_BARS = 30
_MOST_SEEDS = 100


def faults_page(campaign: Campaign) -> str:
    """The page of ``blkcrypto faults``."""
    return markup.page("Faults at random", _parts(campaign))


def _parts(campaign: Campaign) -> Iterator[str]:
    failed = len(campaign.failed_seeds)
    yield "<h1>What goes wrong when everything around the keyslots does?</h1>"
    found = f"{failed:,} with violations" if failed else "not one with a violation"
    yield markup.paragraph(f"{campaign.runs:,} runs with faults at random, {found}.", "answer")
    for name, count in sorted(campaign.violations.items()):
        yield markup.paragraph(f"VIOLATION: {name}: {count:,}", "alarm")
    if failed:
        seeds = ", ".join(map(str, campaign.failed_seeds[:_MOST_SEEDS]))
        yield markup.paragraph(f"--runs 1 --seed SEED shows it again, with one of {seeds}", "setting")
    rows: list[markup.Cells] = [
        [name, markup.count(count)] for name, count in sorted(campaign.counts.items())
    ]
    yield markup.section("What was met", markup.figures(_figure(campaign), markup.table(["", "times"], rows)))
    yield footer(blkcrypto.__version__)


def _figure(campaign: Campaign) -> str:
    """The most frequent ones, per run."""
    most = campaign.counts.most_common(_MOST_BARS)
    if not most:
        return ""
    bars = []
    for name, count in most:
        mean = count / campaign.runs
        part = Part(name=name, colour="var(--read)", value=mean, words=f"{mean:,.3g}")
        bars.append(Bar(label=name, words=part.words, parts=[part]))
    axis = axes.linear_axis("times a run, on average", most[0][1] / campaign.runs)
    return markup.figure("Faults and checks a run", bar_chart("Times a run, on average", axis, bars))
