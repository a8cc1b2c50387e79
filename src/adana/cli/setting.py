"""The options that ``race`` and ``sweep`` share, and the checks made before anything is written."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from adana.cli import UsageError
from adana.data.dataset import TokenDataset
from adana.train.recipe import Recipe, load_data

__all__ = [
    "Setting",
    "check_optimizer",
    "check_optimizers",
    "check_setting",
    "command_line",
    "parse",
    "pick_device",
    "prepare",
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
    from adana.train.optimizers import OPTIMIZERS

    for name in names:
        if name not in OPTIMIZERS:
            raise UsageError(f"unknown optimizer {name!r}: choose from {', '.join(OPTIMIZERS)}")


def check_optimizer(name: str, lr: float, steps: int, options: dict[str, Any]) -> None:
    """Build the optimizer once, small, so that what it refuses is refused before the race starts."""
    import torch

    from adana.train.optimizers import build_optimizer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            build_optimizer(name, torch.nn.Linear(2, 2), lr=lr, total_steps=steps, options=dict(options))
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
    try:
        corpus = load_data(recipe)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    # Runs of different texts must never be taken for one another.
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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return recipe, corpus, runs, setting.workers or cores
