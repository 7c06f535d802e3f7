"""``blkcrypto list``: parse, call, print."""

import click

WHAT = ("devices", "designs", "scenarios", "formats")


def _complete_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from scenarios.listing import list_rows

    return [row["name"] for row in list_rows(ctx.params["what"]) if row["name"].startswith(incomplete)]


@click.command("list")
@click.argument("what", type=click.Choice(WHAT))
@click.argument("name", required=False, shell_complete=_complete_names)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_command(what: str, name: str | None, as_json: bool) -> None:
    """List what there is by name.

    With the NAME of a device, or the file of one's own: every figure of it, its unit and where it is from.
    """
    from scenarios.listing import list_rows

    if what == "devices":
        _devices(name, as_json)
        return
    if name is not None:
        raise click.UsageError(f"only devices are shown one by one: blkcrypto list {what}")
    rows = list_rows(what)
    if as_json:
        _print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:{width}}  {row['summary']}")


def _devices(name: str | None, as_json: bool) -> None:
    from scenarios.listing import device_object
    from scenarios.load import load_device, shipped_devices
    from scenarios.report.console import new_console
    from scenarios.report.devices import print_device, print_devices

    devices = [load_device(each) for each in (shipped_devices() if name is None else (name,))]
    if as_json:
        _print_json([device_object(device) for device in devices])
    elif name is None:
        print_devices(new_console(), devices)
    else:
        print_device(new_console(), devices[0])


def _print_json(rows: object) -> None:
    import json

    click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
