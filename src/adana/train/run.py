"""Train one model by one recipe, in one folder.

The folder holds ``run.json`` (the recipe; written first), ``metrics.jsonl``, ``checkpoint.pt`` and
``result.json`` (written last; its absence means unfinished). Every file is written whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import adana
from adana import schedules
from adana.data import text
from adana.models.enoki import Enoki, EnokiConfig
from adana.train.optimizers import build_optimizer

__all__ = ["Interrupted", "Progress", "Recipe", "Result", "load_corpus", "read_result", "train"]

CLIP_NORM = 0.5


@dataclass(frozen=True)
class Recipe:
    """All that decides a run's numbers.

    Attributes:
        optimizer: a name of ``adana.train.optimizers.OPTIMIZERS``.
        lr: peak learning rate.
        options: further keywords of the optimizer.
        heads: Enoki's heads of 64 dimensions.
        layers: transformer blocks; None means ``floor(3 heads/4)``.
        seq_len: tokens a sequence.
        batch_size: sequences a step.
        steps: horizon T, the optimizer's and the schedule's.
        seed: of the initial weights and of the data order.
        text: files to train on; empty means the standard library.
        evaluations: validation losses along the way, the final one included.
    """

    optimizer: str
    lr: float
    options: dict[str, Any] = field(default_factory=dict)
    heads: int = 2
    layers: int | None = None
    seq_len: int = 256
    batch_size: int = 4
    steps: int = 1500
    seed: int = 0
    text: tuple[str, ...] = ()
    evaluations: int = 8

    def model_config(self) -> EnokiConfig:
        return EnokiConfig(self.heads, self.layers, vocab_size=text.VOCABULARY)

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_size * self.seq_len

    @property
    def flops(self) -> float:
        """Training compute as the paper counts it: 6 times tokens times (P + n_embd V) (Table 1)."""
        config = self.model_config()
        return 6.0 * self.tokens * (config.non_embedding_parameters + config.width * config.vocab_size)


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
    """

    final_loss: float | None
    diverged_at: int | None
    curve: list[tuple[int, float]]
    train_curve: list[tuple[int, float]]
    seconds: float
    corpus_sha256: str


