"""The loop of one run: model, data and files, and steps until it has ended, diverged or was asked to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adana.data.dataset import TokenDataset, bits_per_byte
from adana.train.checkpoint import Saver
from adana.train.checkpoint_index import Checkpoint
from adana.train.diagnostics import diagnose
from adana.train.distributed import RunningModel, World
from adana.train.folder import CHECKPOINTS, METRICS, Result, write_result
from adana.train.lock import Lock
from adana.train.memory import micro_batches
from adana.train.metrics import JSONLines, Mirrors, Speed, clock, memory, peak, training_flops_per_token
from adana.train.recipe import Execution, Recipe
from adana.train.start import make_optimizer
from adana.train.state import State, packed, restore

__all__ = ["Interrupted", "Loop", "Progress"]

MOST_SKIPPED = 20  # in a row: weights that are not finite themselves would be skipped for ever


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: updates done.
        steps: of so many.
        train_loss: of the latest step.
        validation_loss: the latest, None before the first.
        tokens_per_second: since this sitting began.
        metrics: the line just written to ``metrics.jsonl``, None where there was none.
    """

    step: int
    steps: int
    train_loss: float
    validation_loss: float | None
    tokens_per_second: float
    metrics: dict[str, Any] | None = None


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is in its folder."""


class Loop:
    """A run under way.

    Args:
        recipe: what to run.
        folder: where its files go.
        execution: how to run it.
        world: the processes it runs on.
        data: its tokens.
    """

    def __init__(self, recipe: Recipe, folder: Path, execution: Execution, world: World, data: TokenDataset) -> None:
        self.recipe, self.folder, self.execution, self.world, self.data = recipe, folder, execution, world, data
        self.rows, self.micro_batches = micro_batches(recipe, execution, world.ranks)
        self.steps = recipe.total_steps
        self.config = recipe.model_config()
        self.batches = data.batches(
            batch_size=recipe.batch_size, seq_len=recipe.seq_len, seed=recipe.seed, order=recipe.order
        )
        windows = data.validation_windows(seq_len=recipe.seq_len, tokens=recipe.validation_tokens)
        self.validation = torch.from_numpy(windows).to(world.device)
        on_gpu = world.device.type == "cuda"
        compiled = execution.compile if execution.compile is not None else on_gpu
        self.model = RunningModel(self.config, recipe.seed, world, compile=compiled)
        self.parameters = {name: p for name, p in self.model.model.named_parameters() if p.requires_grad}
        self.balance = recipe.balance if recipe.experts is not None else None
        self.state = State()
        self.saver = Saver(
            folder / CHECKPOINTS,
            keep_last=execution.keep_last,
            keep_every=execution.keep_every,
            asynchronous=execution.asynchronous if execution.asynchronous is not None else on_gpu,
            group=world.saving,
            first=world.first,
        )
        self.device_peak = peak(world.device)
        self.flops_per_token = training_flops_per_token(self.config, recipe.seq_len)
        self.started = time.perf_counter()
        self.lock: Lock | None = None
        self.metrics: JSONLines | None = None
        self.diagnostics: JSONLines | None = None
        self.mirrors = Mirrors((), folder, {})

    def start(self, source: Checkpoint | None, found: Checkpoint | None) -> None:
        """Make the optimizer, and take up the run's own checkpoint where there is one.

        Args:
            source: the checkpoint of another run whose weights to start from.
            found: the run's own.
        """
        self.optimizer = make_optimizer(self.recipe, self.model, self.parameters, source, self.world)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        if found is not None:
            self.state = restore(found, self.parameters, self.optimizer, self.world)
            self.saver.last = found.step

    def open(self, lock: Lock | None) -> None:
        """Open the files that it writes: on the first rank, whose lock it is, and nowhere else."""
        if not self.world.first:
            return
        self.lock = lock
        self.saver.clear()
        self.metrics = JSONLines(self.folder / METRICS, self.state.step)
        if self.execution.diagnostics_every is not None:
            self.diagnostics = JSONLines(self.folder / "diagnostics.jsonl", self.state.step)
        self.mirrors = Mirrors(self.execution.log, self.folder, self.recipe.to_json())

    def close(self) -> None:
        for file in (self.metrics, self.diagnostics, self.mirrors):
            if file is not None:
                file.close()

    # --- the loop -------------------------------------------------------------------------------------

    def to_the_end(self, report: Callable[[Progress], None], should_stop: Callable[[], bool]) -> Result:
        recipe, execution, state, world = self.recipe, self.execution, self.state, self.world
        self.started, first = time.perf_counter(), state.step
        every = max(1, self.steps // recipe.evaluations)
        chance, in_a_row = math.log(self.config.vocab_size), 0
        speed = Speed(first * recipe.tokens_per_step)
        while state.step < self.steps:
            factor = recipe.gamma(state.step)
            for group, top in zip(self.optimizer.param_groups, self.peaks):
                group["lr"] = top * factor
            loss, stop = self._backward(should_stop)
            norm = self.model.norm()
            reason = self._not_finite(loss, norm)
            in_a_row = in_a_row + 1 if reason else 0
            hopeless = execution.non_finite == "stop" or in_a_row > MOST_SKIPPED
            if (reason and hopeless) or loss > 2 * chance:
                reason = reason or f"the loss of {loss:.4g} is far above chance ({chance:.4g})"
                self._write({"step": state.step, "loss": repr(loss), "diverged": True, "reason": reason})
                return self._finish(None, state.step, reason)
            if reason:
                state.skipped += 1
                self._write({"step": state.step, "skipped": True, "loss": repr(loss), "reason": reason})
            else:
                self.model.clip(recipe.clip_norm)
                self.optimizer.step()
                state.losses.append(loss)
                state.logged.append(loss)
            self.optimizer.zero_grad()
            state.step += 1
            step = state.step

            line: dict[str, Any] | None = None
            ends = step == self.steps
            evaluates = ends or step % every == 0
            logs = evaluates or (execution.log_every is not None and step % execution.log_every == 0)
            if logs:
                line = self._line(factor, norm, speed)
            if evaluates:
                with speed.paused():
                    value = self._evaluate()
                state.curve.append((step, value))
                if state.losses:
                    state.train_curve.append((step, sum(state.losses) / len(state.losses)))
                state.losses.clear()
                assert line is not None
                line["validation_loss"] = value
                line["validation_bits_per_byte"] = bits_per_byte(value, self.data.bytes_per_token)
            if line is not None:
                self._write(line)
                if evaluates and not math.isfinite(line["validation_loss"]):
                    return self._finish(None, step, f"the validation loss is {line['validation_loss']}")
            if execution.diagnostics_every is not None and step % execution.diagnostics_every == 0:
                found = diagnose(self.optimizer, world)
                if self.diagnostics is not None:
                    self.diagnostics.write({"step": step, **found})
            if world.first:
                done = (step - first) * recipe.tokens_per_step / (time.perf_counter() - self.started)
                latest = state.curve[-1][1] if state.curve else None
                report(Progress(step, self.steps, loss, latest, done, line))
            if ends:
                break
            stop = stop or (world.ranks == 1 and should_stop())
            stable = recipe.anytime and step == recipe.stable_steps
            if stop or stable or (execution.save_every is not None and step % execution.save_every == 0):
                with speed.paused():
                    self._save(keep=stable)
            if stop:
                self.saver.wait()
                raise Interrupted
        return self._finish(state.curve[-1][1], None, None)

    def _backward(self, should_stop: Callable[[], bool]) -> tuple[float, bool]:
        """Gradients of one step's loss; that loss over all ranks, and whether any rank was asked to stop."""
        share = 0.0
        for i in range(self.micro_batches):
            windows = self.batches.batch(
                self.state.step,
                rank=self.world.rank,
                ranks=self.world.ranks,
                micro_batch=i,
                micro_batches=self.micro_batches,
            )
            with self.model.accumulating(last=i == self.micro_batches - 1):
                loss, objective = self._loss(torch.from_numpy(windows).to(self.world.device), self.balance)
                (objective / self.micro_batches if self.micro_batches > 1 else objective).backward()
            share += float(loss.detach())
        share /= self.micro_batches
        if self.world.ranks == 1:
            return share, False
        total, stops = self.world.total([share, float(should_stop())])
        return total / self.world.ranks, stops > 0

    def _not_finite(self, loss: float, norm: float) -> str | None:
        """What is not finite, and where, if anything is."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if math.isfinite(norm):
            return None
        where = [name for name, p in self.parameters.items() if p.grad is not None and not _finite(p.grad)]
        return f"the gradient norm is {norm}" + (f" (in {', '.join(where[:3])})" if where else "")

    def _loss(self, windows: Tensor, balance: float | None = None) -> tuple[Tensor, Tensor]:
        """Cross-entropy in float32, and what gradients are taken of."""
        kind = self.world.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind != "cpu"):
            if balance is None:
                logits = self.model(windows[:, :-1])
            else:
                logits, balance_loss = self.model(windows[:, :-1], balance_loss=True)
        loss = F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
        return loss, loss if balance is None else loss + balance * balance_loss

    @torch.no_grad()
    def _evaluate(self) -> float:
        """Mean loss over the fixed windows; summed in float64 so that neither batch size nor ranks matter."""
        ranks, rank = self.world.ranks, self.world.rank
        mine = self.validation[rank::ranks]
        total = 0.0
        for first in range(0, -(-len(self.validation) // ranks), self.rows):
            chunk = mine[first : first + self.rows]
            # Shards are gathered by all ranks together: one that has run out looks at a window and does not count it.
            loss, _ = self._loss(chunk if len(chunk) else self.validation[:1])
            total += float(loss) * len(chunk)
        return self.world.total([total])[0] / len(self.validation)

    # --- what it writes -------------------------------------------------------------------------------

    def _line(self, factor: float, norm: float, speed: Speed) -> dict[str, Any]:
        state, recipe = self.state, self.recipe
        tokens = state.step * recipe.tokens_per_step
        rate = speed(tokens)
        line: dict[str, Any] = {"step": state.step, "tokens": tokens}
        line["loss"] = sum(state.logged) / len(state.logged) if state.logged else None
        state.logged.clear()
        line |= {"lr": self.optimizer.param_groups[0]["lr"], "gamma": factor, **clock(self.optimizer)}
        line |= {"grad_norm": norm if math.isfinite(norm) else None, "tokens_per_second": rate}
        if self.device_peak is not None:
            line["mfu"] = rate * self.flops_per_token / (self.device_peak * self.world.ranks)
        return line | {"memory": memory(self.world.device), "seconds": self._seconds()}

    def _write(self, line: dict[str, Any]) -> None:
        if self.metrics is not None:
            self._check_folder()
            self.metrics.write(line)
            self.mirrors.write(line)

    def _seconds(self) -> float:
        return self.state.seconds + time.perf_counter() - self.started

    def _check_folder(self) -> None:
        """A folder that was removed takes everything with it, and writing into it would fail nowhere."""
        if self.lock is not None:
            self.lock.check()

    def _save(self, *, keep: bool = False) -> None:
        self.world.once(self._check_folder)
        state = replace(self.state, seconds=self._seconds())
        tensors, facts = packed(self.recipe, state, self.parameters, self.optimizer, self.data, self.world)
        self.saver.save(state.step, tensors, facts, keep=keep)

    def _finish(self, final_loss: float | None, diverged_at: int | None, reason: str | None) -> Result:
        state = self.state
        if self.execution.keep_final and diverged_at is None and self.saver.last != state.step:
            self._save()
        self.saver.wait()
        result = Result(
            final_loss,
            diverged_at,
            state.curve,
            state.train_curve,
            self._seconds(),
            self.data.sha256,
            None if final_loss is None else bits_per_byte(final_loss, self.data.bytes_per_token),
            reason,
            state.skipped,
        )

        def write() -> None:
            self._check_folder()
            write_result(self.folder, self.recipe, result)
            if not self.execution.keep_final:  # now that nothing hangs on them
                self.saver.remove_all()

        self.world.once(write)
        return result


def _finite(grad: Tensor) -> bool:
    local = grad.to_local() if hasattr(grad, "to_local") else grad
    return bool(torch.isfinite(local).all())
