"""One session: a scenario, an image and an address become a server that runs until it is stopped."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from blkcrypto.base.errors import BadInput
from scenarios.load import load_scenario, replay_scenario
from scenarios.report.files import STDOUT
from scenarios.schema import Scenario
from scenarios.serve.capture import Capture
from scenarios.serve.devices import open_device
from scenarios.serve.export import ExportedDevice
from scenarios.serve.server import Server, listen, stopped_by_signals
from scenarios.serve.summary import Summary, replay_hint, summarize

_KEYS = {
    "device": "device.base",
    "design": "keys.design",
    "keys": "keys.type",
    "engine": "keys.engine",
    "keyslots": "device.keyslots.count",
    "seed": "run.seed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Options that choose the device and its keys; None leaves it to the scenario, or to the rest."""

    device: str | None = None
    design: str | None = None
    keys: str | None = None
    engine: str | None = None
    keyslots: int | None = None
    seed: int | None = None


def choose(name_or_path: str | None, sets: tuple[str, ...], choices: Choices) -> Scenario:
    """The scenario that a session serves.

    Raises:
        BadInput: no such scenario, or what does not go together.
    """
    if name_or_path is None:
        # Its workload is the clients'; a scenario needs to name one, and nothing reads it.
        return replay_scenario(STDOUT, sets=sets, **asdict(choices))
    given = {_KEYS[name]: value for name, value in asdict(choices).items() if value is not None}
    return load_scenario(name_or_path, sets=(*sets, *(f"{key}={value}" for key, value in given.items())))


def session(
    scenario: Scenario,
    image: Path,
    size: int | None,
    address: str,
    *,
    allow_remote: bool = False,
    verify: bool = True,
    capture: Path | None = None,
    sets: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda _text: None,
) -> Summary:
    """Serve until SIGINT or SIGTERM; what was done.

    Args:
        image: the medium; made with ``size`` bytes when it is not there.
        address: ``HOST:PORT`` or ``unix:PATH``.
        allow_remote: other machines may reach it.
        verify: compare what is read with what was written.
        capture: where to record the requests.
        sets: changes of the scenario, for the command that replays the capture.
        say: told the address, clients that misbehave, and the summary.

    Raises:
        BadInput: image, address or capture cannot be used.
    """
    is_new = not image.exists()
    with ExitStack() as stack:
        device = open_device(scenario, image, size)
        stack.callback(device.close)
        recording = stack.enter_context(Capture(capture, device.size)) if capture is not None else None
        try:
            listening, uri = listen(address, allow_remote=allow_remote)
        except BadInput:
            if is_new:
                image.unlink(missing_ok=True)
            raise
        exported = ExportedDevice(device, verify=verify)
        server = Server(exported, listening, name=scenario.name, capture=recording, log=say)
        with stopped_by_signals(server):
            say(f"serving {uri}")
            server.run()
        summary = summarize(scenario, server, exported, captured=recording.rows if recording else 0)
    say(summary.text())
    if capture is not None:
        say(f"to see what this costs there:  {replay_hint(scenario, device, str(capture), sets)}")
    return summary
