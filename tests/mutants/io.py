"""Mutants of the I/O path (invariants 13 to 23)."""
# ruff: noqa: E501  rows quote lines of code as they stand

from tests.mutants.row import Mutant

_QUEUE, _MERGE, _BIO = "blkcrypto/block/queue.py", "blkcrypto/block/merge.py", "blkcrypto/block/bio.py"
_WRITE, _READ, _SPLIT = (
    "blkcrypto/block/fallback_write.py",
    "blkcrypto/block/fallback_read.py",
    "blkcrypto/block/split.py",
)
_IO, _ORACLE = "test_block_invariants_io.py", "test_block_master_oracle.py"
_DUN, _FALLBACK = "test_block_dun_and_split.py", "test_block_fallback_rules.py"
_PROGRESS, _REQUESTS = "test_block_forward_progress.py", "test_block_requests.py"
_RULES, _SPLITS = "test_block_merge_rules.py", "test_block_split_rules.py"

IO = (
    Mutant(
        "7.1/13",
        _QUEUE,
        "                rq.keyslot = grant.slot\n",
        "                rq.keyslot = 0\n",
        f"{_IO} test_13",
    ),
    Mutant(
        "7.1/13",
        _QUEUE,
        "        self.counts.requeues += 1\n",
        "        self.counts.requeues += 1\n        self._put_keyslot(rq)\n",
        f"{_IO} test_13",
    ),
    Mutant(
        "7.1/14",
        _QUEUE,
        "        if last and self.kernel.era.release_before_callback:\n            self._put_keyslot(rq)\n"
        "        if rq.op is ReqOp.FLUSH:",
        "        if rq.op is ReqOp.FLUSH:",
        f"{_IO} test_14",
    ),
    Mutant(
        "7.1/14",
        _QUEUE,
        "        if last and self.kernel.era.release_before_callback:",
        "        if last:",
        f"{_IO} test_14",
    ),
    Mutant(
        "7.1/15",
        _BIO,
        "        if self.crypt_ctx is not None:\n            self.crypt_ctx.advance(nbytes)\n",
        "",
        _ORACLE,
    ),
    Mutant(
        "7.1/15",
        _WRITE,
        "source.advance(size)",
        "kept, source.crypt_ctx = source.crypt_ctx, None; source.advance(size); source.crypt_ctx = kept",
        f"{_FALLBACK} several_chunks",
    ),
    Mutant("7.1/16", _READ, "segments(bio.vecs, kept.it,", "segments(bio.vecs, bio.it,", _ORACLE),
    Mutant("7.1/16", _READ, "kept.ctx.dun,", "kept.ctx.dun + 1,", _ORACLE),
    Mutant(
        "7.1/17",
        _BIO,
        "        self.advance(sectors << SECTOR_SHIFT)\n        return front",
        "        self.it = bvec.advance(self.vecs, self.it, sectors << SECTOR_SHIFT)\n        return front",
        f"{_DUN} test_17",
    ),
    Mutant(
        "7.1/17",
        _BIO,
        "self.crypt_ctx.copy(task.name), self.ctx_pool",
        "self.crypt_ctx, self.ctx_pool",
        f"{_DUN} test_17",
    ),
    Mutant(
        "7.1/18",
        "blkcrypto/block/crypt_ctx.py",
        "return first.key is second.key",
        "return first.key.raw == second.key.raw",
        f"{_IO} test_18",
    ),
    Mutant(
        "7.1/18",
        "blkcrypto/block/crypt_ctx.py",
        "return dun_math.is_contiguous(first.dun, units, second.dun)",
        "return True",
        f"{_IO} test_18",
    ),
    Mutant(
        "7.1/18",
        _MERGE,
        "rq.crypt_ctx.dun = bio.crypt_ctx.dun",
        "pass",
        f"{_IO} test_18",
    ),
    Mutant(
        "7.1/19",
        "blkcrypto/base/dun.py",
        "return (dun + units) % _MODULUS",
        "return dun + units",
        f"{_DUN} test_19",
    ),
    Mutant(
        "7.1/19",
        "blkcrypto/base/dun.py",
        "return first_dun + units == next_dun",
        "return (first_dun + units) % _MODULUS == next_dun",
        f"{_DUN} test_19",
    ),
    Mutant(
        "7.1/20",
        "blkcrypto/block/fallback_cipher.py",
        "(dun, units)",
        "(0, units)",
        f"{_IO} test_20",
    ),
    Mutant(
        "7.1/20",
        "blkcrypto/block/fallback_slots.py",
        "cipher = self._provider.set_key(MODES[num], key.raw)",
        "cipher = self._provider.set_key(MODES[num], self._blank_key)",
        _ORACLE,
    ),
    Mutant("7.1/21", _READ, "        bio.free_ctx()\n", "", f"{_IO} test_21"),
    Mutant(
        "7.1/21",
        _WRITE,
        "            self.pages.free(task.name, len(parts))\n            self.bios.free(task.name)\n            source",
        "            self.bios.free(task.name)\n            source",
        f"{_IO} test_21",
    ),
    Mutant(
        "7.1/21",
        "blkcrypto/block/fallback_cipher.py",
        "(dun, units)",
        "(dun, units, out=units)",
        f"{_ORACLE} fallback",
    ),
    Mutant(
        "7.1/21",
        _WRITE,
        "2 * self._next_page * page + part.address % page",
        "2 * self._next_page * page",
        f"{_IO} test_21",
    ),
    Mutant(
        "7.1/22",
        _BIO,
        "        if self.status is BlkStatus.OK:\n            self.status = status",
        "        self.status = status",
        f"{_IO} test_22",
    ),
    Mutant(
        "7.1/22", _WRITE, "                bio.remaining += 1\n", "                pass\n", f"{_IO} test_22"
    ),
    Mutant(
        "7.1/23",
        _WRITE,
        "if misaligned(parts, ctx.key.crypto_cfg.data_unit_size):",
        "if False:",
        f"{_IO} test_23",
    ),
    Mutant(
        "7.1/23",
        _SPLIT,
        "        length_mask |= size - 1\n",
        "",
        f"{_IO} test_23",
    ),
    Mutant("7.1/23", _SPLIT, "        unit = max(unit, size)\n", "", f"{_IO} test_23"),
    Mutant(
        "7.1/23",
        _READ,
        "self._kernel.era.alignment_check is AlignmentCheck.WHERE_USED and misaligned(",
        "False and misaligned(",
        f"{_IO} test_23",
    ),
    # Requests
    Mutant(
        "3.6/6",
        _QUEUE,
        "            if bio.flags & ReqFlags.NOWAIT:\n",
        "            if False:\n",
        f"{_REQUESTS} nowait",
    ),
    Mutant("3.6/8", _QUEUE, "                    self._free(rq)\n", "", f"{_REQUESTS} failed_program"),
    Mutant(
        "3.8 back merge",
        _MERGE,
        "    rq.nbytes += bio.nbytes\n    bio.free_ctx()\n",
        "    rq.nbytes += bio.nbytes\n",
        f"{_RULES} back_merge",
    ),
    Mutant(
        "3.8 order",
        _MERGE,
        "    if not crypt_ctx.mergeable(rq.crypt_ctx, rq.nbytes, bio.crypt_ctx):\n        return False\n"
        "    return _fits(rq, bio, segments, rq.sector, limits)",
        "    if not _fits(rq, bio, segments, rq.sector, limits):\n        return False\n"
        "    return crypt_ctx.mergeable(rq.crypt_ctx, rq.nbytes, bio.crypt_ctx)",
        f"{_RULES} wrong_dun",
    ),
    Mutant("3.8 mark", _MERGE, "    rq.flags |= ReqFlags.NOMERGE\n", "", f"{_RULES} marks"),
    Mutant(
        "3.8 split",
        _QUEUE,
        "        front.flags |= ReqFlags.NOMERGE",
        "        front.flags |= 0",
        f"{_SPLITS} front",
    ),
    Mutant(
        "3.8 requests",
        "blkcrypto/block/queue.py",
        "        self.kernel.trace(Tracepoint.RQ_MERGE, self.name, rq)\n        self._free(rq)\n",
        "        self.kernel.trace(Tracepoint.RQ_MERGE, self.name, rq)\n",
        f"{_RULES} releases",
    ),
    Mutant(
        "3.11 partial",
        "blkcrypto/block/request.py",
        "            self.crypt_ctx.advance(nbytes)\n",
        "            pass\n",
        f"{_REQUESTS} parts",
    ),
    Mutant(
        "3.11 partial",
        _QUEUE,
        "        if last and self.kernel.era",
        "        if self.kernel.era",
        f"{_REQUESTS} parts",
    ),
    Mutant(
        "3.12 plug",
        "blkcrypto/block/waiting.py",
        "            task.plug.flush(from_schedule=True)\n",
        "            pass\n",
        f"{_REQUESTS} hands_on",
    ),
    Mutant(
        "plug head",
        "blkcrypto/block/plug.py",
        "head = self.requests[0] if",
        "head = self.requests[-1] if",
        "test_block_recorded_events.py WRITE",
    ),
    Mutant(
        "plug size",
        "blkcrypto/block/plug.py",
        "FLUSH_BYTES: Final = 128",
        "FLUSH_BYTES: Final = 129",
        f"{_REQUESTS} head",
    ),
    # Fallback
    Mutant(
        "4.2 chunks",
        "blkcrypto/block/bvec.py",
        "BIO_MAX_VECS: Final = 256",
        "BIO_MAX_VECS: Final = 255",
        f"{_FALLBACK} chunks or 256",
    ),
    Mutant(
        "4.2 slot",
        _WRITE,
        "            yield from submit_bio_noacct(self._kernel, task, twin)\n        engine.profile.put_keyslot(grant.slot)",
        "            if first == 0:\n                engine.profile.put_keyslot(grant.slot)\n"
        "            yield from submit_bio_noacct(self._kernel, task, twin)",
        f"{_FALLBACK} holds_its_slot",
    ),
    Mutant(
        "4.2 pages",
        "blkcrypto/block/mempool.py",
        "while missing > self.curr_nr:",
        "while False:",
        f"{_PROGRESS} bulk",
    ),
    Mutant(
        "4.2 pages",
        _WRITE,
        "yield from self.pages.alloc_bulk(task, len(parts))",
        "for _ in parts:\n                yield from self.pages.alloc(task)",
        f"{_PROGRESS} one_by_one",
    ),
    Mutant(
        "4.4 worker",
        "blkcrypto/block/waiting.py",
        "self._active < self._max_active",
        "True",
        f"{_PROGRESS} work_queue",
    ),
    Mutant(
        "4.4 failed read",
        _READ,
        "        if bio.status is not BlkStatus.OK:\n            self.contexts",
        "        if False:\n            self.contexts",
        f"{_FALLBACK} failed_read",
    ),
    Mutant(
        "4.5 blank",
        "blkcrypto/block/fallback_slots.py",
        "        if held.mode not in (CryptoModeNum.INVALID, num):\n            self._blank(held)\n",
        "",
        f"{_FALLBACK} blanks",
    ),
    Mutant(
        "4.5 blank",
        "blkcrypto/block/fallback_slots.py",
        "            held.mode = num\n            self._blank(held)\n            raise",
        "            raise",
        f"{_FALLBACK} blanked",
    ),
)
