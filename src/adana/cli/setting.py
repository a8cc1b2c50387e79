"""What commands that run recipes share: options, and the checks made before anything is written."""

from __future__ import annotations

import json
import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from adana.cli import UsageError
from adana.data.dataset import TokenDataset
from adana.train.recipe import RECIPES, Recipe, load_data, read_recipe

__all__ = [
    "Setting",
    "check_optimizer",
    "check_optimizers",
    "check_setting",
    "command_line",
    "completed",
    "cores",
    "make_runs_folder",
    "named_recipe",
    "one_line",
    "parse",
    "pick_device",
    "prepare",
    "read_corpus",
    "value_of",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """Model, data and budget."""

    heads: int = 2
    """Attention heads of 64 dimensions each; the width is 64 times this."""
    layers: int | None = None
    """Transformer blocks; default floor(3 heads / 4)."""
    seq_len: int = 256
    """Bytes a sequence."""
    batch_size: int = 4
    """Sequences a step."""
    steps: int = 1500
    """Optimizer steps: the budget, and the horizon of every schedule."""
    text: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Text files to train on (the last 5 % of each is held out); default the Python standard library."""
    workers: int | None = None
    """Runs at a time; default one a core (one in all on a GPU)."""
    device: str | None = None
    """Torch device; default a GPU where there is one, else the CPU."""


def parse(kind: type[T], command: str, description: str, argv: Sequence[str]) -> T:
    """Parse options with tyro; its own errors end the program with exit code 2."""
    return tyro.cli(kind, args=list(argv), prog=f"adana {command}", description=description)


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

    for name in names:
        try:
            optimizer_class(name)
        except ValueError as error:
            raise UsageError(str(error)) from None


def check_optimizer(name: str, lr: float, steps: int, options: dict[str, Any]) -> None:
    """Build the optimizer once, small, so that what it refuses is refused before the race starts."""
    from adana.train.optimizers import try_optimizer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try_optimizer(name, lr=lr, total_steps=steps, options=dict(options))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name}: {error}") from None


def check_setting(setting: Setting) -> None:
    """Refuse sizes that cannot be."""
    for name in ("heads", "seq_len", "batch_size", "steps"):
        if getattr(setting, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(setting, name)}")
    if setting.layers is not None and setting.layers < 1:
        raise UsageError(f"--layers must be at least 1, got {setting.layers}")
    if setting.workers is not None and setting.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {setting.workers}")


def prepare(setting: Setting, out: Path) -> tuple[Recipe, TokenDataset, Path, int]:
    """Read a setting's text and make its folder.

    Returns:
        A recipe of the setting (its optimizer is a placeholder), the corpus, the folder of this text's
        runs, and the number of workers.
    """
    recipe = Recipe(
        "adamw",
        1.0,
        heads=setting.heads,
        layers=setting.layers,
        seq_len=setting.seq_len,
        batch_size=setting.batch_size,
        steps=setting.steps,
        text=tuple(str(Path(path).resolve()) for path in setting.text),
    )
    corpus = read_corpus(recipe)
    return recipe, corpus, make_runs_folder(corpus, out), setting.workers or cores()


def read_corpus(recipe: Recipe) -> TokenDataset:
    """A recipe's tokens, or a clean refusal."""
    try:
        return load_data(recipe)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def make_runs_folder(corpus: TokenDataset, out: Path) -> Path:
    """The folder of a text's runs: runs of different texts must never be taken for one another."""
    runs = out / corpus.sha256[:8]
    made = [folder for folder in (runs, *runs.parents) if not folder.exists()]
    try:
        runs.mkdir(parents=True, exist_ok=True)
        probe = runs / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
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
    if not path.exists():
        raise UsageError(f"no recipe {name!r}: choose from {', '.join(RECIPES)}, or name a recipe file or run folder")
    try:
        return read_recipe(path)
    except OSError as error:
        raise UsageError(one_line(error)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None


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
        extra[name] = value_of(value)
    return replace(
        recipe,
        options={**recipe.options, **extra},
        text=tuple(str(Path(path).resolve()) for path in recipe.text),
        data=None if recipe.data is None else str(Path(recipe.data).resolve()),
        init_from=None if recipe.init_from is None else str(Path(recipe.init_from).resolve()),
    )


def value_of(text: str) -> Any:
    """What was written for a value: JSON, or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def one_line(error: Exception) -> str:
    """An error's message in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
