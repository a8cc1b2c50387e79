"""A run or a checkpoint of ``adana train``: its recipe, its data, and its model at every step that was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from adana.models.architectures import architecture
from adana.models.layers import Decoder
from adana.train import checkpoint as checkpoints
from adana.train.checkpoint_index import INDEX, Checkpoint
from adana.train.distributed import World
from adana.train.folder import CHECKPOINTS
from adana.train.recipe import Recipe, read_recipe
from adana.train.start import source_of

__all__ = ["Kept", "open_run"]


@dataclass(frozen=True)
class Kept:
    """A run and what it kept.

    Attributes:
        path: as it was named.
        recipe: of the run.
        folders: of its checkpoints by step, in order.
    """

    path: str
    recipe: Recipe
    folders: dict[int, Path]

    def model(self, step: int, *, device: str = "cpu") -> Decoder:
        """The model after so many steps, in evaluation mode; step 0 is where the run began.

        Raises:
            CorruptCheckpoint: a checkpoint is not whole.
            ValueError: no checkpoint of that step, or of another model.
        """
        model = architecture(self.recipe.arch).model(self.recipe.model_config(), seed=self.recipe.seed)
        found: Checkpoint | None
        if step == 0:
            found = source_of(self.recipe, World(torch.device("cpu")))
        elif step in self.folders:
            found = checkpoints.read(self.folders[step])
        else:
            raise ValueError(f"{self.path} has no checkpoint of step {step}: it has {_steps(list(self.folders))}")
        if found is not None:
            checkpoints.load(found, {f"model.{name}": p.detach() for name, p in model.named_parameters()})
        return model.to(device).eval()

    def chosen(self, steps: Sequence[int]) -> list[int]:
        """Step 0 and the checkpoints, or those that were asked for.

        Raises:
            ValueError: one that there is not.
        """
        have = [0, *self.folders]
        for step in steps:
            if step not in have:
                raise ValueError(f"{self.path} has no checkpoint of step {step}: it has {_steps(have)}")
        return sorted(set(steps)) if steps else have


def open_run(path: str) -> Kept:
    """The folder of a run, or of one of its checkpoints.

    Args:
        path: a run of adana train, or ``RUN/checkpoints/step-...``.

    Raises:
        CorruptCheckpoint: a checkpoint that is not whole.
        ValueError: neither of the two, or a run without checkpoints.
        OSError: a file cannot be read.
    """
    folder = Path(path)
    if (folder / INDEX).is_file():
        found = checkpoints.read(folder)
        try:
            recipe = Recipe.from_json(found.facts["recipe"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder / INDEX} holds no recipe of a run ({error})") from None
        return Kept(path, recipe, {found.step: folder})
    recipe = read_recipe(folder, to_run=False)
    folders = checkpoints.checkpoints(folder / CHECKPOINTS)
    if not folders:
        raise ValueError(
            f"{path} has no checkpoint: runs of adana race and sweep keep none, those of adana train do (--keep-every "
            "STEPS keeps those along the way)"
        )
    return Kept(path, recipe, folders)


def _steps(steps: Sequence[int]) -> str:
    return ", ".join(f"{step}" for step in steps)
