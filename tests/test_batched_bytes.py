"""Bios processed together leave the bytes, and find the mismatches, of bios processed one by one."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.crypto.blockcipher import KeyWiped
from blkcrypto.crypto.cipher import new_cipher
from hwmodel import dataplane, medium
from hwmodel.dataplane import Corruption, UnitCipher, VerifyingPlane
from hwmodel.medium import Medium
from hwmodel.payload import plaintext
from hwmodel.request import Request
from tests.machines import keys
from tests.oracle.slow_xts import xts_unit

READ, WRITE, DISCARD = int(ReqOp.READ), int(ReqOp.WRITE), int(ReqOp.DISCARD)
UNIT, UNITS, SEED = 512, 12, 3
KEYS: list[BlkCryptoKey | None] = [*keys(3), None]


@dataclass(frozen=True)
class Io:
    """DUN = unit: a unit's key and DUN may change from one I/O to the next."""

    op: int
    unit: int
    count: int
    key: int


def raw(key: BlkCryptoKey) -> bytes:
    return key.raw[:32] + b"\xff" * 32


def xts(key: BlkCryptoKey) -> UnitCipher:
    return new_cipher("AES-256-XTS", raw(key))


def done(
    ios: list[Io], flips: list[Corruption] | None = None, batch_bytes: int = dataplane.BATCH_BYTES
) -> VerifyingPlane:
    plane = VerifyingPlane(UNIT, seed=SEED, cipher_of=xts, corruptions=flips or [], batch_bytes=batch_bytes)
    for io in ios:
        request = Request()
        request.op, request.sector, request.nbytes = io.op, io.unit, io.count * UNIT
        request.dun = io.unit
        plane.complete(request, KEYS[io.key])
    plane.process()
    return plane


@st.composite
def an_io(draw: st.DrawFn, ops: tuple[int, ...] = (READ, WRITE, DISCARD)) -> Io:
    unit = draw(st.integers(0, UNITS - 1))
    return Io(draw(st.sampled_from(ops)), unit, draw(st.integers(1, UNITS - unit)), draw(st.integers(0, 3)))


flips = st.builds(
    Corruption,
    byte=st.integers(0, UNITS * UNIT - 1),
    mask=st.integers(1, 255),
    after_bios=st.integers(0, 30),
)


def found(plane: VerifyingPlane) -> tuple[object, ...]:
    return plane.medium.sha256(), plane.verified, plane.pending_corruptions


@given(
    ios=st.lists(an_io(), max_size=40),
    flips=st.lists(flips, max_size=3),
    batch_bytes=st.sampled_from([4 * UNIT, 20 * UNIT, 1 << 20]),
)
def test_any_batch_gives_what_immediate_processing_gives(
    ios: list[Io], flips: list[Corruption], batch_bytes: int
) -> None:
    assert found(done(ios, flips, batch_bytes)) == found(done(ios, flips, 0))


@given(ios=st.lists(an_io(), min_size=1, max_size=40))
def test_the_medium_and_the_mismatches_are_those_of_a_dictionary_of_units(ios: list[Io]) -> None:
    # unit -> (version, key of the write); version 0 is laid out by the first read.
    held: dict[int, tuple[int, int]] = {}
    written: dict[int, int] = {}  # how often since it was last laid out, discards or not
    mismatches = 0
    for io in ios:
        for unit in range(io.unit, io.unit + io.count):
            if io.op == WRITE:
                written[unit] = written.get(unit, 0) + 1
                held[unit] = written[unit], io.key
            elif io.op == DISCARD:
                held.pop(unit, None)
            elif unit in held:
                mismatches += held[unit][1] != io.key
            else:
                held[unit], written[unit] = (0, io.key), 0
    plane = done(ios)
    assert plane.verified.mismatches == mismatches
    assert len(plane.medium) == len(held)
    for unit, (version, number) in held.items():
        plain = plaintext(SEED, np.array([unit]), np.array([version], dtype=np.uint32), UNIT).tobytes()
        key = KEYS[number]
        stored = plain if key is None else xts_unit(raw(key), unit.to_bytes(16, "little"), plain, "encrypt")
        assert plane.medium.load(plane.medium.places(np.array([unit]))).tobytes() == stored


