"""What a complete scenario must satisfy across fields.

Each rule says which keys disagree, what Linux would do, and what to change.

Source: reference block-layer.md sections 3.2, 3.4, 3.20, 5.5 and 6.1.
"""

import math
import re
from collections.abc import Callable, Iterator

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import format_size
from blkcrypto.crypto.dmivs import IV_GENERATORS
from blkcrypto.fs.fscrypt.filesystem import PAGE_SIZE
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.stacked.crypt_path import CryptFlag
from hwmodel.device import Device
from scenarios.designs import DESIGNS, OF_DEVICE, PLAIN, engine_of, policy_flags, required_dun_bytes
from scenarios.files.document import Document
from scenarios.files.nearest import nearest
from scenarios.schema import Design, Scenario

_UNBOUNDED = math.inf
# Dotted key, least, greatest.  Whole numbers are at least 0 everywhere without a row here.
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("workload.rate_per_s", 0, 1e9),
    ("workload.read_share", 0, 1),
    ("workload.fua_share", 0, 1),
    ("workload.zipf", 0, 20),
    ("workload.jobs", 1, 4096),
    ("workload.sample_files", 0, 1),
    ("layout.file_size_bytes", 512, _UNBOUNDED),
    ("layout.file_size_spread", 0, 5),
    ("layout.fragmentation", 0, 1),
    ("layout.extent_bytes", 512, _UNBOUNDED),
    ("keys.master_keys", 1, 1 << 24),
    ("keys.data_unit_size", 512, 65536),
    ("design.key_extent_bytes", 4096, _UNBOUNDED),
    ("design.transforms", 1, 1 << 20),
    ("design.users", 1, 65536),
    ("design.metadata_share", 0, 1),
    ("design.small_files", 0, 1),
    ("design.small_file_bytes", 1, 4096),
    ("design.tag_cache_bytes", 4096, _UNBOUNDED),
    ("design.commit_bios", 1, 1 << 30),
    ("design.cipher_percent", 0, 100_000),
    ("block.max_request_bytes", 4096, _UNBOUNDED),  # Linux raises smaller limits to one page
    ("block.max_segments", 1, 65535),
    ("run.time_scale", 0, 1e9),
    ("run.queue_depth", 0, 1 << 20),
    ("run.seed", 0, 2**64 - 1),
)
# Device figures that have to be at least 1, and those with a ceiling.
_DEVICE_RANGES: tuple[tuple[str, int, int], ...] = (
    ("controller.tags", 1, 1 << 20),
    ("media.units", 1, 1 << 20),
    ("media.stripe_bytes", 512, 1 << 40),
    ("media.channels", 0, 1 << 20),
    ("media.capacity_bytes", 1 << 20, 1 << 60),
    ("host.cpus", 1, 4096),
    ("host.cipher_per_s", 1, 1 << 50),
    ("keyslots.count", 0, 65536),
    ("keyslots.dun_bytes", 1, 32),
    ("engine.clock_percent", 1, 1000),
)

_LONGEST_WINDOW = 1 << 22

Problem = tuple[str, str]  # the key to point at, and what is wrong


class Refused(BadInput):
    """The scenario is well-formed, but Linux would answer with an error or take another path."""


def check_device(device: Device, document: Document, prefix: str = "") -> None:
    """Ranges of a device's figures, and what its key types need.

    Raises:
        BadInput: names the key.
    """
    for key, what in _device_problems(device):
        raise BadInput(what, where=document.where(prefix + key))


def check_scenario(scenario: Scenario, document: Document) -> None:
    """Everything a scenario must satisfy before it runs.

    Raises:
        BadInput: names the first keys that do not go together; ``Refused`` when it is Linux that objects.
    """
    check_device(scenario.device, document, "device.")
    for rule in _RULES:
        for key, what in rule(scenario):
            raise BadInput(what, where=document.where(key))
    for key, what in _keys(scenario):
        raise Refused(what, where=document.where(key))


def _device_problems(device: Device) -> Iterator[Problem]:
    figures = dict(device.figures())
    for key, least, greatest in _DEVICE_RANGES:
        figure = figures.get(key)
        if figure is not None and not least <= figure.value <= greatest:
            yield key, f"{figure.value} is out of range: {least} to {greatest}"
    engine = device.engine
    if engine is not None and engine.cores.value:
        for name in ("mixed_read_cores", "mixed_write_cores"):
            if not 1 <= getattr(engine, name).value <= engine.cores.value:
                yield f"engine.{name}", f"missing: an engine with cores needs 1 to {engine.cores.value} here"
    slots = device.keyslots
    if slots is None:
        return
    if not slots.key_types:
        yield "keyslots.key_types", "name at least one of raw, hw-wrapped"
    if "hw-wrapped" in slots.key_types and device.keywrap is None:
        yield "keywrap", "missing: a device that takes hw-wrapped keys needs what its key-wrapping unit costs"
    if "hw-wrapped" in slots.key_types and not slots.count.value:
        yield "keyslots.count", "hw-wrapped keys are unwrapped into keyslots: at least 1"


