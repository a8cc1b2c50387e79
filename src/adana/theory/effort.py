"""What an experiment will take, estimated before it starts, so that a slip of the keyboard is refused at once.

1. A function that may take long adds up :class:`Effort`: memory held at one time, and time of one processor core.
2. It calls :meth:`Effort.check` before it makes its first array.
3. The command sets the longest time that is allowed, :func:`longest`; without it a day is.

The estimates are rough: they count calls of NumPy and the numbers each of them touches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from adana.theory.checks import at_least

__all__ = ["Effort", "free_memory", "longest"]

_CALL_SECONDS = 2e-6
_NUMBER_SECONDS = 1e-9
_DEVICE_CALL_SECONDS = 1e-5
_DEVICE_NUMBER_SECONDS = 2e-11

_max_hours: ContextVar[float] = ContextVar("max_hours", default=24.0)


@contextlib.contextmanager
def longest(hours: float) -> Iterator[None]:
    """Within this block nothing may start that is estimated to take longer than so many hours."""
    token = _max_hours.set(at_least("max_hours", hours, 0))
    try:
        yield
    finally:
        _max_hours.reset(token)


@dataclass(frozen=True)
class Effort:
    """Estimated cost: ``bytes`` held at one time, and ``seconds`` of one core."""

    bytes: float = 0.0
    seconds: float = 0.0

    @classmethod
    def of(cls, *, held: float = 0, calls: float = 0, numbers: float = 0, device: str | None = None) -> Effort:
        """From counts.

        Args:
            held: float64 numbers in memory at one time.
            calls: calls of array functions.
            numbers: numbers that one call touches.
            device: a torch device, which is slower to call and faster on many numbers; None for NumPy.
        """
        call, number = (_CALL_SECONDS, _NUMBER_SECONDS)
        if device is not None and not device.startswith("cpu"):
            call, number = _DEVICE_CALL_SECONDS, _DEVICE_NUMBER_SECONDS
        return cls(8.0 * held, float(calls) * (call + number * float(numbers)))

    def __add__(self, other: Effort) -> Effort:
        """One after the other."""
        return Effort(max(self.bytes, other.bytes), self.seconds + other.seconds)

    def __mul__(self, times: float) -> Effort:
        """So many times in a row."""
        return Effort(self.bytes, self.seconds * times)

    def check(self, what: str, advice: str) -> None:
        """Refuse what does not fit into memory or takes longer than is allowed.

        Args:
            what: the computation, in words.
            advice: what to lower.

        Raises:
            ValueError: with the estimate and what there is.
        """
        free = free_memory()
        if free is not None and self.bytes > free:
            raise ValueError(
                f"{what} needs about {_shown(self.bytes / 1e9)} GB of memory and {free / 1e9:.1f} GB are free: {advice}"
            )
        hours, allowed = self.seconds / 3600, _max_hours.get()
        if hours > allowed:
            raise ValueError(
                f"{what} takes about {_shown(hours)} hours of one core and {allowed:g} are allowed: {advice}, or allow "
                "more (--max-hours)"
            )


def _shown(x: float) -> str:
    return f"{x:.1e}" if x >= 1e6 else f"{x:,.0f}" if x >= 10 else f"{x:.1f}" if x >= 0.1 else f"{x:.1e}"


def free_memory() -> float | None:
    """Bytes that are free without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
