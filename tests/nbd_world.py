"""A server in a thread, over a small image."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scenarios.load import replay_scenario
from scenarios.schema import Scenario
from scenarios.serve.capture import Capture
from scenarios.serve.devices import open_device
from scenarios.serve.export import ExportedDevice
from scenarios.serve.server import Server, listen
from tests.oracle.nbd_client import NbdClient

IMAGE_BYTES = 1 << 20
SMALL_FILES = ("layout.extent_bytes=16k", "layout.file_size_bytes=64k", "layout.fragmentation=0.5")
"""Sixteen files of four extents, partly scattered: many keys and short runs on little room."""


@dataclass
class World:
    exported: ExportedDevice
    server: Server
    address: tuple[str, int]

    def client(self, **options: bool) -> NbdClient:
        return NbdClient(self.address, **options)


def a_scenario(
    *sets: str, design: str | None = None, keys: str | None = None, engine: str | None = None
) -> Scenario:
    return replay_scenario("-", sets=(*SMALL_FILES, *sets), design=design, keys=keys, engine=engine)


@contextmanager
def served(
    scenario: Scenario, image: Path, size: int | None = IMAGE_BYTES, capture: Path | None = None
) -> Iterator[World]:
    device = open_device(scenario, image, size)
    recording = None if capture is None else Capture(capture, device.size)
    exported = ExportedDevice(device)
    listening, _ = listen("127.0.0.1:0")
    address = listening.getsockname()[:2]
    server = Server(exported, listening, capture=recording)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as error:  # a thread's errors are nobody's
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield World(exported, server, address)
    finally:
        if not failed:
            server.stop()
        thread.join()
        device.close()
        if recording is not None:
            recording.__exit__(None, None, None)
        if failed:
            raise failed[0]