@dataclass(frozen=True)
class Progress:
    """Where a run stands: ``step`` updates done of ``steps``, the latest losses, and its speed."""

    step: int
    steps: int
    train_loss: float
    validation_loss: float | None
    tokens_per_second: float


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is in its folder."""


def load_corpus(recipe: Recipe) -> text.Corpus:
    """The recipe's text.

    Raises:
        ValueError: the text is too short for one batch or one validation window.
    """
    corpus = text.text_files(recipe.text) if recipe.text else text.standard_library()
    need = recipe.seq_len + 1
    for part, tokens in (("training", corpus.train), ("held-out", corpus.held_out)):
        if len(tokens) < need:
            raise ValueError(
                f"the text is too short: its {part} part has {len(tokens):,} bytes and one sequence of "
                f"seq_len={recipe.seq_len} needs {need:,}; pass more text or a smaller --seq-len"
            )
    return corpus


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)


def read_result(folder: Path) -> Result | None:
    """The result of a finished run, or None."""
    path = folder / "result.json"
    if not path.exists():
        return None
    return Result(**json.loads(path.read_text()))


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Run a recipe to its end, from its checkpoint where there is one.

    Follows Section F.2: linear warm-up over 2 % of the steps, cosine to a tenth, gradients clipped to a
    global norm of 0.5, weight decay off embeddings and norms, bf16 autocast on a GPU.

    Args:
        recipe: what to run.
        folder: where its files go; made if missing.
        device: torch device.
        report: called after every step.
        should_stop: asked after every step; True saves a checkpoint and raises :class:`Interrupted`.

    Raises:
        Interrupted: it was asked to stop.
        ValueError: the text is too short, or the folder holds another recipe's run.
    """
    done = read_result(folder)
    if done is not None:
        return done
    corpus = load_corpus(recipe)
    _claim(folder, recipe)

    model = Enoki(recipe.model_config(), seed=recipe.seed).to(device)
    optimizer = build_optimizer(
        recipe.optimizer, model, lr=recipe.lr, total_steps=recipe.steps, options=dict(recipe.options)
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    validation = torch.from_numpy(text.validation_windows(corpus.held_out, seq_len=recipe.seq_len)).to(device)

    step, curve, train_curve, seconds = 0, [], [], 0.0
    losses: list[float] = []
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, curve, train_curve = saved["step"], saved["curve"], saved["train_curve"]
        losses, seconds = saved["losses"], saved["seconds"]

    started, first = time.perf_counter(), step

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "curve": curve,
            "train_curve": train_curve,
            "losses": losses,
            "seconds": seconds + time.perf_counter() - started,
        }
        temporary = checkpoint.with_name(f"checkpoint.{os.getpid()}.tmp")
        torch.save(state, temporary)
        os.replace(temporary, checkpoint)

    def finish(final_loss: float | None, diverged_at: int | None) -> Result:
        result = Result(
            final_loss, diverged_at, curve, train_curve, seconds + time.perf_counter() - started, corpus.sha256
        )
        write_json(folder / "result.json", asdict(result))
        checkpoint.unlink(missing_ok=True)
        return result

    chance = math.log(text.VOCABULARY)
    every = max(1, recipe.steps // recipe.evaluations)
    with (folder / "metrics.jsonl").open("a") as metrics:
        while step < recipe.steps:
            for group, peak in zip(optimizer.param_groups, peaks):
                group["lr"] = peak * schedules.gamma(step, recipe.steps)
            windows = text.batch(
                corpus.train,
                step=step,
                seed=recipe.seed,
                batch_size=recipe.batch_size,
                seq_len=recipe.seq_len,
            )
            loss = _loss(model, torch.from_numpy(windows).to(device))
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            value = float(loss.detach())
            if not (math.isfinite(value) and math.isfinite(float(norm))) or value > 2 * chance:
                metrics.write(json.dumps({"step": step, "loss": repr(value), "diverged": True}) + "\n")
                return finish(None, step)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            losses.append(value)
            if step % every == 0 or step == recipe.steps:
                validation_loss = _evaluate(model, validation, recipe.batch_size)
                curve.append((step, validation_loss))
                train_curve.append((step, sum(losses) / len(losses)))
                losses.clear()
                line = {"step": step, "tokens": step * recipe.batch_size * recipe.seq_len}
                metrics.write(
                    json.dumps(line | {"loss": train_curve[-1][1], "validation_loss": validation_loss}) + "\n"
                )
                metrics.flush()
                if not math.isfinite(validation_loss):
                    return finish(None, step)
            speed = (step - first) * recipe.batch_size * recipe.seq_len / (time.perf_counter() - started)
            report(Progress(step, recipe.steps, value, curve[-1][1] if curve else None, speed))
            if step < recipe.steps and should_stop():
                save()
                raise Interrupted
    return finish(curve[-1][1], None)


def _claim(folder: Path, recipe: Recipe) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "run.json"
    mine = json.loads(json.dumps(asdict(recipe)))
    if run.exists():
        if json.loads(run.read_text())["recipe"] != mine:
            raise ValueError(f"{folder} holds a run of another recipe: choose another folder")
        return
    versions = {"adana": adana.__version__, "torch": torch.__version__, "python": platform.python_version()}
    write_json(run, {"recipe": mine, "versions": versions})


def _loss(model: Enoki, windows: torch.Tensor) -> torch.Tensor:
    device = windows.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu"):
        logits = model(windows[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def _evaluate(model: Enoki, windows: torch.Tensor, batch_size: int) -> float:
    """Mean loss over the fixed windows; summed in float64 so that the batch size does not matter."""
    total = 0.0
    for chunk in windows.split(max(1, batch_size)):
        total += float(_loss(model, chunk)) * len(chunk)
    return total / len(windows)
