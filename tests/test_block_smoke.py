import numpy as np
from tests.block_world import World, pattern, crypt_units

def test_native():
    w=World()
    k=w.key("a")
    d=pattern(8192)
    w.write(16,d,k,5)
    assert np.array_equal(w.memory_disk.medium[16*512:16*512+8192], crypt_units(k,5,d,encrypt=True))
    assert np.array_equal(w.read(16,8192,k,5),d)
    print(w.done, w.events)

def test_fallback():
    w=World(native=None)
    k=w.key("a")
    d=pattern(3<<20)
    w.write(16,d,k,5)
    assert np.array_equal(w.memory_disk.medium[16*512:16*512+len(d)], crypt_units(k,5,d,encrypt=True))
    assert np.array_equal(w.read(16,len(d),k,5),d)
    print(w.done, w.events)

def test_fallback_old():
    w=World("6.12",native=None)
    k=w.key("a")
    d=pattern(3<<20)
    w.write(16,d,k,5)
    assert np.array_equal(w.memory_disk.medium[16*512:16*512+len(d)], crypt_units(k,5,d,encrypt=True))
    assert np.array_equal(w.read(16,len(d),k,5),d)
    print(w.done, w.events)
