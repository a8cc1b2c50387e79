"""One run, one folder: ``run.json`` first, ``metrics.jsonl``, ``checkpoints/``, ``result.json`` last.

``run.json`` says what runs, and on which data; ``result.json`` that it has ended. Both are held against the run that is
asked for at every start.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import adana
from adana import catalog, foreign
from adana.data.dataset import TokenDataset
from adana.files import damaged, read_bytes, read_json, read_sealed, replacing, seal, sync, write_json, write_sealed
from adana.train import checkpoint
from adana.train.lock import InUse, locked
from adana.train.recipe import Recipe
from adana.typed import from_mapping

__all__ = [
    "InUse",
    "Result",
    "RunFile",
    "claim",
    "compare",
    "differences",
    "in_words",
    "locked",
    "other_data",
    "read_result",
    "read_run",
    "write_result",
]

CHECKPOINTS = "checkpoints"
RUN = "run.json"
RESULT = "result.json"
METRICS = "metrics.jsonl"

_RUN_AGAIN = "delete it, and the run is done again"
_WRITE_AGAIN = "delete it, and the command that made the run writes it again"


@dataclass(frozen=True)
class Result:
    """What a finished run says.

    Attributes:
        final_loss: validation loss in nats per token at the last step; None if diverged.
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

    def check(self) -> None:
        """Refuse what no run ends with.

        Raises:
            ValueError: the message shows the value.
        """
        for name in ("final_loss", "bits_per_byte"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, or null, got {value!r}")
        if (self.final_loss is None) == (self.diverged_at is None):
            raise ValueError(
                f"a run ends with final_loss or with diverged_at, got {self.final_loss} and {self.diverged_at}"
            )
        for name, least in (("diverged_at", 0), ("skipped", 0), ("seconds", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ValueError(f"{name} must be a number of at least {least}, got {value!r}")
        for name in ("curve", "train_curve"):
            steps = [step for step, _ in getattr(self, name)]
            if steps != sorted(set(steps)) or min(steps, default=1) < 1:
                raise ValueError(f"the steps of {name} must ascend from 1 or more")


@dataclass(frozen=True)
class RunFile:
    """What ``run.json`` holds.

    Attributes:
        recipe: as :meth:`~adana.train.recipe.Recipe.to_json` gives it.
        seed: the recipe's, for whoever reads the file.
        versions: of adana, torch and Python.
        command: what began the run.
        data_sha256: of the tokens that it began with; None where an earlier version wrote the file.
        optimizer_code: of somebody else's optimizer, the hash of its code and its package's version.
    """

    recipe: dict[str, Any]
    seed: int = 0
    versions: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    data_sha256: str | None = None
    optimizer_code: dict[str, Any] | None = None


def read_run(folder: Path) -> tuple[RunFile, Recipe] | None:
    """What a folder's ``run.json`` says, and the recipe in it; None where there is none.

    Raises:
        Damaged: the file is not what a run writes; the message names it.
        OSError: it cannot be read.
    """
    path = folder / RUN
    try:
        found = read_json(path, then=_WRITE_AGAIN)
    except FileNotFoundError:
        return None
    try:
        file = from_mapping(RunFile, found, what="a run")
        return file, Recipe.from_json(file.recipe)
    except ValueError as error:
        raise damaged(path, str(error), _WRITE_AGAIN) from None


def write_result(folder: Path, recipe: Recipe, result: Result) -> None:
    """Write ``result.json``, with a checksum and the hash of the recipe that it is the result of.

    Raises:
        OSError: it cannot be written.
    """
    write_sealed(folder / RESULT, {"recipe_sha256": _hash(recipe), **asdict(result)})


def read_result(folder: Path, recipe: Recipe | None = None) -> Result | None:
    """The result of a finished run, or None.

    Args:
        folder: of the run.
        recipe: what it must be the result of; None for the recipe of the folder's ``run.json``.

    Raises:
        Damaged: the file is not what a run writes, or belongs to another run; the message names it.
        OSError: it cannot be read.
    """
    path = folder / RESULT
    try:
        found = read_sealed(path, then=_RUN_AGAIN)
    except FileNotFoundError:
        return None
    if recipe is None:
        ran = read_run(folder)
        if ran is None:
            raise damaged(folder / RUN, "it is missing", _WRITE_AGAIN)
        recipe = ran[1]
    try:
        if found.pop("recipe_sha256", None) != _hash(recipe):
            raise ValueError("it is the result of another recipe")
        result = from_mapping(Result, found, what="a result")
        result.check()
    except ValueError as error:
        raise damaged(path, str(error), _RUN_AGAIN) from None
    return result


def _whole(recipe: Recipe) -> dict[str, Any]:
    return recipe.identity() | {"lr": recipe.lr, "seed": recipe.seed}


def _hash(recipe: Recipe) -> str:
    """Of all that is not a recipe's default, so that a field that a later version adds changes no old hash."""
    usual = _whole(Recipe())
    return seal({name: value for name, value in _whole(recipe).items() if value != usual[name]})


def differences(mine: Recipe, theirs: Recipe) -> dict[str, str]:
    """How a recipe differs from mine, by name, in words: "lr is 0.02, not 0.002"."""
    own, other = _whole(mine), _whole(theirs)
    return {name: f"{name} is {other[name]!r}, not {own[name]!r}" for name in own if own[name] != other[name]}


def in_words(differences: Mapping[str, str]) -> str:
    return ", ".join(list(differences.values())[:3]) + ("; ..." if len(differences) > 3 else "")


def compare(folder: Path, recipe: Recipe, data: TokenDataset) -> Recipe | None:
    """Hold a folder against the run that is to be done in it; nothing is written.

    Returns:
        The recipe of the shorter run that this one is to go on from, if it is an anytime run made longer.

    Raises:
        ValueError: the folder holds another recipe's run, or the data, or the code of somebody else's optimizer, is
            not what the run began with.
    """
    found = read_run(folder)
    if found is None:
        return None
    file, theirs = found
    unlike = differences(recipe, theirs)
    if unlike and not (recipe.anytime and list(unlike) == ["steps"]):
        raise ValueError(f"{folder} holds a run of another recipe: its {in_words(unlike)}; choose another folder")
    if file.data_sha256 not in (None, data.sha256):
        python = str(file.versions.get("python", ""))
        raise ValueError(other_data(str(folder), file.data_sha256, recipe, data, python))
    code, before = _code(recipe), (file.optimizer_code or {}).get("sha256")
    if code is not None and before != code["sha256"]:
        raise ValueError(
            f"{folder} was begun with other code of {recipe.optimizer} (its module's sha256 was {str(before)[:12]}, "
            f"and is {str(code['sha256'])[:12]}): choose another folder, or put that code back"
        )
    if not unlike:
        return None
    if recipe.total_steps < theirs.total_steps:
        raise ValueError(f"{folder} holds a run of {theirs.total_steps} steps: it can be made longer, not shorter")
    return theirs


def other_data(what: str, theirs: str | None, recipe: Recipe, data: TokenDataset, python: str = "") -> str:
    """That a run began with other data, in one line.

    Args:
        what: the folder or the checkpoint.
        theirs: the hash that it holds.
        recipe: of the run that is asked for.
        data: of the run that is asked for.
        python: version of the Python that it began with, where it is known.
    """
    began, now, back = "other data", data.name, "put the data back"
    if recipe.data is None and not recipe.text:
        began = f"the standard library of {f'Python {python}' if python else 'another Python'}"
        now, back = f"that of Python {platform.python_version()}", "use that Python"
    return (
        f"{what} began with {began} (sha256 {str(theirs)[:12]}), and {now} has {data.sha256[:12]}: {back} to go on, or "
        "choose another folder with --out to start anew"
    )


def claim(folder: Path, recipe: Recipe, command: str, data: TokenDataset, shorter: Recipe | None) -> None:
    """Write ``run.json`` where it does not say this run yet.

    An anytime run may be asked for more steps: what belongs to its cool-down moves to ``horizon-<steps>/``, and
    it goes on from where the learning rate was still constant, as if it had been asked for them from the start.

    Args:
        folder: held, and compared with the run by :func:`compare`.
        recipe: the run.
        command: what began it.
        data: its tokens.
        shorter: what :func:`compare` returned.
    """
    path = folder / RUN
    if shorter is not None:
        _make_longer(folder, shorter)
    found = read_run(folder)
    if found is None or shorter is not None or found[0].data_sha256 is None:
        versions = {"adana": adana.__version__, "torch": torch.__version__, "python": platform.python_version()}
        file = RunFile(recipe.to_json(), recipe.seed, versions, command, data.sha256, _code(recipe))
        write_json(path, {name: value for name, value in asdict(file).items() if value is not None})


def _code(recipe: Recipe) -> dict[str, Any] | None:
    return foreign.code_of(recipe.optimizer) if catalog.find(recipe.optimizer).foreign else None


def _make_longer(folder: Path, old: Recipe) -> None:
    # Every move can be done again after a crash, and run.json, which follows, says the old horizon until the end.
    aside = folder / f"horizon-{old.total_steps}"
    found = checkpoint.checkpoints(folder / CHECKPOINTS)
    cooled = {step: path for step, path in found.items() if step > old.stable_steps}
    if (folder / RESULT).exists() or cooled:
        (aside / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for path in cooled.values():
            os.replace(path, aside / CHECKPOINTS / path.name)
        for name in (METRICS, RUN):
            if (folder / name).exists() and not (aside / name).exists():
                with replacing(aside / name) as file:
                    file.write(read_bytes(folder / name, most=1 << 40))
        if (folder / RESULT).exists():
            os.replace(folder / RESULT, aside / RESULT)
        for changed in (folder / CHECKPOINTS, aside / CHECKPOINTS, aside, folder):
            if changed.exists():
                sync(changed)
