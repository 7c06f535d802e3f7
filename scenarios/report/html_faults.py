"""A fault campaign as a page: the same file rules as ``scenarios.report.html``."""

from collections.abc import Iterator

import blkcrypto
from scenarios.campaign import Campaign
from scenarios.report import markup
from scenarios.report.html import footer
from scenarios.report.markup import Cell

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
    rows: list[list[Cell | str]] = [
        [name, markup.count(count), Cell(f"{count / campaign.runs:,.2f}", count / campaign.runs)]
        for name, count in sorted(campaign.counts.items())
    ]
    yield markup.section("What was met", markup.table(["", "times", "a run"], rows))
    yield footer(blkcrypto.__version__)