def test_mismatches_are_reported_in_the_order_of_the_bios() -> None:
    ios = [Io(WRITE, unit, 1, unit % 3) for unit in range(6)]
    ios += [Io(READ, unit, 1, (unit + 1) % 3) for unit in (4, 1, 5, 0)]
    assert done(ios).verified.where == [4 * UNIT, 1 * UNIT, 5 * UNIT, 0]


def test_parts_of_a_few_units_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    ios = [Io(int(rng.integers(2)), int(rng.integers(UNITS)), 1, int(rng.integers(4))) for _ in range(200)]
    whole = found(done(ios))
    monkeypatch.setattr(dataplane, "_PART_BYTES", 3 * UNIT)
    assert found(done(ios)) == whole


@settings(max_examples=30)
@given(writes=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), min_size=1, max_size=60))
def test_what_is_stored_is_loaded_from_slabs_of_any_number(writes: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medium, "_FIRST_SLAB_BYTES", 2 * UNIT)
        patch.setattr(medium, "_MOST_SLAB_BYTES", 8 * UNIT)
        under_test, expected = Medium(UNIT), {}
        for unit, value in writes:
            one = np.array([unit])
            places = under_test.places(one) if unit in under_test else under_test.allocate(one)
            under_test.store(places, np.full((1, UNIT), value, dtype=np.uint8))
            expected[unit] = value
        units = np.array(sorted(expected))
        loaded = under_test.load(under_test.places(units))
    assert (loaded == np.array([expected[unit] for unit in units.tolist()])[:, np.newaxis]).all()


def test_room_that_a_discard_gave_up_is_used_before_any_other() -> None:
    under_test = Medium(UNIT)
    first = under_test.allocate(np.arange(5))
    under_test.discard(1, 3)
    assert set(under_test.allocate(np.arange(10, 13)).tolist()) == set(first[1:4].tolist())


@given(runs=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=4))
def test_what_fills_the_room_of_places_is_loaded_from_them(runs: list[tuple[int, int]]) -> None:
    places = np.concatenate([np.arange(first, first + count) for first, count in runs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medium, "_FIRST_SLAB_BYTES", 8 * UNIT)
        patch.setattr(medium, "_MOST_SLAB_BYTES", 16 * UNIT)
        under_test = Medium(UNIT)
        under_test.allocate(np.arange(50))
    room = under_test.room(places)
    side_by_side = bool((np.diff(places) == 1).all())
    slabs = {0 if place < 8 else 1 + (place - 8) // 16 for place in places.tolist()}
    assert (room is not None) == (side_by_side and len(slabs) == 1)
    if room is not None:
        room[:] = np.arange(len(places), dtype=np.uint8)[:, np.newaxis]
        assert (under_test.load(places) == room).all()


def test_a_discard_of_more_than_was_ever_written_forgets_what_was() -> None:
    plane = done([Io(WRITE, 3, 4, 0), Io(DISCARD, 5, 1 << 40, 0)])
    assert [unit for unit in range(UNITS) if unit in plane.medium] == [3, 4]


def test_a_closed_plane_holds_no_data_and_no_key_that_works() -> None:
    made = [xts(key) for key in KEYS if key is not None]
    plane = VerifyingPlane(UNIT, seed=SEED, cipher_of=lambda key: made[KEYS.index(key)])
    request = Request()
    request.op, request.sector, request.nbytes = WRITE, 3, 2 * UNIT
    for key in KEYS[:2]:
        plane.complete(request, key)
    plane.process()
    plane.close()
    assert not len(plane.medium)
    assert 3 not in plane.medium
    ivs, data = np.zeros((1, 16), dtype=np.uint8), np.zeros((1, UNIT), dtype=np.uint8)
    for cipher in made[:2]:
        with pytest.raises(KeyWiped):
            cipher.encrypt(ivs, data)
    made[2].encrypt(ivs, data)  # which the plane never used
