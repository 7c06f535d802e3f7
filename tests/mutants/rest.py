"""Mutants of keys, capabilities, submission, layered devices and wrapped keys (invariants 24 to 30)."""

from tests.mutants.row import Mutant

_BLOCK = "blkcrypto/block"
_CAP, _DM, _SUBMIT = f"{_BLOCK}/capabilities.py", f"{_BLOCK}/dm.py", f"{_BLOCK}/submit.py"
_REGISTER, _IOCTL, _PROFILE = f"{_BLOCK}/registration.py", f"{_BLOCK}/ioctl.py", f"{_BLOCK}/profile.py"
_INIT, _API, _FALLBACK = f"{_BLOCK}/init_key.py", f"{_BLOCK}/api.py", f"{_BLOCK}/fallback.py"
_UNIT, _KDF = "hwmodel/keywrap.py", "blkcrypto/crypto/hwkdf.py"
_CAPS, _LAYERS = "test_block_capabilities.py", "test_block_layered_devices.py"
_WRAPPED, _ORDER = "test_block_wrapped_keys.py", "test_block_submission_order.py"
_SUPPORT, _KEYS = "test_block_support.py", "test_block_keys.py"

_CAPABILITIES = (
    Mutant(
        "7.1/24",
        _CAP,
        "if self.max_dun_bytes < config.dun_bytes:",
        "if self.max_dun_bytes != config.dun_bytes:",
        f"{_CAPS} test_24",
    ),
    Mutant("7.1/24", _CAP, "            a & b for a, b", "            a | b for a, b", f"{_CAPS} test_24"),
    Mutant("7.1/24", _CAP, "        return NOTHING\n", "        return parent\n", f"{_CAPS} test_24"),
    Mutant(
        "7.1/24",
        _CAP,
        "max_dun_bytes=min(parent.max_dun_bytes, child.max_dun_bytes)",
        "max_dun_bytes=parent.max_dun_bytes",
        f"{_CAPS} test_24",
    ),
    Mutant(
        "7.1/25", _DM, "if live is not None and not has_cap", "if False and not has_cap", f"{_LAYERS} loses"
    ),
    Mutant(
        "7.1/25",
        _CAP,
        "        and target.max_dun_bytes >= reference.max_dun_bytes\n",
        "",
        f"{_CAPS} test_25",
    ),
    Mutant(
        "7.1/25",
        _DM,
        "live.capabilities, live.ops = made.capabilities, made.ops",
        "self.disk.profile = made",
        f"{_LAYERS} gains",
    ),
    Mutant(
        "7.1/26", _REGISTER, "    if disk.limits.integrity_tag_size:\n", "    if False:\n", f"{_CAPS} test_26"
    ),
    Mutant(
        "7.1/26",
        _REGISTER,
        "    if limits.integrity_tag_size and disk.profile is not None:\n",
        "    if False:\n",
        f"{_CAPS} test_26",
    ),
    Mutant("7.1/26", _REGISTER, "        disk.profile = None\n", "", f"{_CAPS} test_26"),
    Mutant("3.18", f"{_BLOCK}/sysfs.py", "{8 * can.max_dun_bytes}", "{can.max_dun_bytes}", f"{_CAPS} sysfs"),
)

_WRAPPED_KEYS = (
    Mutant(
        "7.1/27",
        _UNIT,
        "eph_key), self._kdf).inline_key",
        "eph_key)).inline_key",
        f"{_WRAPPED} test_27",
    ),
    Mutant(
        "7.1/27",
        _UNIT,
        "        nonce = self._rng.bytes(_NONCE_BYTES)\n",
        "        nonce = bytes(_NONCE_BYTES)\n",
        f"{_WRAPPED} test_27",
    ),
    Mutant(
        "7.1/28",
        _UNIT,
        "self._state = UnitState(self._state.long_term, self._rng.bytes(_WRAPPING_KEY_BYTES))",
        "pass",
        f"{_WRAPPED} test_28",
    ),
    Mutant("7.1/28", _UNIT, ' or padding.strip(b"\\0")', "", f"{_WRAPPED} test_28"),
    Mutant(
        "7.1/28",
        _PROFILE,
        "        except BlkCryptoError as error:\n            # The victim",
        "        except KeyslotBusy as error:\n            # The victim",
        f"{_WRAPPED} test_28",
    ),
    Mutant(
        "7.1/29",
        _PROFILE,
        "            return device.import_key(raw_key)",
        "            self.name += raw_key.decode('latin1')\n            self.last = raw_key\n"
        "            return device.import_key(raw_key)",
        f"{_WRAPPED} test_29",
    ),
    Mutant(
        "7.1/30",
        _KDF,
        "_kdf(raw_key, row, row.secret_context, SW_SECRET_BYTES)",
        "_kdf(raw_key, row, row.inline_context, INLINE_KEY_BYTES)[:SW_SECRET_BYTES]",
        f"{_WRAPPED} test_30",
    ),
    Mutant(
        "5.2",
        _PROFILE,
        "        if not self.capabilities.key_types & KeyType.HW_WRAPPED:\n",
        "        if False:\n",
        f"{_WRAPPED} deriving",
    ),
    Mutant(
        "5.3 order",
        _IOCTL,
        "    if not argument.readable:\n"
        '        raise BadPointer("the argument cannot be read")\n    if any(argument.reserved):\n'
        '        raise ReservedNotZero("reserved words must be 0")\n',
        "    if any(argument.reserved):\n"
        '        raise ReservedNotZero("reserved words must be 0")\n    if not argument.readable:\n'
        '        raise BadPointer("the argument cannot be read")\n',
        f"{_WRAPPED} of_two_faults",
    ),
    Mutant("5.3 size", _IOCTL, "if not least <= argument.size <= most:", "if False:", f"{_WRAPPED} ioctl"),
    Mutant("5.3 room", _IOCTL, "if len(blob) > argument.room:", "if False:", f"{_WRAPPED} ioctl"),
)

