"""Bit flags for hot paths."""

import enum


class PlainFlags(enum.IntFlag):
    """Flags whose ``&`` is the integers' own and gives an ``int``.

    IntFlag's builds a member each time, which costs about a microsecond, and the block layer asks a bio's
    flags some fifteen times.  What is kept, not asked, is made a member again by calling the class.
    """

    __and__ = int.__and__  # type: ignore[assignment]  # an int where IntFlag promises a member
    __rand__ = int.__rand__  # type: ignore[assignment]  # the same
