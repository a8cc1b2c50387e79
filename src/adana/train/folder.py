"""One run, one folder: ``run.json`` first, ``metrics.jsonl``, ``checkpoints/``, ``result.json`` last.

``run.json`` says what runs, ``result.json`` that it has ended; a lock keeps a second process out.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import adana
from adana import catalog, foreign
from adana.train import checkpoint
from adana.train.recipe import Recipe

__all__ = ["InUse", "Result", "claim", "locked", "read_result", "write_json"]

CHECKPOINTS = "checkpoints"


class InUse(ValueError):
    """Another process runs in the folder."""


@dataclass(frozen=True)
class Result:
    """What a finished run says.

    Attributes:
        final_loss: validation loss in nats a token at the last step; None if diverged.
        diverged_at: the step whose loss or gradient was not finite, or far above chance; None if none was.
        curve: (step, validation loss) pairs.
        train_curve: (step, training loss averaged since the point before) pairs.
        seconds: time spent training, over all its sittings.
        corpus_sha256: the text it was measured on.
        bits_per_byte: the final loss in a unit that tokenizers share.
        reason: what was not finite, and where; None unless diverged.
        skipped: steps without an update, by ``non_finite="skip"``.
    """

    final_loss: float | None
    diverged_at: int | None
    curve: list[tuple[int, float]]
    train_curve: list[tuple[int, float]]
    seconds: float
    corpus_sha256: str
    bits_per_byte: float | None = None
    reason: str | None = None
    skipped: int = 0


def write_json(path: Path, value: Any, **how: Any) -> None:
    """Write a JSON file whole or not at all; ``how`` is what :func:`json.dumps` takes."""
    text = json.dumps(value, **({"indent": 1} | how)) + "\n"
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError:  # a full disk, or a folder in the way
        temporary.unlink(missing_ok=True)
        raise


def read_result(folder: Path) -> Result | None:
    """The result of a finished run, or None.

    Raises:
        ValueError: the file is not what a run writes.
    """
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        return Result(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and the run is done again") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, which is made if missing; the lock ends with the process, however that ends.

    Raises:
        InUse: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InUse(f"{folder} is in use by another process ({file.read().strip() or 'unknown'})") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def claim(folder: Path, recipe: Recipe, command: str) -> None:
    """Write the recipe into a new folder, or check that it is the one the folder holds.

    An anytime run may be asked for more steps: what belongs to its cool-down moves to ``horizon-<steps>/``, and
    it goes on from where the learning rate was still constant, as if it had been asked for them from the start.

    Somebody else's optimizer is noted with the hash of its code and its package's version, and a run goes on with the
    code it was begun with alone.

    Raises:
        ValueError: the folder holds another recipe's run, or one of other code.
    """
    run = folder / "run.json"
    mine = recipe.to_json()
    code = foreign.code_of(recipe.optimizer) if catalog.find(recipe.optimizer).foreign else None
    if run.exists():
        found = json.loads(run.read_text())
        theirs = Recipe.from_json(found["recipe"])
        if code is not None and (before := found.get("optimizer_code", {}).get("sha256")) != code["sha256"]:
            raise ValueError(
                f"{folder} was begun with other code of {recipe.optimizer} (its module's sha256 was "
                f"{str(before)[:12]}, and is {str(code['sha256'])[:12]}): choose another folder, or put that code back"
            )
        if theirs.to_json() == mine:
            return
        differences = [name for name, value in theirs.to_json().items() if mine[name] != value]
        if not (recipe.anytime and differences == ["steps"]):
            raise ValueError(
                f"{folder} holds a run of another recipe: its "
                + ", ".join(f"{name} is {theirs.to_json()[name]!r}, not {mine[name]!r}" for name in differences[:3])
                + ("; ..." if len(differences) > 3 else "")
                + "; choose another folder"
            )
        if recipe.total_steps < theirs.total_steps:
            raise ValueError(f"{folder} holds a run of {theirs.total_steps} steps: it can be made longer, not shorter")
        _make_longer(folder, theirs)
    versions = {"adana": adana.__version__, "torch": torch.__version__, "python": platform.python_version()}
    about = {"recipe": mine, "seed": recipe.seed, "versions": versions, "command": command}
    write_json(run, about | ({} if code is None else {"optimizer_code": code}))


def _make_longer(folder: Path, old: Recipe) -> None:
    # Every move can be done again after a crash, and run.json, which follows, says the old horizon until the end.
    aside = folder / f"horizon-{old.total_steps}"
    found = checkpoint.checkpoints(folder / CHECKPOINTS)
    cooled = {step: path for step, path in found.items() if step > old.stable_steps}
    if (folder / "result.json").exists() or cooled:
        (aside / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for path in cooled.values():
            os.replace(path, aside / CHECKPOINTS / path.name)
        for name in ("metrics.jsonl", "run.json"):
            if (folder / name).exists() and not (aside / name).exists():
                shutil.copyfile(folder / name, aside / name)
        if (folder / "result.json").exists():
            os.replace(folder / "result.json", aside / "result.json")
