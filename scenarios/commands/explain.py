"""``blkcrypto explain``: parse, call, print."""

import click


@click.command("explain")
@click.argument("records", metavar="RESULT.parquet")
@click.option(
    "--bio", type=click.IntRange(min=0), metavar="N", help="Number of the bio; without it, the slowest."
)
@click.option("--json", "json_file", metavar="FILE|-", help="Write it as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No table.")
def explain(records: str, bio: int | None, json_file: str | None, quiet: bool) -> None:
    """Where did this bio's time go?

    RESULT.parquet is what `blkcrypto run --parquet` wrote; bios are numbered from 0 in order of arrival.
    """
    from scenarios.explain import explain_bio
    from scenarios.report.console import new_console
    from scenarios.report.explain import explain_json, print_explanations
    from scenarios.report.files import STDOUT, check_target, write_text

    if json_file is not None:
        check_target(json_file)
    explanations = explain_bio(records, bio)
    if json_file is not None:
        write_text(json_file, explain_json(explanations))
    if not quiet and json_file != STDOUT:
        print_explanations(new_console(), explanations)