def _ranges(scenario: Scenario) -> Iterator[Problem]:
    for key, least, greatest in _RANGES:
        section, name = key.split(".")
        value = getattr(getattr(scenario, section), name)
        if not least <= value <= greatest:
            limit = f"at least {least:g}" if greatest == _UNBOUNDED else f"{least:g} to {greatest:g}"
            yield key, f"{value:g} is out of range: {limit}"
    if not re.fullmatch(r"\d+\.\d+", scenario.run.kernel):
        yield "run.kernel", f"{scenario.run.kernel!r} is not a kernel version like 6.12 or 7.3"


def _source(scenario: Scenario) -> Iterator[Problem]:
    """Exactly one source of bios, and a loop that fits it."""
    workload, run = scenario.workload, scenario.run
    if workload.trace is None and not workload.ios:
        yield "workload", 'give a trace (trace = "FILE") or a number of generated I/Os (ios = 100000)'
    if workload.limit == 0:
        yield "workload.limit", "0 rows leave nothing to run: drop it, or at least 1"
    if workload.end_ns and workload.end_ns <= workload.begin_ns:
        yield "workload.end_ns", "nothing lies between it and workload.begin: make it later, or leave it out"
    if workload.trace is None and (workload.begin_ns or workload.end_ns):
        yield "workload.begin_ns", "a time range is cut from a trace: drop it, or name a trace"
    if workload.sort_window is not None and workload.sort_window > _LONGEST_WINDOW:
        yield "workload.sort_window", f"{workload.sort_window} rows do not fit in memory: {_LONGEST_WINDOW}"
    if workload.trace is not None and workload.ios:
        yield "workload.ios", "a trace is replayed as it is: drop ios, or drop trace"
    if workload.trace is None and workload.rate_per_s and run.queue_depth:
        yield (
            "run.queue_depth",
            "an open loop has workload.rate_per_s, a closed loop run.queue_depth: drop one",
        )
    if workload.trace is None and not workload.rate_per_s and not run.queue_depth:
        yield "workload", "set rate_per_s for an open loop, or run.queue_depth for a closed loop"
    if workload.trace is not None and run.pace == "asap" and not run.queue_depth:
        yield "run.queue_depth", 'pace = "asap" keeps queue_depth bios outstanding: set it, e.g. 32'
    if run.media == "recorded" and workload.trace is None:
        yield "run.media", 'only a trace has recorded times: name one, or set media = "model"'
    if workload.think_ns and not run.queue_depth:
        yield "workload.think_ns", "think time belongs to a closed loop: set run.queue_depth"


def _block_sizes(scenario: Scenario) -> Iterator[Problem]:
    sizes = scenario.workload.block_sizes
    if not sizes or sum(weight for _, weight in sizes) <= 0:
        yield "workload.block_sizes", "at least one size with a weight above 0"
    for size, weight in sizes:
        if size < 512 or size % 512:
            yield "workload.block_sizes", f"{size} is not a multiple of 512 above 0"
        if not 0 <= weight < math.inf:
            yield "workload.block_sizes", f"{weight:g} is not a weight"


def _layout(scenario: Scenario) -> Iterator[Problem]:
    layout, unit = scenario.layout, scenario.keys.data_unit_size
    capacity = scenario.device.media.capacity_bytes.value
    span = layout.span_bytes or capacity
    if unit & (unit - 1):
        yield "keys.data_unit_size", f"{unit} is not a power of two: Linux answers EINVAL"
    if layout.extent_bytes % max(unit, 512):
        what = f"{layout.extent_bytes} is not a multiple of keys.data_unit_size ({unit})"
        yield "layout.extent_bytes", f"{what}: a data unit lies in one extent"
    if span > capacity:
        what = f"{format_size(span)} exceeds device.media.capacity_bytes ({format_size(capacity)})"
        yield "layout.span_bytes", what
    if layout.extent_bytes > span:
        what = f"{format_size(layout.extent_bytes)} exceeds the address space ({format_size(span)})"
        yield "layout.extent_bytes", f"{what}: set layout.span_bytes or a smaller extent"
    if layout.file_size_bytes < layout.extent_bytes:
        what = f"{format_size(layout.file_size_bytes)} is below layout.extent_bytes"
        yield (
            "layout.file_size_bytes",
            f"{what} ({format_size(layout.extent_bytes)}): files are whole extents, so set both",
        )
    needed = layout.files * max(layout.file_size_bytes, layout.extent_bytes)
    if not layout.file_size_spread and needed > span:
        what = f"{layout.files} files of {format_size(layout.file_size_bytes)} do not fit {format_size(span)}"
        yield "layout.files", f"{what}: fewer or smaller files, or a larger layout.span_bytes"


