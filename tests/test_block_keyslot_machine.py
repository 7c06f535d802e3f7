"""The keyslot manager against its literal twin, step by step.

``BLKCRYPTO_STEPS`` sets how many steps are tried (default 4000; ``make mutants`` and releases use 200000).
"""

import os
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.capabilities import EVERYTHING
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import BlkCryptoKey, CryptoModeNum
from blkcrypto.block.keyslots import KeyslotBusy
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.sysfs import slot_views
from blkcrypto.block.waiting import RunLoop, Steps, Task
from tests.oracle.block_keyslots import LiteralManager, literal_manager

STEPS = int(os.environ.get("BLKCRYPTO_STEPS", "4000"))
PER_EXAMPLE = 50
NUM_KEYS = 8


class DeviceRefuses(BlkCryptoError):
    errno = 5


class Device:
    """Hardware slots; programming and evicting can be told to fail."""

    def __init__(self, power: "Power") -> None:
        self.power = power
        self.slots: dict[int, BlkCryptoKey] = {}
        self.programs: list[tuple[BlkCryptoKey, int]] = []
        self.evicts: list[int] = []
        self.program_fails = False
        self.evict_fails = False
        self.in_reprogram = False

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        assert self.in_reprogram or self.power.users, "programmed with the device asleep"
        self.programs.append((key, slot))
        if self.program_fails:
            raise DeviceRefuses("no")
        self.slots[slot] = key

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        assert self.power.users, "evicted with the device asleep"
        self.evicts.append(slot)
        if self.evict_fails:
            raise DeviceRefuses("no")
        self.slots.pop(slot, None)


class Power:
    """Runtime power management that counts its users."""

    def __init__(self) -> None:
        self.users = 0

    def resume(self) -> None:
        self.users += 1

    def put(self) -> None:
        self.users -= 1


class KeyslotMachine(RuleBasedStateMachine):
    """Tasks take and release slots, keys are evicted, the controller is reset."""

    @initialize(num_slots=st.integers(1, 4))
    def start(self, num_slots: int) -> None:
        raw = bytes(range(64))  # the same bytes for all: a key is its object
        self.keys = [
            init_key(raw, CryptoModeNum.AES_256_XTS, dun_bytes=8, data_unit_size=4096, label=f"k{number}")
            for number in range(NUM_KEYS)
        ]
        self.power = Power()
        self.device = Device(self.power)
        self.profile = CryptoProfile("dev", num_slots, EVERYTHING, self.device, power=self.power)
        self.loop = RunLoop()
        self.literal: LiteralManager = literal_manager(num_slots)
        self.results: list[tuple[str, object]] = []
        self.held: list[int] = []
        self.tasks = 0

    def acquire(self, name: str, key: BlkCryptoKey) -> Steps[None]:
        grant = yield from self.profile.get_keyslot(key)
        if grant.status is BlkStatus.OK:
            self.held.append(grant.slot)
            self.results.append((name, grant.slot))
        else:
            self.results.append((name, "failed"))

    def settle(self) -> None:
        while self.loop.step():
            pass

    @rule(number=st.integers(0, NUM_KEYS - 1))
    def get(self, number: int) -> None:
        self.tasks += 1
        name, key = f"t{self.tasks}", self.keys[number]
        self.loop.spawn(Task(name), self.acquire(name, key))
        self.settle()
        self.literal.get(name, key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def put(self, data: Any) -> None:
        slot = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.profile.put_keyslot(slot)
        self.settle()
        self.literal.put(slot)

    @rule(number=st.integers(0, NUM_KEYS - 1))
    def evict(self, number: int) -> None:
        before = len(self.device.evicts)
        try:
            self.profile.evict_key(self.keys[number])
            got = "evicted" if len(self.device.evicts) > before else "absent"
        except KeyslotBusy:
            got = "busy"
        except DeviceRefuses:
            got = "error"
        assert got == self.literal.evict(self.keys[number])

    @rule()
    def reset_and_reprogram(self) -> None:
        self.device.slots.clear()
        self.literal.reset()
        self.device.in_reprogram = True
        self.profile.reprogram_all_keys()
        self.device.in_reprogram = False
        self.literal.reprogram()

    @rule(program=st.booleans(), evict=st.booleans())
    def choose_failures(self, program: bool, evict: bool) -> None:
        self.device.program_fails = self.literal.program_fails = program
        self.device.evict_fails = self.literal.evict_fails = evict

    @invariant()
    def agrees_with_the_literal_twin(self) -> None:
        literal = self.literal
        views = slot_views(self.profile)
        order = {slot.index: place for place, slot in enumerate(literal.idle)}
        assert [(view.refs, view.lru) for view in views] == [
            (slot.refs, order.get(slot.index)) for slot in literal.slots
        ]
        table = self.profile.table
        assert table is not None
        assert [table.key_in(slot.index) for slot in literal.slots] == [slot.key for slot in literal.slots]
        assert [self.device.slots.get(slot.index) for slot in literal.slots] == [
            slot.hardware for slot in literal.slots
        ]
        assert self.results == literal.results
        assert self.device.programs == literal.programs
        assert self.device.evicts == literal.evicts
        assert [name for name, _ in self.loop.sleeping()] == [name for name, _ in literal.waiting]
        assert self.power.users == 0
        # What already agreed need not be compared again.
        self.results.clear()
        literal.results.clear()
        self.device.programs.clear()
        literal.programs.clear()

    @invariant()
    def a_slot_is_idle_when_and_only_when_nobody_holds_it(self) -> None:
        for view in slot_views(self.profile):
            assert view.refs >= 0
            assert (view.lru is not None) == (view.refs == 0)

    @invariant()
    def nobody_sleeps_while_a_slot_is_idle(self) -> None:
        table = self.profile.table
        assert table is not None
        assert not (table.idle_order and self.loop.sleeping())


TestKeyslotMachine = KeyslotMachine.TestCase
TestKeyslotMachine.settings = settings(
    max_examples=max(1, STEPS // PER_EXAMPLE),
    stateful_step_count=PER_EXAMPLE,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
