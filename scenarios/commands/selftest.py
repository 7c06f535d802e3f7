"""``blkcrypto selftest``: parse, call, print."""

import click

from scenarios.commands.status import CHECK_FAILED, DONE


@click.command("selftest")
@click.option("--golden", metavar="DIR", required=True, help="Directory of golden data.")
@click.option("--quiet", "-q", is_flag=True, help="Only the counts.")
def selftest_command(golden: str, quiet: bool) -> int:
    """Recompute what real kernels wrote, and compare byte for byte."""
    from pathlib import Path

    from blkcrypto.fs.selftest import run_golden

    report = run_golden(Path(golden))
    if not quiet:
        for mismatch in report.mismatches:
            click.echo(f"MISMATCH {mismatch}")
        for reason, count in sorted(report.skipped.items()):
            click.echo(f"skipped {count}: {reason}")
    click.echo(report.summary())
    return DONE if report.passed else CHECK_FAILED
