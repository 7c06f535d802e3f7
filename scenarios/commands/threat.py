"""``blkcrypto threat``: parse, call, print."""

import click

from scenarios.commands.options import scenario_argument, set_option


@click.command("threat", short_help="Tell which secrets were ever in host memory.")
@scenario_argument
@set_option
@click.option("--json", "json_file", metavar="FILE|-", help="Write the reports as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No report.")
def threat(scenario: str, sets: tuple[str, ...], json_file: str | None, quiet: bool) -> None:
    """Run SCENARIO and tell which secrets were ever in host memory, in keyslots, in the wrapping unit.

    Without keys.type among --set, raw and hardware-wrapped keys are run one after the other, each where the
    scenario and its device allow it.
    """
    from scenarios.files.check import Refused
    from scenarios.load import load_scenario
    from scenarios.report.console import new_console
    from scenarios.report.files import STDOUT, check_target, write_text
    from scenarios.report.threat import ThreatReport, print_threats, threat_report, threats_json

    if json_file is not None:
        check_target(json_file)
    given = any(text.partition("=")[0].strip() in ("keys", "keys.type", "type") for text in sets)
    reports: list[ThreatReport] = []
    if given:
        reports.append(threat_report(load_scenario(scenario, sets=sets)))
    for both in () if given else ("keys.type=raw", "keys.type=hw-wrapped"):
        try:
            chosen = load_scenario(scenario, sets=(*sets, both))
        except Refused as refusal:
            click.echo(f"{both}: {refusal}", err=True)
        else:
            reports.append(threat_report(chosen))
    if json_file is not None:
        write_text(json_file, threats_json(reports))
    if not quiet and json_file != STDOUT:
        print_threats(new_console(), reports)