def _design(scenario: Scenario) -> Iterator[Problem]:
    name = scenario.keys.design
    if name not in DESIGNS:
        yield "keys.design", f"no design {name!r}{nearest(name, DESIGNS)}"


def _keys(scenario: Scenario) -> Iterator[Problem]:
    keys = scenario.keys
    design = DESIGNS[keys.design]
    if keys.type not in (design.key_types or ("raw",)):
        able = ", ".join(row.name for row in DESIGNS.values() if keys.type in row.key_types)
        what = f"design {keys.design} takes no {keys.type} keys: Linux answers EINVAL at key setup"
        yield "keys.design", f"{what}; set keys.design to {able}"
    if keys.type == "hw-wrapped" and keys.engine != "inline":
        what = f"only the device can unwrap a hw-wrapped key, {keys.engine} cannot: Linux answers EOPNOTSUPP"
        yield "keys.engine", f'{what}; set keys.engine = "inline" or keys.type = "raw"'
    if policy_flags(keys.design) & PolicyFlags.IV_INO_LBLK_32 and keys.data_unit_size != PAGE_SIZE:
        what = f"design {keys.design} needs data units of the page size, {PAGE_SIZE}: Linux answers EINVAL"
        yield "keys.data_unit_size", f"{what}; set keys.data_unit_size to {PAGE_SIZE}"
    if engine_of(keys, scenario.design) == "inline" and design.key_types:
        yield from _inline(scenario, _dun_bytes(scenario))


