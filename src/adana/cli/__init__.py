"""The ``adana`` command: one file for each subcommand, loaded only when it is called."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from adana import TORCH, foreign
from adana.cli.streams import discard_output, named_output, open_standard_streams, reader_left

__all__ = ["Failed", "Stopped", "UsageError", "main"]

COMMANDS = {
    "race": "race AdamW against ADana and its family on real text, and say who needed less compute",
    "train": "train one model from a recipe; goes on where it was stopped; also under torchrun",
    "data": "tokenize text into shards, and inspect them",
    "sweep": "search learning rates by the paper's rule, over grids of options; here, on Ray or on SLURM",
    "ladder": "small sizes searched, laws fitted, the next size planned, run and compared with the prediction",
    "theory": "problems in which everything can be computed: simulation beside prediction",
    "fit": "fit laws of learning rate, loss and damping, and compute multipliers, to finished runs",
    "report": "one page of finished runs that opens offline: curves, fits, multipliers, sweeps, seeds",
    "plan": "from a size to a whole run: learning rate, steps, compute, loss, memory, each with its equation",
    "inspect": "the Hilberg exponent of a text; spectra and noise of a run, and what its optimizer does",
    "sample": "text from a run",
    "export": "a run as a folder that transformers loads, its logits compared",
    "export-optimizer": "print an optimizer as one file that needs nothing but torch",
    "completion": "have your shell complete commands and options",
    "doctor": "what is installed, which fast paths are on, and how a model's parameters are grouped",
}


class UsageError(Exception):
    """Bad arguments: shown as one line, exit code 2."""


class Failed(Exception):
    """The arguments are good, but what they ask for could not be done: shown as one line, exit code 1."""


class Stopped(Exception):
    """Interrupted, which has been said: exit code 130."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        The exit code: 0 done, 1 failed (a file that cannot be read or written, a run that diverged, too little
        memory), 2 bad arguments (a file that does not exist among them), 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    open_standard_streams()
    with named_output(), _warnings_in_one_line(name):
        try:
            try:
                return _run(name, arguments)
            finally:  # here, where an error is still ours, and not when Python ends
                sys.stdout.flush()
        except BrokenPipeError as error:
            if not reader_left():
                return _failed(name, error)
            discard_output()
            return 1
        except UsageError as error:
            _say(name, f"error: {error}")
            return 2
        except Stopped:
            return 130
        except KeyboardInterrupt:  # before the command had anything to keep, or once too often for it
            _say(name, "interrupted")
            return 130
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name == "torch":
                error = Failed(f"PyTorch is not installed: {TORCH}")
            if not _is_known(error):
                raise
            return _failed(name, error)


def _run(name: str, arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: adana COMMAND [OPTIONS]   (adana COMMAND --help for its options)\n")
        for command, summary in COMMANDS.items():
            print(f"  {command:{max(map(len, COMMANDS))}} {summary}")
        return 0
    if arguments[0] == "--version":
        from adana import __version__

        print(f"adana {__version__}")
        return 0
    if not name:
        raise UsageError(f"unknown command {arguments[0]!r}: choose from {', '.join(COMMANDS)}")
    for before, word in itertools.pairwise(arguments):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            where = word if word.strip() else f"the word after {before}"
            raise UsageError(f"{where} is empty: is a variable of your shell not set?")
    _import_architectures(arguments)
    for word in re.findall(r"[\w.]+:[\w.]+", " ".join(arguments)):
        foreign.allow(word)
    code: int = importlib.import_module(f"adana.cli.{name.replace('-', '_')}").run(arguments[1:])
    return code


def _import_architectures(arguments: Sequence[str]) -> None:
    """Import each ``--arch package.module:NAME``: what is written here, never what a recipe or a table names."""
    following = [after for word, after in itertools.pairwise(arguments) if word == "--arch"]
    joined = [word.removeprefix("--arch=") for word in arguments if word.startswith("--arch=")]
    for name in following + joined:
        if ":" in name:
            from adana.models.architectures import load

            try:
                load(name)
            except ValueError as error:
                raise UsageError(" ".join(str(error).split())) from None


def _is_known(error: Exception) -> bool:
    """Whether an error is the world's doing and not a fault of the package, which keeps its traceback."""
    from adana.files import Damaged

    known = (Failed, Damaged, OSError, MemoryError, OverflowError, RecursionError)
    return isinstance(error, known) or (isinstance(error, RuntimeError) and "allocate" in str(error))


def _failed(name: str, error: Exception) -> int:
    from adana.cli.words import one_line

    discard = isinstance(error, OSError) and error.filename == "standard output"
    _say(name, f"error: {one_line(error)}")
    if discard:
        discard_output()
    return 1


def _say(name: str, line: str) -> None:
    print(_line(name, line), file=sys.stderr)


def _line(name: str, line: str) -> str:
    from adana.cli.words import plain

    return f"{' '.join(('adana', name)).strip()}: {plain(line)}"


@contextlib.contextmanager
def _warnings_in_one_line(name: str) -> Iterator[None]:
    """Show warnings that are for the user without the line of our source that they come from."""
    before = warnings.formatwarning

    def shown(message: Warning | str, category: type[Warning], *where: Any) -> str:
        if category is UserWarning:
            return _line(name, f"warning: {message}") + "\n"
        return before(message, category, *where)

    warnings.formatwarning = shown  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before
