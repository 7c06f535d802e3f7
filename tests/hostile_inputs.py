"""Inputs that mean harm, or look like it, and what is said to each: the table of docs/robustness.md.

A row's command runs in a folder that holds only what ``make`` puts there.
"""

import gzip
import lzma
import os
import stat
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

MSR: Final = b"128166391024154329,prxy,0,Write,1105182720,1024,1514\n"
ALIBABA: Final = "419,W,{offset},{size},{time}\n725,R,59110326272,4096,1577808144360813\n"
FEW: Final = "--set ios=300 --set run.warmup=0 --quiet"
RUN: Final = f"run keyslot-contention {FEW}"
SHIPPED: Final = "builtin:ext4-db-log-scan.ftrace.txt.xz"
ZEROES: Final = bytes(1 << 20)


def _nothing(_folder: Path) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One input.

    Attributes:
        name: of the row, and its test's parameter.
        given: the input, in words.
        command: what is run; words are separated by blanks.
        says: part of the one line on standard error; nothing is said when it is empty.
        status: the exit status.
        make: puts the input into the folder.
        leaves: files that are there afterwards besides those of ``make``.
        stdin, stdout, file_bytes, bounded: as of ``tests.hostile_world.Command``.
    """

    name: str
    given: str
    command: str
    says: str
    status: int = 2
    make: Callable[[Path], None] = _nothing
    leaves: tuple[str, ...] = ()
    stdin: str = "/dev/null"
    stdout: str = "/dev/null"
    file_bytes: int = 0
    bounded: bool = True


def _writes(name: str, data: bytes | str) -> Callable[[Path], None]:
    text = data.encode() if isinstance(data, str) else data
    return lambda folder: _wrote(folder / name, text)


def _wrote(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _long_line(folder: Path) -> None:
    with (folder / "trace").open("wb") as file:
        file.write(MSR)
        file.writelines(b"9" * (1 << 20) for _ in range(100))
        file.write(b"\n" + MSR)


def _gzip_bomb(folder: Path) -> None:
    # Members follow one another, so 1 MiB of zeroes needs to be packed only once.
    (folder / "trace").write_bytes(gzip.compress(MSR) + gzip.compress(ZEROES) * 400)


def _zstd_bomb(folder: Path) -> None:
    packed = [zstandard.compress(data) for data in (MSR, ZEROES)]
    (folder / "trace").write_bytes(packed[0] + packed[1] * 400)


def _xz_bomb(folder: Path) -> None:
    packed = [lzma.compress(data, preset=0) for data in (MSR, ZEROES)]
    (folder / "trace").write_bytes(packed[0] + packed[1] * 400)


def _xz_of_much_memory(folder: Path) -> None:
    packed = bytearray(
        lzma.compress(MSR, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 16}])
    )
    # Block header at 12: its size, flags, filter LZMA2, one byte of properties, the dictionary's size; CRC32.
    assert packed[14:16] == b"\x21\x01"
    packed[16] = 40  # 4 GiB
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    (folder / "trace").write_bytes(packed)


def _dangling_in_a_circle(folder: Path) -> None:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")


def full_device(folder: Path) -> None:
    """A device of one's own that is always full: a test must not be able to replace the machine's."""
    try:
        os.mknod(folder / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    except PermissionError:  # not root, who could not replace it
        (folder / "full").symlink_to("/dev/full")


def _not_readable(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(MSR)
        (folder / name).chmod(0)

    return make


def _not_writable(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine").chmod(0o500)


def _old_image(folder: Path) -> None:
    (folder / "mine").write_bytes(bytes(4096))
    (folder / "mine").chmod(0o400)


TRACES: Final = (
    Hostile(
        name="a line of 100 MB",
        given="a trace with a line of 100 MB",
        command="replay trace --quiet",
        says="trace:2: the line is longer than 65536 bytes",
        make=_long_line,
    ),
    Hostile(
        name="a line of 100 MB, skipped",
        given="the same, with `--skip-bad-lines`",
        command="replay trace --quiet --skip-bad-lines",
        says="",
        status=0,
        make=_long_line,
    ),
    Hostile(
        name="a line without end",
        given="a device that gives zeroes for ever, as a trace in text",
        command="replay /dev/zero --format msr --quiet",
        says="a line of more than 256 MiB: this is no trace in text",
    ),
    Hostile(
        name="zeroes",
        given="the same, as a trace in any format",
        command="replay /dev/zero --quiet",
        says="begins with nothing but zeroes: this is no trace",
    ),
    *(
        Hostile(
            name=f"a {kind} bomb",
            given=f"a trace in {kind} that becomes a line of 400 MB",
            command="replay trace --quiet",
            says="trace:2: the line is longer than 65536 bytes",
            make=make,
        )
        for kind, make in (("gzip", _gzip_bomb), ("zstd", _zstd_bomb), ("xz", _xz_bomb))
    ),
    Hostile(
        name="a gzip bomb, skipped",
        given="a trace in gzip that becomes a line of 400 MB, with `--skip-bad-lines`",
        command="replay trace --quiet --skip-bad-lines",
        says="a line of more than 256 MiB: this is no trace in text",
        make=_gzip_bomb,
    ),
    Hostile(
        name="xz that asks for memory",
        given="a trace in xz with a dictionary of 4 GiB",
        command="replay trace --quiet",
        says="the xz stream is damaged or cut off (Memory usage limit exceeded)",
        make=_xz_of_much_memory,
    ),
    Hostile(
        name="an address of 10^18",
        given="a trace with an address of 10^18 bytes: it is one, and is replayed",
        command="replay trace --quiet --payload verify",
        says="",
        status=0,
        make=_writes("trace", ALIBABA.format(offset=10**18, size=4096, time=1577808144360767)),
    ),
    Hostile(
        name="an address past 2^63",
        given="a trace with an address of 10^19 bytes",
        command="replay trace --quiet",
        says="trace:1:",
        make=_writes("trace", ALIBABA.format(offset=10**19, size=4096, time=1577808144360767)),
    ),
    Hostile(
        name="an I/O of 10^18 bytes",
        given="a trace with an I/O of 10^18 bytes",
        command="replay trace --quiet",
        says="an I/O of 1000000000000000000 bytes is larger than all files together",
        make=_writes("trace", ALIBABA.format(offset=0, size=10**18, time=1577808144360767)),
    ),
    Hostile(
        name="a time past 2^63",
        given="a trace with a time of 10^30 us",
        command="replay trace --quiet",
        says="trace:1:",
        make=_writes("trace", ALIBABA.format(offset=0, size=4096, time=10**30)),
    ),
    Hostile(
        name="a folder as a trace",
        given="a folder as a trace",
        command="replay . --quiet",
        says=".: Is a directory",
    ),
    Hostile(
        name="a trace without permission",
        given="a trace that may not be read",
        command="replay trace --quiet",
        says="trace: Permission denied",
        make=_not_readable("trace"),
    ),
    Hostile(
        name="a pipe as two traces",
        given="a FIFO as the trace of two runs",
        command="compare trace-replay --set workload.trace=pipe --vary keyslots=4,8 --quiet",
        says="pipe: a pipe can be read only once: save the trace in a file",
        make=lambda folder: os.mkfifo(folder / "pipe"),
    ),
    Hostile(
        name="standard input as two traces",
        given="standard input as the trace of two points of a sweep",
        command="sweep trace-replay --set workload.trace=- --vary keyslots=4,8 --out sweep --quiet",
        says="-: a pipe can be read only once: save the trace in a file",
    ),
    Hostile(
        name="records without permission",
        given="a file that may not be read, as Parquet",
        command="explain records.parquet --bio 1",
        says="records.parquet: cannot read it as Parquet",
        make=_not_readable("records.parquet"),
        bounded=False,
    ),
)

WRONG_NUMBERS: Final = (
    ("keyslots=1000000000", "1000000000 is out of range: 0 to 65536"),
    ("keyslots=-1", "-1 is out of range"),
    ("keyslots=nan", "expected"),
    ("device.host.cpus=1000000000", "is out of range: 1 to 4096"),
    ("device.keyslots.program_raw=nans", "is not a duration: write it like 80us"),
    ("device.keyslots.program_raw=-1ns", "is not a duration: write it like 80us"),
    ("device.keyslots.program_raw=1e30s", "is too large for a duration"),
    ("run.queue_depth=1000000000", "is out of range: 0 to 1.04858e+06"),
    ("run.seed=-1", "-1 is out of range"),
    ("run.time_scale=inf", "inf is out of range: 0 to 1e+09"),
    ("workload.ios=99999999999999999999", "is out of range"),
    ("workload.zipf=nan", "nan is out of range: 0 to 20"),
    ("workload.read_share=-0.5", "-0.5 is out of range: 0 to 1"),
    ("workload.jobs=1000000000", "is out of range: 1 to 4096"),
    ("workload.block_sizes=4k/inf:8k/1", "workload.block_sizes"),
    ("workload.block_sizes=4k/nan", "workload.block_sizes"),
    ("layout.files=1000000000000", "layout"),
    ("faults.rates.resets_per_s=inf", "faults"),
)
NUMBERS: Final = (
    *(
        Hostile(name=text, given=f"`--set {text}`", command=f"{RUN} --set {text}", says=said)
        for text, said in WRONG_NUMBERS
    ),
    Hostile(
        name="--time-scale nan",
        given="`--time-scale nan`",
        command=f"replay {SHIPPED} --quiet --time-scale nan",
        says="nan is out of range",
    ),
    Hostile(
        name="--sort-window 10^15",
        given="`--sort-window` of 10^15 rows",
        command=f"replay {SHIPPED} --quiet --sort-window 1000000000000000",
        says="1000000000000000 rows do not fit in memory",
    ),
    Hostile(
        name="--queue-depth 10^9",
        given="`--queue-depth` of 10^9",
        command=f"replay {SHIPPED} --quiet --queue-depth 1000000000",
        says="is out of range",
    ),
    Hostile(
        name="--max-keyslots 10^15",
        given="`curve --max-keyslots` of 10^15",
        command=f"curve {SHIPPED} --max-keyslots 1000000000000000",
        says="--max-keyslots",
    ),
    Hostile(
        name="--repeat 10^9",
        given="a sweep of 10^9 repeats",
        command="sweep keyslot-contention --vary keyslots=8 --repeat 1000000000 --out sweep",
        says="is not in the range 1<=x<=10000",
    ),
    Hostile(
        name="--size of an exbibyte and more",
        given="`serve` with an image larger than any file",
        command="serve --image image --size 16E",
        says="'16E' is too large for a size",
    ),
)

FILES: Final = (
    Hostile(
        name="deep arrays",
        given="a scenario of 100,000 nested arrays",
        command="run deep.toml",
        says="deep.toml: arrays or tables are nested too deeply",
        make=_writes("deep.toml", "a = " + "[" * 100_000 + "]" * 100_000),
    ),
    Hostile(
        name="deep keys",
        given="a scenario with a dotted key of 100,000 parts",
        command="run deep.toml",
        says="deep.toml: arrays or tables are nested too deeply",
        make=_writes("deep.toml", ".".join("a" * 100_000) + " = 1"),
    ),
    Hostile(
        name="a scenario of 100 MB",
        given="a scenario of 100 MB",
        command="run large.toml",
        says="large.toml: more than 1 MiB: this is no scenario",
        make=_writes("large.toml", b"# " + b"x" * 100_000_000),
    ),
    Hostile(
        name="a scenario without end",
        given="a device that gives zeroes for ever, as a scenario",
        command="run /dev/zero",
        says="/dev/zero: more than 1 MiB: this is no scenario",
    ),
    Hostile(
        name="a folder as a device",
        given="a folder as a device",
        command=f"{RUN} --set device=.",
        says="Is a directory",
    ),
    Hostile(
        name="a scenario without permission",
        given="a scenario that may not be read",
        command="run mine.toml",
        says="mine.toml: cannot read it: Permission denied",
        make=_not_readable("mine.toml"),
    ),
    Hostile(
        name="binary as a scenario",
        given="bytes that are no text, as a scenario",
        command="run mine.toml",
        says="mine.toml: not UTF-8 text at byte 0",
        make=_writes("mine.toml", b"\xff\xfe\x00"),
    ),
)

FULL: Final = "No space left on device"
LARGE: Final = "File too large"
OUTPUTS: Final = (
    *(
        Hostile(
            name=f"a full device, {option}",
            given=f"`{option}` to a full device",
            command=f"{RUN} {option} full",
            says=f"full: cannot write it: {FULL}",
            make=full_device,
        )
        for option in ("--json", "--html", "--timeline")
    ),
    Hostile(
        name="Parquet to a device",
        given="`--parquet` to a device, which it would replace",
        command=f"{RUN} --parquet full",
        says="full: Parquet goes to a file, and this is a device or a pipe",
        make=full_device,
        bounded=False,
    ),
    Hostile(
        name="a full standard output, a report",
        given="a report to a full standard output",
        command=RUN.removesuffix(" --quiet"),
        says=f"standard output: {FULL}",
        stdout="/dev/full",
    ),
    Hostile(
        name="a full standard output, JSON",
        given="`--json -` to a full standard output",
        command=f"{RUN} --json -",
        says=f"standard output: cannot write it: {FULL}",
        stdout="/dev/full",
    ),
    *(
        Hostile(
            name=f"a full disk, {words.split()[0]} {option}",
            given=f"`{words.split()[0]} {option}` when the disk is full",
            command=f"{words} {option} result",
            says="result: cannot write it: ",
            file_bytes=700,
            bounded="parquet" not in option,
        )
        for words, option in (
            (RUN, "--json"),
            (RUN, "--html"),
            (RUN, "--timeline"),
            (RUN, "--parquet"),
            (f"compare keyslot-contention {FEW} --vary keyslots=8,16", "--json"),
        )
    ),
    Hostile(
        name="a full disk, convert",
        given="`convert` when the disk is full",
        command=f"convert {SHIPPED} result.parquet --quiet",
        says="result.parquet: cannot write it: ",
        file_bytes=700,
        bounded=False,
    ),
    Hostile(
        name="a full disk, sweep",
        given="`sweep` when the disk is full: the folder stays, for going on",
        command="sweep keyslot-contention --vary keyslots=8 --out sweep --quiet",
        says="sweep: cannot write there: ",
        file_bytes=700,
        leaves=("sweep",),
    ),
    Hostile(
        name="a full disk, key",
        given="`key generate` when the disk is full",
        command="key generate --device ufs40-ice-hwkm --state unit",
        says="unit: cannot write it: ",
        file_bytes=10,
    ),
    Hostile(
        name="a closed pipe",
        given="a report to a pipe that nobody reads: its reader has seen enough",
        command=RUN.removesuffix(" --quiet"),
        says="",
        status=0,
        stdout="pipe",
    ),
    Hostile(
        name="a closed standard output",
        given="`--json -` without a standard output",
        command=f"{RUN} --json -",
        says="-: standard output is closed: name a file",
        stdout="closed",
    ),
    Hostile(
        name="a folder as a result",
        given="a result over a folder",
        command=f"{RUN} --json folder",
        says="folder: is a folder: name a file in it",
        make=lambda folder: (folder / "folder").mkdir(),
    ),
    Hostile(
        name="two results in one file",
        given="two results to one file, by two names",
        command=f"{RUN} --json result --html link",
        says="link: two results cannot go to one file: name another",
        make=lambda folder: (folder / "link").symlink_to("result"),
    ),
    Hostile(
        name="links in a circle",
        given="a result over symbolic links that lead in a circle",
        command=f"{RUN} --json one",
        says="one: its symbolic links lead in a circle",
        make=_dangling_in_a_circle,
    ),
    Hostile(
        name="a result without permission",
        given="a result in a folder that may not be written",
        command=f"{RUN} --json mine/result",
        says="mine/result: the folder mine is not writable",
        make=_not_writable,
    ),
    Hostile(
        name="an image without permission",
        given="`serve` with an image that may not be written",
        command="serve --image mine",
        says="mine: cannot open it: Permission denied",
        make=_old_image,
    ),
    Hostile(
        name="an image without a size",
        given="`serve` with an image that is not there, and no size",
        command="serve --image image",
        says="image: there is no image yet: give --size",
    ),
    Hostile(
        name="a server that cannot listen",
        given="`serve` with a new image and an address that is no address",
        command="serve --image image --size 1M --nbd nowhere",
        says="--nbd: 'nowhere' is no HOST:PORT and no unix:PATH",
    ),
)

HOSTILE: Final = {row.name: row for row in (*TRACES, *NUMBERS, *FILES, *OUTPUTS)}
