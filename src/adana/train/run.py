"""Train one model by one recipe, in one folder; stopped at any point, the same call goes on exactly.

:func:`train` is the whole of it: first everything that can be refused, then the folder, then the loop. A README in this
folder has the picture of its parts.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from adana.data.dataset import TokenDataset
from adana.files import remove_leftovers
from adana.train import checkpoint as checkpoints
from adana.train.checkpoint_index import Checkpoint
from adana.train.distributed import World, join
from adana.train.folder import CHECKPOINTS, RESULT, RUN, Result, claim, compare, other_data, read_result
from adana.train.lock import Lock, locked
from adana.train.loop import Interrupted, Loop, Progress
from adana.train.memory import check_memory, micro_batches
from adana.train.metrics import check_mirrors
from adana.train.optimizers import try_optimizer
from adana.train.recipe import Execution, Recipe, load_data
from adana.train.start import source_of
from adana.train.state import check_own

__all__ = ["Execution", "Interrupted", "Progress", "Recipe", "Result", "check", "read_result", "train"]


def train(
    recipe: Recipe,
    folder: Path,
    *,
    execution: Execution | None = None,
    command: str = "",
    data_sha256: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Run a recipe to its end, from its newest checkpoint where there is one.

    Follows Section F.2: linear warm-up over 2 % of the steps, cosine to a tenth, gradients clipped to a
    global norm of 0.5, weight decay off embeddings and norms, bf16 autocast on a GPU over float32 weights.

    Args:
        recipe: what to run; its learning rate must be given.
        folder: where its files go; made if missing.
        execution: how to run it.
        command: noted in ``run.json``.
        data_sha256: hash that its tokens must have; None for whatever the recipe names.
        report: called after every step, on the first rank.
        should_stop: asked after every step, on every rank; True from any saves a checkpoint and raises
            :class:`Interrupted` on all.

    Raises:
        Interrupted: it was asked to stop.
        InUse: another process runs in the folder.
        CorruptCheckpoint: the newest checkpoint is not whole, or not of this run.
        SavingFailed: a checkpoint could not be written; those before it are whole.
        ValueError: an impossible value, unfit data, too little memory, or a folder that holds another recipe's run or
            one on other data. Nothing is left of a folder that was not there before.
        OSError: a file cannot be read or written, or the folder was removed while the run was under way.
    """
    execution = execution or Execution()
    _check_values(recipe, execution)
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(join(execution.device, execution.parallel))
        held: list[Lock] = []
        world.once(lambda: held.append(stack.enter_context(locked(folder, keep=RUN))))
        data = _check_all(recipe, execution, world)
        if data_sha256 not in (None, data.sha256):
            raise ValueError(other_data(str(folder), data_sha256, recipe, data))
        shorter, done = world.once(lambda: _compared(folder, recipe, execution, data))
        if done is not None:
            return done

        def own() -> Checkpoint | None:
            return checkpoints.read_newest(
                folder / CHECKPOINTS,
                use_previous=execution.use_previous,
                most=None if shorter is None else shorter.stable_steps,
                accept=lambda found: check_own(found, recipe, data),
            )

        found = world.once(own)
        loop = Loop(recipe, folder, execution, world, data)
        loop.start(source_of(recipe, world) if found is None else None, found)
        world.once(lambda: claim(folder, recipe, command, data, shorter))
        stack.callback(loop.close)
        loop.open(held[0] if held else None)
        return loop.to_the_end(report, should_stop)


def check(recipe: Recipe, execution: Execution | None = None) -> None:
    """Refuse whatever :func:`train` would refuse, whichever its folder; nothing is written.

    Raises:
        TooLarge: too little memory, and nothing else to refuse but what its checkpoint might be.
        ValueError: an impossible value, unfit data, or a device that cannot be used.
        OSError: a file cannot be read.
    """
    execution = execution or Execution()
    _check_values(recipe, execution)
    with join(execution.device, execution.parallel) as world:
        _check_all(recipe, execution, world)
        source_of(recipe, world)


def _check_values(recipe: Recipe, execution: Execution) -> None:
    execution.check()
    recipe.check()
    if recipe.lr is None:
        raise ValueError("the recipe has no learning rate: give it one (lr=...)")


def _check_all(recipe: Recipe, execution: Execution, world: World) -> TokenDataset:
    """What can be refused before a model is built; the data, which is part of it."""
    assert recipe.lr is not None
    rows, _ = micro_batches(recipe, execution, world.ranks)
    world.once(lambda: check_mirrors(execution.log))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # the optimizer itself will warn
        warnings.simplefilter("ignore")
        try_optimizer(recipe.optimizer, lr=recipe.lr, options=recipe.optimizer_options())
    if world.ranks == 1:
        data = load_data(recipe)
        check_memory(recipe, rows, world)
        return data

    def verify() -> None:
        load_data(recipe)
        check_memory(recipe, rows, world)

    world.once(verify)  # checksums read everything: once is enough, and one rank's refusal is everybody's
    return load_data(recipe, verify=False)


def _compared(
    folder: Path, recipe: Recipe, execution: Execution, data: TokenDataset
) -> tuple[Recipe | None, Result | None]:
    """The shorter anytime run that the folder holds, and the result where this run has ended."""
    remove_leftovers(folder)
    shorter = compare(folder, recipe, data)
    done = read_result(folder, recipe) if shorter is None else None
    if done is not None and done.corpus_sha256 != data.sha256:
        raise ValueError(other_data(f"{folder / RESULT}", done.corpus_sha256, recipe, data))
    if done is not None and done.diverged_at is not None and execution.non_finite == "skip":
        (folder / RESULT).unlink()
        return None, None
    if done is not None:
        saver = checkpoints.Saver(folder / CHECKPOINTS, keep_last=execution.keep_last, keep_every=execution.keep_every)
        saver.clear() if execution.keep_final else saver.remove_all()
    return shorter, done
