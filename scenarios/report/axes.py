"""Axes of figures: from a value to a place between 0 and 1, and where the ticks are."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.units import format_duration

_FAR: Final = 6.0

Words = Callable[[float], str]
Tick = tuple[float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis.

    Attributes:
        title: what it shows, with the unit unless the ticks have it.
        place: value -> 0 to 1 along the axis.
        ticks: values with their words.
    """

    title: str
    place: Callable[[float], float]
    ticks: tuple[Tick, ...]


def linear_axis(
    title: str, most: float, *, low: float = 0.0, words: Words = "{:,.12g}".format, snug: bool = False
) -> Axis:
    """From ``low`` to ``most`` with round ticks; to the next tick unless ``snug``.  Both may be negative."""
    step = _round_step((most - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(most / step - 1e-9)
    last = max(last, first + 1)
    begin, end = first * step, most if snug and most > low else last * step
    ticks = ((number * step, _word(words, number * step)) for number in range(first, last + 1))
    return Axis(
        title=title,
        place=lambda value: (value - begin) / (end - begin),
        ticks=tuple(tick for tick in ticks if tick[0] <= end * (1 + 1e-9)),
    )


def count_axis(title: str, most: float) -> Axis:
    """A linear axis of whole numbers."""
    return linear_axis(title, most, words="{:,.0f}".format)


def duration_axis(title: str, most_ns: float, *, low_ns: float = 0.0, snug: bool = False) -> Axis:
    """A linear axis of times."""
    return linear_axis(title, most_ns, low=low_ns, words=format_duration, snug=snug)


def log_duration_axis(title: str, low_ns: float, high_ns: float) -> Axis:
    """A logarithmic axis of times, ticks at 1, 2 and 5; more where they are few, at 1 alone where many."""
    low, high = max(low_ns, 1.0), max(high_ns, low_ns * 2, 2.0)
    begin, span = math.log10(low), math.log10(high / low)
    of_decade = ((0.8, (1, 1.5, 2, 3, 4, 5, 7)), (2, (1, 2, 5)), (4, (1, 3)), (math.inf, (1,)))
    digits = next(digits for most, digits in of_decade if span < most)
    values = [
        digit * 10**power
        for power in range(math.floor(begin), math.ceil(begin + span) + 1)
        for digit in digits
        if low * 0.999 <= digit * 10**power <= high * 1.001
    ]
    ticks = tuple((value, format_duration(value)) for value in values)
    return Axis(title=title, place=lambda value: (math.log10(max(value, low)) - begin) / span, ticks=ticks)


def nines_axis(title: str, most: float) -> Axis:
    """Percentages up to ``most`` < 100, evenly spaced in the number of nines, where tails can be seen."""
    span = _nines(most)
    # 0 and 50 are too near each other for words where there are many nines.
    begin = 0.0 if span <= 2 else 50.0
    ticks = [value for value in (begin, 90.0, 99.0, 99.9, 99.99, 99.999) if _nines(value) <= span + 1e-9]
    return Axis(
        title=title,
        place=lambda value: _nines(value) / span,
        ticks=tuple((value, f"{value:g}") for value in ticks),
    )


def readable_most(values: Sequence[float]) -> float:
    """Where an axis of non-negative values ends: at the greatest, but a few far larger ones may leave it."""
    ordered = sorted(values)
    usual = ordered[(3 * len(ordered) - 1) // 4]
    return ordered[-1] if ordered[-1] <= _FAR * usual or not usual else _FAR / 2 * usual


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest of ``values`` that are numbers; (0, 1) when none is."""
    known = [value for value in values if not math.isnan(value)]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _nines(percentage: float) -> float:
    return -math.log10(1 - percentage / 100)


def _round_step(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _word(words: Words, value: float) -> str:
    # Twelve digits: 3 * 0.1 is 0.30000000000000004.
    value = float(f"{value:.12g}")
    return "0" if not value else words(value)
