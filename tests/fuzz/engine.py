"""Where inputs come from: atheris by coverage, else mutations of the seeds, by a seeded generator."""

import importlib.util
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

#: Seconds after which an input counts as a hang.
HANG_S: Final = 20
MOST_BYTES: Final = 1 << 16
TOKENS: Final = (
    b"\n", b"\0", b" ", b",", b".", b"-", b"=", b'"', b"[", b"]", b"[[", b"{", b"}", b"\xff", b"\xb2", b"\r",
    b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 30, b"18446744073709551615", b"1T", b"1ns", b"true", b"'''",
)  # fmt: skip


class Hang(Exception):
    """An input took longer than ``HANG_S``."""


def has_atheris() -> bool:
    """Whether the extra ``[fuzz]`` is installed."""
    return importlib.util.find_spec("atheris") is not None


@contextmanager
def no_hang() -> Iterator[None]:
    """Raise ``Hang`` when the block takes too long."""

    def expired(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"more than {HANG_S} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """``data`` with a few changes: bytes, tokens, pieces of ``other``, cuts and repeats."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        cut = rng.choice((0, 0, 1, 1, 2, 9, 40))
        start = rng.randrange(len(other) + 1)
        out[at : at + cut] = rng.choice(
            (
                bytes([rng.randrange(256)]),
                rng.choice(TOKENS),
                other[start : start + rng.choice((1, 4, 30, 200))],
                bytes(out[at : at + 50]) * rng.choice((1, 2, 30)),
                b"",
            )
        )
    return bytes(out[:MOST_BYTES])


def fuzz_by_mutation(name: str, seconds: float, seed: int, findings: Path) -> int:
    """Feed one target for ``seconds``; prints how many inputs, returns the exit status."""
    from tests.fuzz.targets import TARGETS

    target, rng = TARGETS[name], random.Random(seed)
    pool = target.seeds()
    tried = accepted = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutated(rng.choice(pool), rng.choice(pool), rng) if tried >= len(pool) else pool[tried]
        tried += 1
        try:
            with no_hang():
                was_accepted = target.run(data)
        except Exception as error:
            return _found(name, data, error, findings, tried)
        accepted += was_accepted
        if was_accepted and rng.random() < 0.02 and len(pool) < 2000:
            pool.append(data)
    print(f"{tried} inputs, {accepted} accepted", flush=True)
    return 0


def _found(name: str, data: bytes, error: Exception, findings: Path, tried: int) -> int:
    findings.mkdir(parents=True, exist_ok=True)
    file = findings / f"{name}-{tried}"
    file.write_bytes(data)
    traceback.print_exception(error)
    print(f"{tried} inputs, then {type(error).__name__}: {file}", flush=True)
    return 1


def fuzz_by_coverage(name: str, seconds: float, seed: int, findings: Path) -> None:
    """The same with atheris, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=["blkcrypto", "hwmodel", "scenarios"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = findings / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    options = {
        "max_total_time": int(seconds),
        "timeout": HANG_S,
        "max_len": MOST_BYTES,
        "seed": seed + 1,
        "rss_limit_mb": 2048,
        "artifact_prefix": f"{findings / name}-",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)],
        lambda data: _told(target.run, data),
    )
    atheris.Fuzz()


def _told(run: Callable[[bytes], bool], data: bytes) -> None:
    """Run one input; libFuzzer ends the process without a word on what was raised."""
    try:
        run(data)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        raise
