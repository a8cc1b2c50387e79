"""Standard input, output and error as a command finds them: closed, full, read by nobody, or without UTF-8."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["Output", "discard_output", "going_on", "named_output", "open_standard_streams", "reader_left"]


def open_standard_streams() -> None:
    """Open on nothing each standard stream that is closed, and let the others write what their encoding lacks.

    A closed one has a number that the next file to be opened would get: what a library prints would then be written
    into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, number)
                if null != number:
                    os.close(null)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    with contextlib.suppress(AttributeError, ValueError):  # a stream of a test or a notebook takes any text
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]


class Output:
    """Standard output whose errors say what could not be written to, since "No space left" alone does not."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.forgiving = False
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.forgiving and self._lost:
            return len(text)
        with self._named():
            return int(self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        if not (self.forgiving and self._lost):
            with self._named():
                self._stream.flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = "standard output"
            if not self.forgiving:
                raise
            self._lost = True
            print(f"adana: standard output: {error.strerror}; the work goes on without it", file=sys.stderr)


@contextlib.contextmanager
def named_output() -> Iterator[None]:
    """Standard output as an :class:`Output`."""
    before = sys.stdout
    sys.stdout = Output(before)
    try:
        yield
    finally:
        sys.stdout = before


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """While work of hours runs: an output that cannot be written to is said once, and does not end the work."""
    output = sys.stdout
    if not isinstance(output, Output):
        yield
        return
    output.forgiving = True
    try:
        yield
    finally:
        output.forgiving = False


def reader_left() -> bool:
    """Whether nobody reads standard output any more, as after ``| head``."""
    with contextlib.suppress(OSError, ValueError):  # not a real stream
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def discard_output() -> None:
    """Send what is still to be written to standard output nowhere: Python would complain of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
