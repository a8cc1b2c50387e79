"""What several commands do alike: names and places that they check, and how an experiment of many runs ends."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from adana.cli import Failed, Stopped, UsageError
from adana.cli.streams import going_on
from adana.cli.tables import say
from adana.cli.words import one_line
from adana.data.dataset import TokenDataset
from adana.files import Damaged, parse_json
from adana.lab.executors import RunLost
from adana.train.checkpoint import CorruptCheckpoint, SavingFailed
from adana.train.folder import InUse
from adana.train.recipe import RECIPES, Recipe, load_data, read_recipe

__all__ = [
    "FAILURES",
    "check_optimizer",
    "check_optimizers",
    "command_line",
    "completed",
    "cores",
    "experiment",
    "make_runs_folder",
    "named_recipe",
    "page_of",
    "pick_device",
    "read_corpus",
    "refusing",
    "value_of",
]


FAILURES = (CorruptCheckpoint, Damaged, InUse, RunLost, SavingFailed)
"""What goes wrong with good arguments: exit code 1."""


@contextlib.contextmanager
def refusing(what: str = "") -> Iterator[None]:
    """Refuse the arguments (exit code 2) where the package refuses what they say.

    A file that is damaged or may not be read is no fault of the arguments: exit code 1.

    Args:
        what: begins the message, such as an optimizer's name.
    """
    try:
        yield
    except FAILURES as error:
        raise Failed(one_line(error)) from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, TypeError) as error:
        raise UsageError(f"{what}: {one_line(error)}" if what else one_line(error)) from None


@contextlib.contextmanager
def experiment(console: Console, kept_in: Path) -> Iterator[None]:
    """The part of a command that runs many runs: how it ends where it does not end well.

    Args:
        console: where to say that it was interrupted.
        kept_in: folder of what is done.
    """
    try:
        with going_on():
            yield
    except KeyboardInterrupt:
        say(console, f"stopped; what is done is kept in {kept_in}. The same command goes on from here.", style="")
        raise Stopped from None
    except InUse as error:
        raise Failed(f"{error}: wait for it, or choose another folder with --out") from None
    except (*FAILURES, ValueError) as error:
        raise Failed(one_line(error)) from None


def page_of(extra: str, write: Callable[[], None]) -> str | None:
    """Write the page of an experiment, whose numbers are already kept.

    Args:
        extra: name of the extra that a page needs.
        write: writes it.

    Returns:
        Why there is none.
    """
    try:
        write()
    except ModuleNotFoundError as error:
        return f"no HTML page: {error.name} is not installed; pip install 'adana[{extra}]'"
    except (ValueError, OSError) as error:
        return f"no HTML page: {one_line(error)}"
    return None


def command_line(command: str, argv: Sequence[str]) -> str:
    return shlex.join(["adana", command, *argv])


def pick_device(asked: str | None) -> str:
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty((), device=asked)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {asked!r} cannot be used: {str(error).splitlines()[0]}") from None
    return asked


def check_optimizers(names: Sequence[str]) -> None:
    from adana.train.optimizers import optimizer_class

    with refusing():
        for name in names:
            optimizer_class(name)


def check_optimizer(name: str, lr: float, steps: int, options: dict[str, Any]) -> None:
    """Build the optimizer once, small, so that what it refuses is refused before the race starts."""
    from adana.train.optimizers import try_optimizer

    with refusing(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try_optimizer(name, lr=lr, total_steps=steps, options=dict(options))


def read_corpus(recipe: Recipe) -> TokenDataset:
    """A recipe's tokens, or a clean refusal."""
    with refusing():
        return load_data(recipe)


def make_runs_folder(corpus: TokenDataset, out: Path) -> Path:
    """The folder of a text's runs: runs of different texts must never be taken for one another."""
    runs = out / corpus.sha256[:8]
    made = [folder for folder in (runs, *runs.parents) if not os.path.exists(folder)]
    try:
        runs.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=runs).close()
    except OSError as error:
        for folder in made:
            if folder.is_dir():
                folder.rmdir()
        raise UsageError(f"cannot write to {runs}: {error.strerror}; choose another folder with --out") from None
    return runs


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def named_recipe(name: str) -> Recipe:
    """A recipe by its name, or from a recipe file or run folder."""
    if name in RECIPES:
        return RECIPES[name]()
    path = Path(name)
    if not os.path.exists(path):  # pathlib raises where a name is too long
        raise UsageError(f"no recipe {name!r}: choose from {', '.join(RECIPES)}, or name a recipe file or run folder")
    with refusing():
        return read_recipe(path)


def completed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """A recipe with its NAME=VALUE settings among the optimizer's options, and with paths that hold anywhere.

    Raises:
        ValueError: a setting that is not written so.
    """
    extra: dict[str, Any] = {}
    for text in settings:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"--set {text}: write NAME=VALUE, such as kappa=0.8")
        try:
            extra[name] = value_of(value)
        except ValueError as error:
            raise ValueError(f"--set {name}: {error}") from None
    return replace(
        recipe,
        options={**recipe.options, **extra},
        text=tuple(str(Path(path).resolve()) for path in recipe.text),
        data=None if recipe.data is None else str(Path(recipe.data).resolve()),
        init_from=None if recipe.init_from is None else str(Path(recipe.init_from).resolve()),
    )


def value_of(text: str) -> Any:
    """What was written for a value: JSON, or else the text itself.

    Raises:
        ValueError: JSON that is nested too deeply, or a number of too many digits.
    """
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        return text
