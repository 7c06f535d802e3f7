"""``blkcrypto faults``: parse, call, print."""

from typing import TYPE_CHECKING

import click

from scenarios.commands.status import CHECK_FAILED, DONE

if TYPE_CHECKING:
    from scenarios.campaign import Campaign

_SEEDS_SHOWN = 10


@click.command("faults", short_help="Break the machine at random, and check that nothing is lost.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=2000, show_default=True, metavar="N", help="Runs to make."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="S",
    help="Seed of the first run; the following ones count up.",
)
@click.option(
    "--on", "where", default="local", show_default=True, metavar="local[:N]|dask://HOST:PORT", help="Where."
)
@click.option("--check", is_flag=True, help="Check every invariant as the runs go on; it takes longer.")
@click.option("--json", "json_file", metavar="FILE|-", help="Write the counts as JSON.")
@click.option("--html", "html_file", metavar="FILE|-", help="Write a page with the counts.")
@click.option("--quiet", "-q", is_flag=True, help="No counts and no progress.")
def faults_command(
    runs: int, seed: int, where: str, check: bool, json_file: str | None, html_file: str | None, quiet: bool
) -> int:
    """Run many small workloads with faults at random, and check what must never happen.

    Every run really encrypts its data and reads all of it back.  A violation is named with the seed that
    shows it again: --runs 1 --seed SEED.
    """
    from scenarios.campaign import run_campaign
    from scenarios.report.files import STDOUT, check_targets, write_text
    from scenarios.report.progress import progress

    check_targets(json_file, html_file)
    with progress("runs", runs, quiet=quiet) as bar:
        campaign = run_campaign(runs, seed, on=where, progress=bar.advance, check=check)
    if json_file is not None:
        write_text(json_file, _json(campaign))
    if html_file is not None:
        from scenarios.report.html_faults import faults_page

        write_text(html_file, faults_page(campaign))
    if not quiet and STDOUT not in (json_file, html_file):
        _print(campaign)
    return CHECK_FAILED if campaign.violations else DONE


def _print(campaign: "Campaign") -> None:
    for name, count in sorted(campaign.counts.items()):
        click.echo(f"{count:>15,}  {name}")
    for name, count in sorted(campaign.violations.items()):
        click.echo(f"VIOLATION {count:,} {name}")
    if campaign.failed_seeds:
        seeds = ", ".join(map(str, campaign.failed_seeds[:_SEEDS_SHOWN]))
        click.echo(f"seeds of runs with violations: {seeds}")
    click.echo(f"{campaign.runs:,} runs, {len(campaign.failed_seeds):,} with violations")


def _json(campaign: "Campaign") -> str:
    import json

    table = {
        "runs": campaign.runs,
        "counts": dict(sorted(campaign.counts.items())),
        "violations": dict(sorted(campaign.violations.items())),
        "failed_seeds": list(campaign.failed_seeds),
    }
    return json.dumps(table, indent=2) + "\n"
