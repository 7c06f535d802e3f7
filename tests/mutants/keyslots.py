"""Mutants of the keyslot manager (invariants 1 to 12)."""
# ruff: noqa: E501  rows quote lines of code as they stand

from tests.mutants.row import Mutant

_TABLE, _PROFILE = "blkcrypto/block/keyslots.py", "blkcrypto/block/profile.py"
_TESTS = "test_block_invariants_keyslots.py"
_MACHINE = "test_block_keyslot_machine.py"

KEYSLOTS = (
    Mutant(
        "7.1/1",
        _TABLE,
        "            if not refs[slot]:\n                del self._idle[slot]\n",
        "",
        f"{_TESTS} test_01",
    ),
    Mutant(
        "7.1/1",
        _TABLE,
        "        self._idle[slot] = None\n        return True",
        "        return True",
        _MACHINE,
    ),
    Mutant(
        "7.1/2", _TABLE, "            del self._slot_of[old]\n", "            pass\n", f"{_TESTS} test_02"
    ),
    Mutant(
        "7.1/2",
        _TABLE,
        "slot = self._slot_of.get(key, -1)\n        if slot >= 0:",
        "slot = next((n for n, k in enumerate(self._keys) if k is not None and k.raw == key.raw), -1)\n"
        "        if slot >= 0:",
        f"{_TESTS} test_02",
    ),
    Mutant(
        "7.1/3",
        _TABLE,
        "        if refs[slot]:\n            return False\n",
        "",
        f"{_TESTS} test_03",
    ),
    Mutant("7.1/3", _PROFILE, "if table.refs(slot):", "if False:", f"{_TESTS} test_03"),
    Mutant(
        "7.1/4",
        _TABLE,
        "        self._idle[slot] = None\n        return True",
        "        self._idle[slot] = None\n        self._idle.move_to_end(slot, last=False)\n        return True",
        f"{_TESTS} test_04",
    ),
    Mutant(
        "7.1/4",
        _TABLE,
        "            self._keys[slot] = None\n",
        "            self._keys[slot] = None\n            self._idle.move_to_end(slot, last=False)\n",
        f"{_TESTS} test_04",
    ),
    Mutant(
        "7.1/5",
        _TABLE,
        "return next(iter(self._idle), -1)",
        "return min(self._idle, key=lambda s: self._keys[s] is not None, default=-1)",
        f"{_TESTS} test_05",
    ),
    Mutant(
        "7.1/5",
        _PROFILE,
        "        if resume:\n            self._power.resume()\n",
        "",
        f"{_TESTS} test_05",
    ),
    Mutant("7.1/5", _PROFILE, "        self._locked = True\n", "", f"{_TESTS} test_05"),
    Mutant(
        "7.1/6",
        _PROFILE,
        "            return SlotGrant(errno_to_blk_status(error.errno), NO_SLOT)",
        "            table.unlink(victim)\n            return SlotGrant(errno_to_blk_status(error.errno), NO_SLOT)",
        f"{_TESTS} test_06",
    ),
    Mutant(
        "7.1/6",
        _PROFILE,
        "        slot = table.get(key)\n        while slot < 0:",
        "        slot = -1\n        while slot < 0:",
        f"{_TESTS} test_06",
    ),
    Mutant(
        "7.1/7", _TABLE, "            refs[slot] += 1\n", "            refs[slot] = 1\n", f"{_TESTS} test_07"
    ),
    Mutant(
        "7.1/8",
        _PROFILE,
        "        if idled:\n            self.slot_idled.wake_all()",
        "        if idled:\n            pass",
        f"{_TESTS} test_08",
    ),
    Mutant(
        "7.1/8",
        _PROFILE,
        "        if idled:\n            self.slot_idled.wake_all()",
        "        if idled and self.slot_idled.sleepers:\n            self.slot_idled.sleepers.popleft().wake()",
        f"{_TESTS} test_08",
    ),
    Mutant(
        "7.1/8",
        _PROFILE,
        "slot = table.get(key)  # somebody may have programmed it while this task waited",
        "slot = -1",
        f"{_TESTS} test_08",
    ),
    Mutant(
        "7.1/9",
        _TABLE,
        "return next(iter(self._idle), -1)",
        "return next(reversed(self._idle), -1)",
        f"{_TESTS} test_09",
    ),
    Mutant(
        "7.1/9",
        _TABLE,
        "return next(iter(self._idle), -1)",
        "return min(self._idle, default=-1)",
        f"{_TESTS} test_09",
    ),
    Mutant(
        "7.1/10",
        _PROFILE,
        "if self.era.evict_always_unlinks or not failed:",
        "if not failed:",
        f"{_TESTS} test_10",
    ),
    Mutant(
        "7.1/10", _TABLE, "            self._keys[slot] = None\n", "            pass\n", f"{_TESTS} test_10"
    ),
    Mutant(
        "7.1/11",
        _PROFILE,
        "            for slot, key in self.table.programmed():\n                try:",
        "            for slot, key in self.table.programmed():\n                if self.table.refs(slot):\n"
        "                    continue\n                try:",
        f"{_TESTS} test_11",
    ),
    Mutant(
        "7.1/11",
        _PROFILE,
        'self._warn(f"{self.name}: reprogramming slot {slot} failed: {error}")',
        "return",
        f"{_TESTS} test_11",
    ),
    Mutant(
        "7.1/11", _PROFILE, "self._write_locked(resume=False)", "self._write_locked()", f"{_TESTS} test_11"
    ),
    Mutant(
        "7.1/12",
        _PROFILE,
        "KeyslotTable(num_slots) if num_slots else None",
        "KeyslotTable(max(1, num_slots))",
        f"{_TESTS} test_12",
    ),
    Mutant(
        "7.1/12",
        _PROFILE,
        "            if isinstance(self.ops, EvictOps):\n                with",
        "            if False:\n                with",
        f"{_TESTS} test_12",
    ),
)
