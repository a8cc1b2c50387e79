"""Options of a command from its command line, by tyro; what tyro refuses becomes one line."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tyro

from adana.cli import UsageError
from adana.cli.examples import shown
from adana.cli.help import plain_help
from adana.cli.words import shortened

__all__ = ["Asked", "asked_only", "parse"]

T = TypeVar("T")


class Asked(Exception):
    """What :func:`parse` was asked within :func:`asked_only`.

    Attributes:
        kind: dataclass of the options, or a union.
        default: options that are not given.
    """

    def __init__(self, kind: Any, default: Any) -> None:
        super().__init__("only asked")
        self.kind = kind
        self.default = default


_only_asked = contextvars.ContextVar("_only_asked", default=False)


@contextlib.contextmanager
def asked_only() -> Iterator[None]:
    """Have :func:`parse` raise what it was asked: that is how a command's options are known without running it."""
    before = _only_asked.set(True)
    try:
        yield
    finally:
        _only_asked.reset(before)


def parse(
    kind: type[T],
    command: str,
    description: str,
    argv: Sequence[str],
    *,
    default: T | None = None,
    config: Sequence[Any] = (),
) -> T:
    """Options of a command.

    Args:
        kind: dataclass of the options, or a union of those of its subcommands.
        command: its name in the usage line, such as "train RECIPE".
        description: what its help begins with.
        argv: the words behind the name.
        default: options that are not given.
        config: tyro's markers.

    Raises:
        UsageError: an option that does not exist, a value of the wrong kind, or an option without its value.
        SystemExit: help was asked for and printed.
    """
    if _only_asked.get():
        raise Asked(kind, default)
    known: dict[str, Any] = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _unbroken(argv):
            found: T = tyro.cli(
                kind, args=list(argv), prog=f"adana {command}", description=description, config=tuple(config), **known
            )
    except SystemExit as stopped:
        if stopped.code in (0, None):
            print(shown(command.split()[0]), end="")
            raise
        raise UsageError(in_one_line(said.getvalue(), argv)) from None
    except (ValueError, OverflowError) as error:  # such as a number of more digits than Python reads
        raise UsageError(str(error)) from None
    _refuse_nothing(found, argv)
    return found


@contextlib.contextmanager
def _unbroken(argv: Sequence[str]) -> Iterator[None]:
    """Have tyro's errors in whole lines; help keeps the width of the terminal, and is in plain words."""
    if {"-h", "--help"} & set(argv):
        with plain_help():
            yield
        return
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def _refuse_nothing(options: Any, argv: Sequence[str]) -> None:
    """Refuse an option of several values that was given none: it would silently be as if it were not there."""
    given = {word.replace("_", "-") for word in argv}
    for field in dataclasses.fields(options) if dataclasses.is_dataclass(options) else ():
        value = getattr(options, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        if value == () and flag in given:
            raise UsageError(f"{flag} has no values: give it one or more, or leave it out")
        if dataclasses.is_dataclass(value):
            _refuse_nothing(value, argv)


# --- tyro's errors --------------------------------------------------------------------------------------

QUOTES = "(',)"  # tyro 1.0 shows the tuple of an option's names
KINDS = {"INT": "a whole number", "FLOAT": "a number", "STR": "a word", "PATH": "a path"}


def in_one_line(said: str, argv: Sequence[str]) -> str:
    """What tyro wrote in a box, as the option, its value and what is allowed."""
    sections = _sections(said)
    message = " ".join(sections[0]) if sections else ""
    usage = next((lines[1] for lines in sections[1:] if len(lines) > 1), "")  # such as --heads INT
    if found := re.match(r"Error parsing (\S+): (.*)", message):
        names, why = found.groups()
        value = _value(names.split("/"), argv)
        takes = _takes(usage.removeprefix(usage.split(" ")[0]).strip() if usage.startswith("-") else usage)
        return f"{names} takes {takes}, got {value}" if value and takes else f"{names}: {shortened(why, 200)}"
    if found := re.match(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)", message):
        value, name, choices = found.groups()
        names = re.findall(r"'([^']*)'", choices)
        if "None" in names:  # names or nothing, which tyro has in no order
            names = sorted(one for one in names if one != "None")
        allowed = _or(names)
        return f"{name} takes {allowed}, got {shortened(value)}"
    if found := re.match(r"Missing value for argument '(.*?)'\. ", message):
        return f"{found[1].strip(QUOTES)} needs a value"
    if found := re.match(r"Unrecognized options: (.*)", message):
        word = found[1].split(", ")[0]
        if not word.startswith("-"):
            return f"{shortened(word)} is not expected here"
        near = re.match(r"--[\w-]+", usage)
        return f"unknown option {shortened(word)}" + (f": do you mean {near[0]}?" if near else "")
    if re.match(r"Missing from ", message):
        missing = [line for line in sections[0] if line.startswith("-")]
        name, _, metavar = (missing or [message])[0].partition(" ")
        return f"{name} is missing: it takes {_takes(metavar)}"
    if found := re.match(r"Expected one of \{(.*?)\}", message):
        return f"name a subcommand: {_or(found[1].split(', '))}"
    return shortened(message, 500) or "these arguments cannot be read"


def _sections(said: str) -> list[list[str]]:
    """The lines below the title, in the parts that rules make of them. Without UTF-8 the box has no sides."""
    sections: list[list[str]] = [[]]
    for line in said.strip().splitlines()[1:]:
        inner = line.strip().strip("│|").strip()
        if re.fullmatch("[─-]+", inner):
            sections.append([])
        elif inner and not inner.startswith("╰"):
            sections[-1].append(inner)
    return [section for section in sections if section]


def _value(names: Sequence[str], argv: Sequence[str]) -> str:
    """The words that were given behind an option."""
    for i, word in enumerate(argv):
        name, separator, value = word.partition("=")
        if name.replace("_", "-") in names:
            rest = [value] if separator else list(argv[i + 1 :])
            ends = [n for n, one in enumerate(rest) if re.match(r"--?[A-Za-z]", one)]
            return shortened(" ".join(rest[: ends[0]] if ends else rest))
    return ""


def _takes(metavar: str) -> str:
    """What an option's placeholder stands for, in words."""
    if found := re.fullmatch(r"\[(.+) \[\1 \.\.\.\]\]", metavar):
        return f"one or more of {_takes(found[1])}" if found[1] not in KINDS else f"{KINDS[found[1]][2:]}s"
    parts = [part for one in re.findall(r"\{[^}]*\}|[^|{}]+", metavar) for part in one.strip("{} ").split(",")]
    return _or([KINDS.get(part, part) for part in parts if part])


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
