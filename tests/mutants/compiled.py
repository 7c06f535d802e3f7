"""Mutants of the compiled way, which writes rules of the machine again."""

from tests.mutants.row import Mutant

_AT = "hwmodel/compiled"
_WAYS = "test_three_ways.py compiled and (every_bio or readers)"
_DATA = "test_three_ways.py compiled and same_data"

COMPILED = (
    Mutant(
        "7.1/4",
        f"{_AT}/keyslots.py",
        "victim = slot_at(s.slots, s.slot_count).after",
        "victim = slot_at(s.slots, s.slot_count).before",
        _WAYS,
    ),
    Mutant(
        "7.1/8",
        f"{_AT}/keyslots.py",
        "    while anybody(s, SLEEPERS):",
        "    if anybody(s, SLEEPERS):",
        _WAYS,
    ),
    Mutant("7.1/8", f"{_AT}/keyslots.py", "_first_turn(s, READERS) <", "_first_turn(s, READERS) >", _WAYS),
    Mutant("3.16", f"{_AT}/keyslots.py", "        if not r.keyslot_idle:\n", "        if True:\n", _WAYS),
    Mutant("6.6", f"{_AT}/cpus.py", "    if s.keeps == r.cpu:", "    if False:", _WAYS),
    Mutant("6.6", f"{_AT}/device.py", "int(np.rint(known * draw))", "int(known * draw)", _WAYS),
    Mutant(
        "6.6", f"{_AT}/loop.py", "event_at(s.heap, 0).when <= when", "event_at(s.heap, 0).when < when", _WAYS
    ),
    Mutant("6.6", f"{_AT}/tags.py", " - s.helpers < s.most", " < s.most", _WAYS),
    Mutant("6.6", f"{_AT}/moves.py", 'side="right"', 'side="left"', _DATA),
    Mutant("6.6", "hwmodel/dataplane.py", "if bios.op[at] != ReqOp.FLUSH:", "if True:", _DATA),
    Mutant("6.6", "hwmodel/dataplane.py", "begin = at + 1", "begin = at + 2", _DATA),
)