_LAYERED = (
    Mutant(
        "3.17",
        _DM,
        "        if target.name not in kernel.era.dm_passes_crypto:\n            return NOTHING\n",
        "",
        f"{_LAYERS} pass_encryption",
    ),
    Mutant(
        "3.17 evict",
        _DM,
        "for bdev in self._devices:\n            evict_key",
        "for bdev in self._devices[:1]:\n            evict_key",
        f"{_LAYERS} every_device",
    ),
    Mutant(
        "3.17 first",
        _DM,
        "        profile = self._devices[0].profile",
        "        profile = self._devices[-1].profile",
        f"{_LAYERS} first_device",
    ),
    Mutant("3.17 order", _SUBMIT, "reversed(lower + same)", "reversed(same + lower)", f"{_LAYERS} the_rest"),
    Mutant(
        "3.17 stripe", _DM, "row * self.chunk + inside", "number * self.chunk + inside", f"{_LAYERS} striped"
    ),
    Mutant(
        "3.17 context",
        _DM,
        "            clone = yield from bio.clone(task)\n",
        "            clone = yield from bio.clone(task)\n            clone.free_ctx()\n",
        f"{_LAYERS} cut_there",
    ),
)

_CHECKS = (
    Mutant("3.1/1", _INIT, "if not 0 <= mode < len(MODES):", "if mode >= len(MODES):", f"{_KEYS} sizes"),
    Mutant("3.1/2", _INIT, "flags & ~int(ConfigFlags.ALLOW_HW)", "flags & ~ConfigFlags.ALLOW_HW", _KEYS),
    Mutant("3.1/3", _INIT, "if era.allow_hw_flag and not flags & Con", "if False and not flags & Con", _KEYS),
    Mutant("3.1/4", _INIT, "if not 1 <= dun_bytes <= row.iv_bytes:", "if dun_bytes > row.iv_bytes:", _KEYS),
    Mutant("3.1/5", _INIT, "if data_unit_size <= 0 or data", "if data_unit_size < 0 or data", _KEYS),
    Mutant("3.2/2", _CAP, "if era.allow_hw_flag and not config", "if not config", f"{_SUPPORT} allow_hw"),
    Mutant("3.2/5", _CAP, "return not era.key_types or bool(", "return bool(", f"{_SUPPORT} allow_hw"),
    Mutant("3.4/2", _API, "if key.crypto_cfg.key_type != KeyType.RAW:", "if False:", f"{_SUPPORT} wrapped"),
    Mutant("3.4/6", _FALLBACK, "if error.errno == errno.ENOENT:", "if False:", f"{_SUPPORT} algorithm"),
    Mutant("3.4/4", _FALLBACK, "        self._started.add(num)\n", "", f"{_SUPPORT} started"),
    Mutant(
        "3.14/1",
        _API,
        "        elif kernel.fallback is not None:",
        "        elif False:",
        f"{_SUPPORT} evicting",
    ),
    Mutant(
        "3.14",
        _API,
        "        if not kernel.era.evict_always_unlinks:\n            raise\n",
        "        raise\n",
        f"{_SUPPORT} evicting",
    ),
    Mutant(
        "3.6/2",
        _SUBMIT,
        '    if not bio.has_data:\n        kernel.warn_once("a bio without data has a crypt context")\n'
        "        bio.complete(BlkStatus.IOERR)\n        return\n    if not _native(kernel, bio):\n"
        "        if kernel.fallback is None:",
        "    if not _native(kernel, bio):\n        if kernel.fallback is None:",
        _ORDER,
    ),
    Mutant(
        "3.6 nowait", _SUBMIT, "if bio.flags & ReqFlags.NOWAIT and not limits.nowait:", "if False:", _ORDER
    ),
    Mutant(
        "3.6/3",
        _SUBMIT,
        "        if not _native(kernel, bio):\n            return BlkStatus.NOTSUPP\n",
        "",
        _ORDER,
    ),
    Mutant("3.6/4", _SUBMIT, "if bio.end_sector > bio.bdev.sectors:", "if False:", _ORDER),
    Mutant("3.6/4", _SUBMIT, "if bio.op is not ReqOp.WRITE:", "if False:", _ORDER),
    Mutant(
        "3.6 partition",
        _SUBMIT,
        "bio.it.sector + bio.bdev.start",
        "bio.it.sector",
        f"{_ORDER} partition",
    ),
    Mutant(
        "3.6 block",
        f"{_BLOCK}/queue.py",
        "if (bio.sector << SECTOR_SHIFT) % block or bio.nbytes % block:",
        "if bio.nbytes % block:",
        _ORDER,
    ),
    Mutant(
        "3.7",
        _SUBMIT,
        "                bio.complete(kernel.era.misaligned_status)",
        "                bio.complete(BlkStatus.INVAL)",
        f"{_ORDER} 5_x",
    ),
    Mutant(
        "4.1/1",
        _FALLBACK,
        "if self.engine is None or config",
        "if self.engine is None and config",
        "test_block_fallback_rules.py not_started",
    ),
    Mutant("4.1/2", _FALLBACK, "        if not supported:\n", "        if False:\n", _ORDER),
)

REST = (*_CAPABILITIES, *_WRAPPED_KEYS, *_LAYERED, *_CHECKS)