def _dun_bytes(scenario: Scenario) -> int:
    """DUN bytes that the device must take."""
    keys = scenario.keys
    if keys.design not in OF_DEVICE:
        return required_dun_bytes(DESIGNS[keys.design], keys.data_unit_size)
    largest = scenario.device.media.capacity_bytes.value // keys.data_unit_size - 1
    by_device = max(1, -(-largest.bit_length() // 8))
    if keys.design == "dm-inlinecrypt":
        return by_device
    policy = "fscrypt-per-file" if keys.type == "raw" else "fscrypt-iv-ino-lblk-64"
    return max(by_device, required_dun_bytes(DESIGNS[policy], keys.data_unit_size))


def _reflinks(scenario: Scenario) -> Iterator[Problem]:
    """The filesystem that runs needs a design for extents, and a closed loop."""
    if scenario.workload.access != "reflinks" or scenario.keys.design not in DESIGNS:
        return
    able = [name for name in DESIGNS if name.startswith("extents-")]
    if scenario.keys.design not in able:
        what = f"files of {scenario.keys.design} cannot share extents: one of {', '.join(able)}"
        yield "keys.design", what
    if scenario.workload.trace is not None or not scenario.run.queue_depth:
        yield "run.queue_depth", "a filesystem's steps are a closed loop: set run.queue_depth, and no trace"
    if not scenario.layout.files or scenario.layout.file_size_bytes % PAGE_SIZE:
        yield "layout.files", f"say how many files there are, in a size of whole blocks of {PAGE_SIZE}"


def _options(scenario: Scenario) -> Iterator[Problem]:
    """What the chosen design asks of ``[design]`` and of data units."""
    name, design, unit = scenario.keys.design, scenario.design, scenario.keys.data_unit_size
    if name in PLAIN:
        return
    if not name.startswith("dm-") and unit != PAGE_SIZE:
        yield "keys.data_unit_size", f"design {name} has units of {PAGE_SIZE} bytes: set it to {PAGE_SIZE}"
    if design.key_extent_bytes % unit or design.key_extent_bytes > 128 << 20:
        what = f"{design.key_extent_bytes} is not a multiple of {unit} up to 128M"
        yield "design.key_extent_bytes", what
    if name == "aead-tree-extent" and not design.copy_on_write:
        yield "design.copy_on_write", "a sealed extent cannot be written in place: its IVs would come again"
    if name.startswith("key-setup-v") and design.transforms < scenario.device.host.cpus.value:
        what = f"{design.transforms} ciphers are fewer than CPUs: waiting for one is not modelled"
        yield "design.transforms", f"{what}; at least {scenario.device.host.cpus.value}"
    if name == "dm-crypt":
        yield from _dm_crypt(design, unit)


def _dm_crypt(design: Design, unit: int) -> Iterator[Problem]:
    if design.iv_mode not in _IV_MODES:
        yield "design.iv_mode", f"no IV mode {design.iv_mode!r}{nearest(design.iv_mode, _IV_MODES)}"
    if unit > PAGE_SIZE:
        yield "keys.data_unit_size", f"{unit} is too large for a sector of dm-crypt: 512 to 4096"
    known = {flag.value for flag in CryptFlag}
    for word in design.crypt_flags.split("+"):
        if word not in known | {"none"}:
            yield "design.crypt_flags", f"no flag {word!r}{nearest(word, known)}"


def _inline(scenario: Scenario, dun_bytes: int) -> Iterator[Problem]:
    """``blk_crypto_config_supported_natively()``, in its order."""
    keys, device = scenario.keys, scenario.device
    slots = device.keyslots
    # start_using_key() turns to the fallback when the hardware lacks something and the key is raw.
    if keys.type == "raw":
        instead = 'Linux would use the fallback: set keys.engine = "fallback"'
    else:
        instead = "Linux answers EOPNOTSUPP"
    if slots is None:
        yield "keys.engine", f"device {device.name} has no inline encryption hardware; {instead}"
        return
    if keys.data_unit_size & ~slots.data_unit_sizes.value:
        sizes = ", ".join(str(1 << bit) for bit in range(64) if slots.data_unit_sizes.value >> bit & 1)
        what = (
            f"device {device.name} has no data units of {keys.data_unit_size} bytes, only {sizes or 'none'}"
        )
        yield "keys.data_unit_size", f"{what}; {instead}"
    if dun_bytes > slots.dun_bytes.value:
        what = f"design {keys.design} needs DUNs of {dun_bytes} bytes, device {device.name} takes"
        yield "keys.design", f"{what} {slots.dun_bytes.value}; {instead}"
    if keys.type not in slots.key_types:
        what = f"device {device.name} takes {' and '.join(slots.key_types)} keys only"
        yield "keys.type", f"{what}; {instead}"


def _flips(scenario: Scenario) -> Iterator[Problem]:
    capacity = scenario.device.media.capacity_bytes.value
    for at, flip in enumerate(scenario.faults.flips):
        if flip.byte >= capacity:
            yield f"faults.flips[{at}].byte", f"{flip.byte} is past the device's end ({capacity})"
        if not 1 <= flip.mask <= 255:
            yield f"faults.flips[{at}].mask", f"{flip.mask} is out of range: 1 to 255"
        if scenario.run.payload != "verify":
            yield (
                "run.payload",
                'faults.flips changes stored bytes, and payload = "none" stores none: set "verify"',
            )


_FAULT_RANGES: tuple[tuple[str, str, float, float], ...] = (
    ("program_failures", "count", 1, 1 << 30),
    ("hangs", "timeout_ns", 1, _UNBOUNDED),
    ("key_operations", "count", 1, 1 << 30),
    ("media_errors", "count", 1, 1 << 30),
    ("power_cuts", "tear_bytes", 512, 1 << 30),
    ("slowdowns", "percent", 1, 1_000_000),
)


def _faults(scenario: Scenario) -> Iterator[Problem]:
    faults = scenario.faults
    for kind, name, least, greatest in _FAULT_RANGES:
        for at, fault in enumerate(getattr(faults, kind)):
            value = getattr(fault, name)
            if not least <= value <= greatest:
                limit = f"at least {least:g}" if greatest == _UNBOUNDED else f"{least:g} to {greatest:g}"
                yield f"faults.{kind}[{at}].{name}", f"{value} is out of range: {limit}"
    for at, _ in enumerate(faults.key_operations):
        if scenario.device.keywrap is None:
            what = f"device {scenario.device.name} has no key-wrapping unit: take one that has, or drop this"
            yield f"faults.key_operations[{at}]", what
    for at, cut in enumerate(faults.power_cuts):
        if cut.tear_bytes % 512:
            yield f"faults.power_cuts[{at}].tear_bytes", f"{cut.tear_bytes} is not a multiple of 512"
    for name in ("program_failure", "clobber", "media_error"):
        if not 0 <= getattr(faults.rates, name) <= 1:
            yield f"faults.rates.{name}", f"{getattr(faults.rates, name):g} is not a probability: 0 to 1"
    if not 0 <= faults.rates.resets_per_s <= 1e6:
        yield "faults.rates.resets_per_s", f"{faults.rates.resets_per_s:g} is out of range: 0 to 1e+06"


_IV_MODES = (*IV_GENERATORS, "eboiv", "essiv:sha256")

_RULES: tuple[Callable[[Scenario], Iterator[Problem]], ...] = (
    _ranges,
    _source,
    _block_sizes,
    _layout,
    _design,
    _options,
    _reflinks,
    _flips,
    _faults,
)
