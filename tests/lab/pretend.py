"""An executor that trains nothing: every run ends at once, with the loss that known laws give it."""

from __future__ import annotations

import json
import math
from concurrent.futures import Future
from pathlib import Path

from adana.lab.executors import run_name
from adana.scaling.laws import PETAFLOP_HOUR, LearningRateLaw, LossLaw
from adana.train.folder import Result, read_result, write_result
from adana.train.recipe import Recipe

LR = {"adamw-dw": LearningRateLaw(2.0, 0.0, -0.5), "adana": LearningRateLaw(1.0, 0.0, -0.55)}
LOSS = {"adamw-dw": LossLaw(0.5, 0.30, 0.08), "adana": LossLaw(0.5, 0.28, 0.08)}
CURVATURE = 0.1
COSTS = {"betas": {0.99: 0.0, 0.95: 0.02, 0.999: 0.05}, "weight_decay": {4.0: 0.0, 1.0: 0.03}}


class Pretend:
    """Stops after ``runs`` runs, as if somebody had pressed Ctrl-C."""

    def __init__(self, root: Path, *, runs: float = math.inf, diverges: object = None, **others: object) -> None:
        self.root, self.left, self.diverges, self.submitted = root, runs, diverges, []
        self.workers = 1

    def submit(self, recipe: Recipe) -> Future[Result | None]:
        future: Future[Result | None] = Future()
        folder = self.root / run_name(recipe)
        done = read_result(folder) if folder.exists() else None
        if done is None and self.left > 0:
            self.left -= 1
            self.submitted.append(recipe)
            loss = None if callable(self.diverges) and self.diverges(recipe) else _loss(recipe)
            done = Result(loss, None if loss else 7, [], [], 1.0, "text")
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps({"recipe": recipe.to_json()}))
            write_result(folder, recipe, done)
        future.set_result(done)
        return future

    def stop(self) -> None:
        self.left = 0

    def __enter__(self) -> Pretend:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _loss(recipe: Recipe) -> float:
    assert recipe.lr is not None
    best = LR[recipe.optimizer](recipe.model_config().non_embedding_parameters)
    loss = LOSS[recipe.optimizer](recipe.flops / PETAFLOP_HOUR) + CURVATURE * math.log(recipe.lr / best) ** 2
    if "betas" in recipe.options:
        loss += COSTS["betas"][recipe.options["betas"][1]]
    loss += COSTS["weight_decay"][recipe.options.get("weight_decay", 4.0)]
    return loss + 0.001 * math.sin(7 * recipe.seed + recipe.heads)
