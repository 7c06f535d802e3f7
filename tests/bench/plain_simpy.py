"""The baseline: a keyslot replay as one writes it with SimPy at first.

A process per I/O, a Resource for the device's servers and one for the programmer, an LRU of idle slots.  It
keeps no stage times, moves no bytes and knows no filesystem, merge or fallback.
"""

from collections import OrderedDict
from collections.abc import Generator

import simpy

Steps = Generator[simpy.Event, object, None]


class PlainReplay:
    """``run`` replays (arrival ns, key, service ns) columns; the public attributes are its figures."""

    def __init__(self, *, slots: int, servers: int, program_ns: int) -> None:
        self.misses = 0
        self.latency_ns = 0
        self._env = simpy.Environment()
        self._device = simpy.Resource(self._env, servers)
        self._programmer = simpy.Resource(self._env, 1)
        self._program_ns = program_ns
        self._references: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict((-1 - slot, None) for slot in range(slots))
        self._sleepers: list[simpy.Event] = []

    def run(self, arrivals: list[int], keys: list[int], services: list[int]) -> None:
        self._env.process(self._arrive(arrivals, keys, services))
        self._env.run()

    def _arrive(self, arrivals: list[int], keys: list[int], services: list[int]) -> Steps:
        for arrival, key, service in zip(arrivals, keys, services, strict=True):
            yield self._env.timeout(arrival - self._env.now)
            self._env.process(self._io(key, service))

    def _io(self, key: int, service: int) -> Steps:
        began = self._env.now
        yield from self._acquire(key)
        with self._device.request() as server:
            yield server
            yield self._env.timeout(service)
        self._release(key)
        self.latency_ns += int(self._env.now - began)

    def _acquire(self, key: int) -> Steps:
        while key not in self._references:
            with self._programmer.request() as turn:
                yield turn
                if key in self._references:
                    break
                if self._idle:
                    victim, _ = self._idle.popitem(last=False)
                    self._references.pop(victim, None)
                    self.misses += 1
                    yield self._env.timeout(self._program_ns)
                    self._references[key] = 0
                    self._idle[key] = None
                    break
            woken = self._env.event()
            self._sleepers.append(woken)
            yield woken
        self._idle.pop(key, None)
        self._references[key] += 1

    def _release(self, key: int) -> None:
        self._references[key] -= 1
        if not self._references[key]:
            self._idle[key] = None
            sleepers, self._sleepers = self._sleepers, []
            for sleeper in sleepers:
                sleeper.succeed()
