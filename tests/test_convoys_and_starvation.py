"""Effects that the shipped scenarios show, and that disappear with their cause."""

from functools import cache

from scenarios.load import load_scenario
from scenarios.results.result import DirectionResult
from scenarios.run import run


@cache
def everything_of(scenario: str, *sets: str) -> DirectionResult:
    return run(load_scenario(scenario, sets=sets)).directions["all"]


def mean_ns(scenario: str, stage: str, *sets: str) -> float:
    """Mean time that bios of ``scenario`` spend in ``stage``."""
    everything = everything_of(scenario, *sets)
    return everything.stage_ns[stage] / everything.total_ios


def test_bios_wait_behind_the_profile_lock_for_programs_of_other_keys() -> None:
    assert mean_ns("lock-convoy", "keyslot_lock") > 2 * mean_ns("lock-convoy", "keyslot_program")


def test_the_lock_convoy_disappears_when_every_key_has_a_slot() -> None:
    waiting = mean_ns("lock-convoy", "keyslot_lock")
    assert mean_ns("lock-convoy", "keyslot_lock", "keyslots=64") < waiting / 100


def test_the_lock_convoy_disappears_when_programming_is_quick() -> None:
    # 300 us -> 1 us: the time the lock is held falls 300-fold, and with it what may pile up behind it.
    waiting = mean_ns("lock-convoy", "keyslot_lock")
    quick = "device.keyslots.program_hw_wrapped=1us"
    assert mean_ns("lock-convoy", "keyslot_lock", quick) < waiting / 100


def test_bios_that_wait_for_keyslots_starve_others_of_tags() -> None:
    assert mean_ns("tag-starvation", "tag_wait") > mean_ns("tag-starvation", "media")


def test_nobody_waits_for_a_tag_when_every_key_has_a_slot() -> None:
    assert mean_ns("tag-starvation", "tag_wait", "keyslots=60") == 0


def test_draining_for_a_keyslot_stops_the_whole_device_and_only_then() -> None:
    held = mean_ns("kdn-drain", "device_queue") + mean_ns("kdn-drain", "keyslot_lock")
    off = "device.keyslots.drains_io=false"
    assert mean_ns("kdn-drain", "device_queue", off) + mean_ns("kdn-drain", "keyslot_lock", off) < held / 10
