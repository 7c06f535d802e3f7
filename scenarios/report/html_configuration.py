"""What was run, on a page: the keys that were changed, every key, every figure of the device, assumptions."""

from collections.abc import Collection, Iterable, Iterator

from hwmodel.device import Device
from scenarios.files.overrides import dotted_key
from scenarios.report import markup
from scenarios.report.configuration import device_rows, settings
from scenarios.schema import Scenario


def configuration(scenario: Scenario, *, varied: Collection[str] = ()) -> Iterator[str]:
    """The tables of one scenario.

    Args:
        varied: keys that differ from run to run, as a user wrote them; they are left out.
    """
    left_out = {dotted_key(key) for key in varied}
    every = [one for one in settings(scenario) if one.key not in left_out]
    chosen = [[one.key, one.text] for one in every if not one.is_default]
    if "device" not in left_out:
        chosen.insert(0, ["device", scenario.device.name])
    if chosen:
        yield markup.table(["key", "value"], chosen, words=True)
    yield markup.folded(
        "Every key of the scenario",
        markup.table(["key", "value"], [[one.key, one.text] for one in every], words=True),
    )


def device_figures(devices: Iterable[Device], *, varied: Collection[str] = ()) -> Iterator[str]:
    """Every figure of each device, folded away; those that are varied are left out."""
    left_out = {dotted_key(key).removeprefix("device.") for key in varied}
    for device in {device.name: device for device in devices}.values():
        rows = [row for row in device_rows(device) if row[0] not in left_out]
        table = markup.table(["figure", "value", "source"], rows, words=True)
        yield markup.folded(f"Every figure of the device {device.name}, with its source", table)


def assumptions(lines: Collection[str]) -> str:
    """The figures that nobody published, and why they are as they are."""
    if not lines:
        return ""
    title = f"{len(lines)} figures that bear on this are assumptions: nobody published them"
    return markup.paragraph(title) + markup.bullets(lines)
