"""Mutants of the byte plane: what is stored where, in which order, in which version."""

from tests.mutants.row import Mutant

_PLANE, _BATCH = "hwmodel/dataplane.py", "hwmodel/unitbatch.py"
_UNITS, _MEDIUM = "hwmodel/storedunits.py", "hwmodel/medium.py"
_MANY_KEYS = "blkcrypto/crypto/manykeys.py"
_TESTS, _KEYS = "test_batched_bytes.py", "test_many_keys.py"

DATA = (
    Mutant("6.6", _PLANE, "but=np.concatenate((laid_out, written))", "but=laid_out", _TESTS),
    Mutant("6.6", _PLANE, "if len(first) < len(missing):", "if False:", _TESTS),
    Mutant("6.6", _PLANE, "number = self._keys.get(key)", "number = 0", _TESTS),
    Mutant("6.6", _PLANE, "self._ciphers.popitem()[1].wipe()", "self._ciphers.popitem()", _TESTS),
    Mutant("6.6", _BATCH, "return first[~write], first[write]", "return first[write], first[~write]", _TESTS),
    Mutant("6.6", _BATCH, "2 * self._writes_before() + self.write", "self._writes_before()", _TESTS),
    Mutant("6.6", _UNITS, "[self._discarded.pop(unit, 0)", "[0", _TESTS),
    Mutant("6.6", _MEDIUM, " or (np.diff(places) != 1).any():", ":", _TESTS),
    Mutant("6.6", _MEDIUM, " if row + count <= len(slab) else None", "", _TESTS),
    Mutant("6.6", _MEDIUM, "        self._freed += places\n", "", f"{_TESTS} gave_up"),
    Mutant("6.6", _MANY_KEYS, " if used is not None and len(used) == len(src) else None", "", _KEYS),
    Mutant(
        "6.6", _MANY_KEYS, "ivs, src.shape[1]) if tweaks is None else tweaks", "ivs, src.shape[1])", _KEYS
    ),
)
