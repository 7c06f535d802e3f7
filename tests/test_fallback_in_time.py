"""When software encryption costs time, on which CPU, and what waits for it."""

from hwmodel.request import RECORD
from tests.machines import READ, US, WRITE, device, run_ios

# device(): the cipher takes 1 us per 4 KiB, reads 100 us, writes 200 us.


def test_a_write_is_encrypted_before_it_gets_a_tag_and_by_its_submitter() -> None:
    # One tag: the second write is encrypted while the first is on the media, and then waits for the tag.
    facts = device(tags=1, setkey_ns=2 * US)
    records, _ = run_ios(facts, [(0, WRITE, 0), (10 * US, WRITE, 0)], where="fallback")
    assert records["cpu_crypto"].tolist() == [1 * US, 1 * US]
    # First: setkey 2 us, cipher 1 us, tag at 3, done at 203.  Second: encrypted at 11, tag at 203.
    assert records["tag_wait"].tolist() == [0, 192 * US]


def test_a_read_is_decrypted_on_a_worker_after_its_tag_is_free() -> None:
    facts = device(tags=1, worker_ns=5 * US, setkey_ns=2 * US)
    records, _ = run_ios(facts, [(0, READ, 0), (0, READ, -1)], where="fallback")
    # The device is done at 100; the other bio gets the tag then; worker 5, setkey 2, cipher 1.
    assert records["done_ns"].tolist() == [108 * US, 200 * US]
    assert records["tag_wait"].tolist() == [0, 100 * US]


def test_submitters_on_one_cpu_encrypt_one_after_another() -> None:
    records, _ = run_ios(device(), [(0, WRITE, 0), (0, WRITE, 0)], where="fallback")
    assert records["queued"].tolist() == [0, 1 * US]


def test_setting_the_key_of_the_fallback_is_paid_once_per_key_in_its_slots() -> None:
    facts = device(setkey_ns=2 * US)
    ios = [(row * 1000 * US, WRITE, row % 2) for row in range(6)]
    records, run = run_ios(facts, ios, where="fallback")
    assert records["keyslot_program"].tolist() == [2 * US, 2 * US, 0, 0, 0, 0]
    assert run.keyslots is not None
    assert run.keyslots.program_cpu_ns == 4 * US


def test_the_fallback_has_100_slots_of_its_own_and_loses_keys_beyond_them() -> None:
    facts = device(slots=2, setkey_ns=2 * US)
    ios = [(row * 1000 * US, WRITE, row % 101) for row in range(202)]
    _, run = run_ios(facts, ios, where="fallback", key_count=101)
    assert run.keyslots is not None
    assert (run.keyslots.table.num_slots, run.keyslots.programs) == (100, 202)


def test_since_7_0_a_write_keeps_its_fallback_slot_until_it_has_a_tag() -> None:
    # 100 keys wait with their slots for the only tag; key 100 finds no idle slot until one gets the tag.
    facts = device(tags=1, cpus=1)
    ios = [(0, WRITE, key) for key in range(102)]
    held, _ = run_ios(facts, ios, where="fallback", key_count=102)
    released, _ = run_ios(facts, ios, where="fallback", key_count=102, fallback_holds_slot=False)
    assert held["keyslot_idle"][101] > 0
    assert released["keyslot_idle"][101] == 0


def test_encryption_in_the_filesystem_costs_the_same_cpu_and_no_keyslots() -> None:
    ios = [(0, WRITE, 0), (1000 * US, READ, 0)]
    in_fs, run = run_ios(device(), ios, where="fs-layer")
    fallback, _ = run_ios(device(), ios, where="fallback")
    assert run.keyslots is None
    assert in_fs["cpu_crypto"].tolist() == fallback["cpu_crypto"].tolist() == [1 * US, 1 * US]


def test_bounce_pages_are_all_returned_and_their_peak_is_kept() -> None:
    ios = [(0, WRITE, 0), (0, WRITE, 0), (1000 * US, WRITE, 0)]
    _, run = run_ios(device(), ios, where="fallback", nbytes=16384)
    assert run.software is not None
    assert (run.software.bounce_pages, run.software.bounce_pages_peak) == (0, 8)


def test_an_engine_slower_than_the_link_delays_encrypted_bios_only() -> None:
    # 4096 bytes take 4096 ns at 1 GB/s and 8192 ns at 0.5 GB/s, plus 1 us of pipeline.
    facts = device(link_per_s=10**9, engine_per_s=10**9 // 2, engine_latency_ns=1 * US)
    records, _ = run_ios(facts, [(0, READ, -1), (1000 * US, READ, 0)])
    assert records["transfer"].tolist() == [4096, 8192 + 1 * US]


def test_writes_pass_the_data_path_before_the_media_and_reads_after_it() -> None:
    # Two writes arrive together: the second waits for the path (4096 ns), not for the media's other unit.
    facts = device(link_per_s=10**9)
    writes, _ = run_ios(facts, [(0, WRITE, -1), (0, WRITE, -1)])
    assert writes["device_queue"].tolist() == [0, 4096]
    reads, _ = run_ios(facts, [(0, READ, -1), (0, READ, -1)])
    assert reads["done_ns"].tolist() == [100 * US + 4096, 100 * US + 2 * 4096]


def test_a_record_names_every_stage_once() -> None:
    assert len(set(RECORD)) == len(RECORD)
