"""Text that is not ours, and errors, as one line that a terminal can show."""

from __future__ import annotations

import os

from adana.tables import printable

__all__ = ["one_line", "plain", "shortened"]

LINE = 2000
"""Characters of one line of an error: more than any path has that can be opened in one piece."""


def plain(text: str) -> str:
    r"""A text in one line of bounded length, with what would command a terminal made visible.

    >>> plain("a\x1b[31m\nb")
    'a\\x1b[31m b'
    """
    return printable(shortened(" ".join(text.split()), LINE))


def shortened(text: str, most: int = 60) -> str:
    """A text without its middle, where it is long.

    >>> shortened("9" * 400, 12)
    '9999...99999'
    """
    if len(text) <= most:
        return text
    return f"{text[: (most - 3) // 2]}...{text[len(text) - (most - 2) // 2 :]}"


def one_line(error: BaseException) -> str:
    """An error's message in one line; one of reading or writing begins with the file's name.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "runs.csv"))
    'runs.csv: No such file or directory'
    >>> one_line(MemoryError())
    'out of memory'
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)
        return f"{shortened(name, 300)}: {error.strerror}"
    kinds = {MemoryError: "out of memory", RecursionError: "nested too deeply", OverflowError: "a number is too large"}
    for kind, words in kinds.items():
        if isinstance(error, kind):
            return f"{words}: {text}" if text else words
    return text or type(error).__name__
