"""The ``adana`` command: one file a subcommand, loaded only when it is called."""

from __future__ import annotations

import importlib
import itertools
import os
import select
import sys
from collections.abc import Sequence

__all__ = ["UsageError", "main"]

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
}


class UsageError(Exception):
    """Bad arguments: shown as one line, exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code (0 done, 1 failed, 2 bad arguments, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: adana COMMAND [OPTIONS]   (adana COMMAND --help for its options)\n")
        for name, summary in COMMANDS.items():
            print(f"  {name:8} {summary}")
        return 0
    name = arguments[0]
    if name == "--version":
        from adana import __version__

        print(f"adana {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"adana: error: unknown command {name!r}: choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        _import_architectures(arguments)
        command = importlib.import_module(f"adana.cli.{name}")
        code: int = command.run(arguments[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if _reader_left():
            return 1
        raise
    except UsageError as error:
        print(f"adana {name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the command had anything to keep, or once too often for it
        print(f"adana {name}: interrupted", file=sys.stderr)
        return 130


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


def _reader_left() -> bool:
    """Whether nobody reads standard output any more, as after ``| head``; then nothing more goes there."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    left = any(event & select.POLLERR for _, event in poll.poll(0))
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it ends
    return left
