"""The fault campaign: what it finds nothing wrong with, and that it would find it."""

from collections import Counter
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.key import BlkCryptoKey
from hwmodel.controller import Machine
from hwmodel.faultdoor import FaultDoor
from hwmodel.faults import Injector
from hwmodel.keyslots import Control, Keyslots
from hwmodel.powerloss import VolatileWrites
from hwmodel.request import Request
from scenarios.campaign import run_campaign, run_seed
from scenarios.commands.faults import faults_command

SEEDS = range(1, 41)


def violations(runs: int = 15) -> Counter[str]:
    return sum((run_seed(seed).violations for seed in SEEDS[:runs]), Counter[str]())


def test_forty_runs_violate_nothing_and_meet_every_kind_of_fault() -> None:
    outcomes = [run_seed(seed) for seed in SEEDS]
    counts = sum((outcome.counts for outcome in outcomes), Counter[str]())
    assert not sum((outcome.violations for outcome in outcomes), Counter[str]())
    assert {
        "controller resets",
        "requests requeued",
        "keys programmed again",
        "failed programs",
        "clobbered keyslots",
        "hangs",
        "media errors",
        "power cuts",
        "data units torn",
        "data units rolled back",
        "evictions",
        "key operations",
        "removals",
        "runs with FUA writes",
        "runs in which reads pass programs",
        "slow-downs",
    } <= counts.keys()


def test_a_run_is_a_function_of_its_seed() -> None:
    assert run_seed(5) == run_seed(5)


def test_workers_find_what_one_process_finds() -> None:
    together = run_campaign(12, 1, on="local:2")
    assert together.counts == sum((run_seed(seed).counts for seed in range(1, 13)), Counter[str]())


# --- each check fails when the machine is broken in its way -------------------------------------------


def test_programming_the_wrong_key_after_a_reset_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def rotated(self: Keyslots) -> Control:
        yield self._clock.timeout(0)
        slots = dict(self.table.programmed())
        for slot, key in zip(slots, [*list(slots.values())[1:], *list(slots.values())[:1]], strict=True):
            self.hardware[slot] = key

    monkeypatch.setattr(Keyslots, "reprogram_all", rotated)
    assert violations()["data units with wrong plaintext and status OK"]


def test_losing_a_requeued_request_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    withdraw = FaultDoor.withdraw
    monkeypatch.setattr(FaultDoor, "withdraw", lambda self: withdraw(self)[1:])
    found = violations()
    assert found["bios lost"]
    assert found["runs that did not end"]


def test_completing_a_requeued_request_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Machine._finish

    def twice(self: Machine, request: Request, now: int, key: BlkCryptoKey | None) -> None:
        recorded = len(self.recorded.packed)
        finish(self, request, now, key)
        if request.row % 50 == 0:
            self.recorded.packed += self.recorded.packed[recorded:]

    monkeypatch.setattr(Machine, "_finish", twice)
    assert violations()["bios completed twice"]


def test_a_device_that_drops_flushed_data_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: Callable[..., None] = VolatileWrites.flushed

    def only_promises(self: VolatileWrites, *, submitted_ns: int, began_ns: int) -> None:
        flushed(self, submitted_ns=submitted_ns, began_ns=-1)

    monkeypatch.setattr(VolatileWrites, "flushed", only_promises)
    assert violations()["flushed data units lost"]


def test_a_device_that_drops_fua_data_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forced: Callable[..., None] = VolatileWrites.forced

    def only_promises(self: VolatileWrites, unit: int) -> None:
        cached = self._cached.get(unit)
        forced(self, unit)
        if cached is not None:
            self._cached[unit] = cached

    monkeypatch.setattr(VolatileWrites, "forced", only_promises)
    assert violations(40)["flushed data units lost"]


def test_a_key_left_behind_by_its_eviction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgotten(self: Keyslots, key: BlkCryptoKey, _evict_ns: int) -> Control:
        yield self._clock.timeout(0)
        slot = self.table.find(key)
        if slot >= 0 and not self.table.refs(slot):
            self.table.unlink(slot)
        if self._evicted is not None and (slot < 0 or not self.table.refs(slot)):
            self._evicted(key)

    monkeypatch.setattr(Keyslots, "evict", forgotten)
    assert violations(40)["evicted keys left in a keyslot"]


def test_data_that_passes_a_keyslot_without_a_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: Injector, request: Request, now: int) -> None:
        request.mark = now
        self._machine.dispatch(request, now)

    monkeypatch.setattr(Injector, "program_ended", lambda _self, _key: (BlkStatus.OK, True))
    programmed = Keyslots._programmed

    def emptied(self: Keyslots, request: Request, now: int) -> None:
        slot = request.slot
        programmed(self, request, now)
        self.hardware[slot] = None

    monkeypatch.setattr(Keyslots, "_programmed", emptied)
    monkeypatch.setattr(Injector, "dispatch", blind)
    assert violations()["data units with wrong plaintext and status OK"]


# --- the command --------------------------------------------------------------------------------------


def test_the_command_prints_counts_and_ends_with_0_without_violations() -> None:
    result = CliRunner().invoke(faults_command, ["--runs", "3", "--seed", "1", "--on", "local:1"])
    assert result.exit_code == 0
    assert "3 runs, 0 with violations" in result.output
