"""A scenario: what a run is made of, as frozen structs.

Values are in the model's units here; the text forms (``4k``, ``80us``, ``2900MB/s``) are converted
by ``scenarios.load``, which also merges a device file with a scenario's changes.
"""

from typing import Literal

import msgspec

from hwmodel.device import Device
from hwmodel.faultplan import FaultPlan
from scenarios.traces.order import TimeBackwards, ZeroSize

KeyTypeName = Literal["raw", "hw-wrapped"]
EngineName = Literal["inline", "fallback", "fs-layer"]
Payload = Literal["none", "verify"]
Pace = Literal["recorded", "asap"]
MediaTimes = Literal["model", "recorded"]
PastEnd = Literal["wrap", "drop", "error"]


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where bios come from: a trace, or a generator.

    A generator makes an open loop with ``rate_per_s``, and a closed loop with ``run.queue_depth``.

    Attributes:
        trace: a path, ``-``, or ``builtin:NAME`` for a trace shipped with the package.
        format: a name of ``blkcrypto list formats``; recognised when left out.
        columns: column map of a table, as ``time=1:s,op=2,size=3:bytes,offset=4:sectors``.
        skip_bad_lines: count damaged lines of the trace and go on.
        limit: I/Os of the trace to use, from its beginning.
        volume: device or volume of the trace to keep.
        begin_ns: time of the trace to begin at, counted from its first I/O; what remains counts from there.
        end_ns: time of the trace to stop at; 0 for its end.
        sort_window: rows within which to sort by time; the format's own when left out, 0 for none.
        time_backwards: an I/O earlier than one before it takes that one's time (``clamp``), moves everything
            after it so that gaps stay (``shift``, for clocks that were set back and joined traces), or is an
            ``error``.
        zero_size: ``drop`` reads, writes and discards of no bytes, or take one for an ``error``.
        sample_files: share of the files whose I/O is kept, chosen by the seed.
        ios: I/Os to generate over the files of the layout.
        rate_per_s: arrivals per second of an open loop; 0 makes a closed loop.
        arrivals: a Poisson process, or evenly spaced.
        read_share: share of reads, 0 to 1; the rest are writes.
        fua_share: share of writes, of a trace too, that are FUA: done when on the flash.  It changes nothing
            without ``device.media.cache``.
        access: every I/O anywhere in its file, or files from end to end; ``reflinks`` runs a filesystem with
            extents (``extents-*``) that writes, clones, snapshots and relocates, a step for each of ``ios``.
        block_sizes: a size, ``4k/60:64k/40`` as fio writes it, or a list of sizes and weights.
        zipf: exponent of the law that chooses files; 0 makes all equally likely.
        jobs: independent submitters, each on a CPU of its own while there are enough.
        think_ns: pause of a closed loop before each next I/O.
    """

    trace: str | None = None
    format: str | None = None
    columns: str | None = None
    skip_bad_lines: bool = False
    limit: int | None = None
    volume: str | None = None
    begin_ns: int = 0
    end_ns: int = 0
    sort_window: int | None = None
    time_backwards: TimeBackwards = "clamp"
    zero_size: ZeroSize = "drop"
    sample_files: float = 1.0
    ios: int = 0
    rate_per_s: float = 0.0
    arrivals: Literal["poisson", "even"] = "poisson"
    read_share: float = 1.0
    fua_share: float = 0.0
    access: Literal["random", "sequential", "reflinks"] = "random"
    block_sizes: tuple[tuple[int, float], ...] = ((4096, 1.0),)
    zipf: float = 0.0
    jobs: int = 1
    think_ns: int = 0


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How addresses belong to files.

    Attributes:
        files: number of files; 0 means as many as ``file_size_bytes`` gives over ``span_bytes``.
        file_size_bytes: mean file size.
        file_size_spread: sigma of the lognormal law of file sizes; 0 makes all files equal.
        fragmentation: share of extents placed at random instead of in file order, 0 to 1.
        extent_bytes: smallest contiguous piece of a file.
        span_bytes: address space covered; 0 means the device's capacity.
        past_end: an address past the last file goes on at the first (``wrap``), is left out (``drop``), or is
            an ``error``.
    """

    files: int = 0
    file_size_bytes: int = 64 << 20
    file_size_spread: float = 0.0
    fragmentation: float = 0.0
    extent_bytes: int = 1 << 20
    span_bytes: int = 0
    past_end: PastEnd = "wrap"


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Key design and path.

    Attributes:
        design: a name of ``blkcrypto list designs``; ``none`` leaves the data unencrypted.
        type: raw or hardware-wrapped master keys.
        engine: where contents are encrypted.
        master_keys: master keys (users, containers); files are dealt to them in turn.
        data_unit_size: bytes.
    """

    design: str = "fscrypt-per-file"
    type: KeyTypeName = "raw"
    engine: EngineName = "inline"
    master_keys: int = 1
    data_unit_size: int = 4096


class Design(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What key designs leave open, and what their steps cost; ``fscrypt-*`` need none of it.

    Attributes:
        key_extent_bytes: extents that files begin with, where extents have keys or tags; btrfs: up to 128M.
        copy_on_write: every write makes a new extent, as on btrfs, though nothing is joined as delayed
            allocation would; else extents are written in place.
        checksums: ciphertext is checksummed, which hardware cannot do: extents then take the fallback.
        transforms: ciphers in the pool of key-setup-v3 (per file), v4 and v5 (for all).
        strict_contexts: the context checker forgives no allocation during I/O; else those that Linux allows.
        users: who can open each file (``ext4-2014-multi-user``).
        metadata_share: of files without a policy, which get the device's key (``dm-default-key``).
        iv_mode: of ``dm-crypt``: plain, plain64, plain64be, benbi, null, eboiv or essiv:sha256.
        iv_large_sectors: ``dm-crypt``'s IVs count units instead of 512-byte sectors.
        crypt_flags: of ``dm-crypt``'s table, as ``no_read_workqueue+no_write_workqueue``.
        small_files: share of files whose data fits their inode (``inline-data-*``).
        small_file_bytes: size of such data; more than the inode's area holds goes to blocks.
        inline_user: whose inodes: f2fs-like (3488 bytes of area) or ext4-like (256-byte inodes: 64 bytes).
        tag_cache_bytes: memory that keeps blocks of tags (``aead-*``).
        commit_bios: writes of one transaction of a checksum tree (``aead-tree-*``).
        cipher_percent: rate of the design's cipher, of AES-256-XTS on the same CPU; 0 for the design's own.
        hkdf_ns: one HKDF-Expand.
        alloc_cipher_ns: allocating one cipher, its module loaded.
        unwrap_ns: opening a file's wrapped key, for one user.
        iv_ns: CPU time of an IV that is a hash or a block cipher's output.
    """

    key_extent_bytes: int = 1 << 20
    copy_on_write: bool = True
    checksums: bool = False
    transforms: int = 128
    strict_contexts: bool = False
    users: int = 1
    metadata_share: float = 0.1
    iv_mode: str = "plain64"
    iv_large_sectors: bool = False
    crypt_flags: str = "none"
    small_files: float = 0.5
    small_file_bytes: int = 2048
    inline_user: Literal["f2fs-like", "ext4-like"] = "f2fs-like"
    tag_cache_bytes: int = 1 << 20
    commit_bios: int = 256
    cipher_percent: int = 0
    hkdf_ns: int = 2_000
    alloc_cipher_ns: int = 5_000
    unwrap_ns: int = 6_000
    iv_ns: int = 300


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The block layer in front of the device.

    Attributes:
        scheduler: ``mq-deadline`` holds requests back, sorts and merges them; ``none`` does not.
        max_request_bytes: largest request; larger bios are split.
        max_segments: memory segments in one request; every page is one.
    """

    scheduler: Literal["none", "mq-deadline"] = "none"
    max_request_bytes: int = 1 << 20
    max_segments: int = 256


class Flip(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Medium corruption: XOR ``mask`` into byte ``byte`` of the device once ``after_bios`` bios completed.

    Attributes:
        byte: address on the device.
        mask: bits to change, 1 to 255.
        after_bios: when; 0 for as soon as something is stored there.
    """

    byte: int
    mask: int = 1
    after_bios: int = 0


