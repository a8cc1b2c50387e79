"""How far a fit is, for whoever shows it: a fit says each of its long loops, and a listener hears them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["listening", "told"]

Listener = Callable[[str, int, int], None]
"""What is told: the name of a loop, how many of its steps are done, and how many there are."""
T = TypeVar("T")

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of every long loop of the fits in this block.

    >>> with listening(lambda name, done, of: print(name, done, "of", of)):
    ...     found = [2 * x for x in told("doubling", [1, 2])]
    doubling 0 of 2
    doubling 1 of 2
    doubling 2 of 2
    >>> found
    [2, 4]
    """
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


def told(name: str, items: Sequence[T]) -> Iterator[T]:
    """The items, the listener told before the first and after each; a loop inside another is not told."""
    listener = _LISTENER.get()
    if listener is None:
        yield from items
        return
    for done, item in enumerate(items):
        listener(name, done, len(items))
        inner = _LISTENER.set(None)
        try:
            yield item
        finally:
            _LISTENER.reset(inner)
    listener(name, len(items), len(items))