class Faults(FaultPlan, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes wrong, and when: in the machine (``hwmodel.faultplan``), or with stored bytes."""

    flips: tuple[Flip, ...] = ()


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the run is made.

    Attributes:
        seed: seeds every random stream by name.
        payload: ``verify`` really encrypts, stores, decrypts and compares every data unit.
        pace: a trace's own arrival times, or as fast as ``queue_depth`` allows.
        media: what an I/O takes at the device: by the device's ``media``, or what the trace recorded from its
            issue to its completion, with crypto on top; for traces that have completions.
        queue_depth: bios outstanding at once in a closed loop (per job); 0 is an open loop.
        max_in_flight: bios in the system; an open loop's arrivals beyond it come late, and are counted.
        kernel: era of the block layer.
        warmup: bios left out of the statistics at the start.
        time_scale: recorded gaps are multiplied by this.
        batch_bytes: data encrypted at once with ``payload = "verify"``; 0 processes each bio as it completes,
            which gives the same bytes, slower.
    """

    seed: int = 1
    payload: Payload = "none"
    pace: Pace = "recorded"
    media: MediaTimes = "model"
    queue_depth: int = 0
    max_in_flight: int = 1 << 16
    kernel: str = "7.3"
    warmup: int = 0
    time_scale: float = 1.0
    batch_bytes: int = 64 << 20


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One scenario file, complete: the device is the merged one.

    Attributes:
        name: of the scenario; the file's name when left out.
        question: what a run answers; printed first.
        vary: what ``compare`` varies when the command line does not say: dotted keys and their values.
    """

    name: str
    question: str
    workload: Workload
    device: Device
    layout: Layout = Layout()
    keys: Keys = Keys()
    design: Design = Design()
    block: Block = Block()
    faults: Faults = Faults()
    run: Run = Run()
    vary: dict[str, tuple[str, ...]] = {}
