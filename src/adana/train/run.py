"""Train one model by one recipe, in one folder; stopped at any point, the same call goes on exactly.

The loop, from top to bottom: the layout (one process or many), the folder and its lock, data, model and optimizer,
the state of a checkpoint where there is one, and then steps. Everything that needs explaining lives next door:
:mod:`~adana.train.recipe`, :mod:`~adana.train.distributed`, :mod:`~adana.train.checkpoint`,
:mod:`~adana.train.folder`, :mod:`~adana.train.metrics`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adana import catalog
from adana.data.dataset import TokenDataset, bits_per_byte
from adana.optim.base import FamilyOptimizer
from adana.optim.convert import from_adamw
from adana.optim.groups import param_groups
from adana.train import checkpoint as checkpoints
from adana.train import foreign_state
from adana.train.checkpoint import Checkpoint, Saver
from adana.train.diagnostics import diagnose
from adana.train.distributed import Layout, RunningModel, join
from adana.train.folder import CHECKPOINTS, Result, claim, locked, read_result, write_json
from adana.train.metrics import JSONLines, Mirrors, Speed, clock, memory, peak, training_flops_per_token
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Execution, Recipe, load_data

__all__ = ["Execution", "Interrupted", "Progress", "Recipe", "Result", "read_result", "train"]

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


@dataclass
class _State:
    """What a checkpoint holds beside tensors."""

    step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    train_curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # since the last evaluation
    logged: list[float] = field(default_factory=list)  # since the last line
    seconds: float = 0.0
    skipped: int = 0


def train(
    recipe: Recipe,
    folder: Path,
    *,
    execution: Execution | None = None,
    command: str = "",
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
        report: called after every step, on the first rank.
        should_stop: asked after every step, on every rank; True from any saves a checkpoint and raises
            :class:`Interrupted` on all.

    Raises:
        Interrupted: it was asked to stop.
        InUse: another process runs in the folder.
        CorruptCheckpoint: the newest checkpoint is not whole.
        SavingFailed: a checkpoint could not be written; those before it are whole.
        ValueError: an impossible value, unfit data, or a folder that holds another recipe's run.
    """
    execution = execution or Execution()
    execution.check()
    recipe.check()
    if recipe.lr is None:
        raise ValueError("the recipe has no learning rate: give it one (lr=...)")
    with contextlib.ExitStack() as stack:
        layout = stack.enter_context(join(execution.device, execution.parallel))
        _parts(recipe, execution, layout)

        def enter() -> Result | None:
            stack.enter_context(locked(folder))
            claim(folder, recipe, command)
            done = read_result(folder)
            if done is not None and done.diverged_at is not None and execution.non_finite == "skip":
                (folder / "result.json").unlink()
                return None
            return done

        done = layout.once(enter)
        if done is not None:
            return done
        run = _Run(recipe, folder, execution, layout, _open(recipe, layout))
        stack.callback(run.close)
        return run.to_the_end(report, should_stop)


def _parts(recipe: Recipe, execution: Execution, layout: Layout) -> tuple[int, int]:
    """Sequences a rank takes at a time, and how many times in a step."""
    share, rest = divmod(recipe.batch_size, layout.ranks)
    if rest or not share:
        raise ValueError(f"a batch of {recipe.batch_size} sequences cannot be shared equally by {layout.ranks} ranks")
    rows = execution.micro_batch_size or share
    if share % rows:
        raise ValueError(
            f"{share} sequences a rank and step cannot be taken {rows} at a time: choose a micro_batch_size that "
            f"divides {share}"
        )
    return rows, share // rows


def _open(recipe: Recipe, layout: Layout) -> TokenDataset:
    if layout.ranks == 1:
        return load_data(recipe)

    def verify() -> None:
        load_data(recipe)

    layout.once(verify)  # checksums read everything: once is enough, and one rank's refusal is everybody's
    return load_data(recipe, verify=False)


class _Run:
    """A run that has its folder: model, optimizer, files, and the loop over them."""

    def __init__(self, recipe: Recipe, folder: Path, execution: Execution, layout: Layout, data: TokenDataset) -> None:
        assert recipe.lr is not None
        self.recipe, self.folder, self.execution, self.layout, self.data = recipe, folder, execution, layout, data
        self.rows, self.micro_batches = _parts(recipe, execution, layout)
        self.steps = recipe.total_steps
        self.config = recipe.model_config()
        self.batches = data.batches(
            batch_size=recipe.batch_size, seq_len=recipe.seq_len, seed=recipe.seed, order=recipe.order
        )
        windows = data.validation_windows(seq_len=recipe.seq_len, tokens=recipe.validation_tokens)
        self.validation = torch.from_numpy(windows).to(layout.device)
        on_gpu = layout.device.type == "cuda"
        compiled = execution.compile if execution.compile is not None else on_gpu
        self.model = RunningModel(self.config, recipe.seed, layout, compile=compiled)
        self.parameters = {name: p for name, p in self.model.model.named_parameters() if p.requires_grad}
        self.balance = recipe.balance if recipe.experts is not None else None
        self.state = _State()
        self.saver = Saver(
            folder / CHECKPOINTS,
            keep_last=execution.keep_last,
            keep_every=execution.keep_every,
            asynchronous=execution.asynchronous if execution.asynchronous is not None else on_gpu,
            group=layout.saving,
            first=layout.first,
        )
        root, use_previous = folder / CHECKPOINTS, execution.use_previous
        found = layout.once(lambda: checkpoints.read_newest(root, use_previous=use_previous))
        self.optimizer = self._optimizer(None if found is not None or recipe.init_from is None else self._source())
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        if found is not None:
            self._resume(found)
        self.started = time.perf_counter()
        self.metrics: JSONLines | None = None
        self.diagnostics: JSONLines | None = None
        self.mirrors = Mirrors((), folder, {})
        if layout.first:
            self.metrics = JSONLines(folder / "metrics.jsonl", self.state.step)
            if execution.diagnostics_every is not None:
                self.diagnostics = JSONLines(folder / "diagnostics.jsonl", self.state.step)
            self.mirrors = Mirrors(execution.log, folder, recipe.to_json())
        self.device_peak = peak(layout.device)
        self.flops_per_token = training_flops_per_token(self.config, recipe.seq_len)

    def close(self) -> None:
        for file in (self.metrics, self.diagnostics, self.mirrors):
            if file is not None:
                file.close()

    # --- where it starts ------------------------------------------------------------------------------

    def _optimizer(self, source: Checkpoint | None) -> torch.optim.Optimizer:
        recipe = self.recipe
        assert recipe.lr is not None
        if source is not None:
            self._load(source, {f"model.{name}": p.detach() for name, p in self.parameters.items()})
        if source is None or recipe.init_optimizer == "fresh":
            return build_optimizer(recipe.optimizer, self.model.model, lr=recipe.lr, options=recipe.optimizer_options())
        return self._from_adamw(source)

    def _source(self) -> Checkpoint:
        path = Path(self.recipe.init_from or "")
        root = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path

        def find() -> Checkpoint:
            if root.is_dir() and checkpoints.checkpoints(root):
                newest = checkpoints.read_newest(root)
                assert newest is not None
                return newest
            return checkpoints.read(root)

        return self.layout.once(find)

    def _from_adamw(self, source: Checkpoint) -> torch.optim.Optimizer:
        """ADana with AdamW's averages and clocks; its schedules go on at AdamW's step."""
        recipe = self.recipe
        betas = source.facts.get("groups", [{}])[0].get("betas")
        known = catalog.find(recipe.optimizer).goes_on_from
        if betas is None or source.facts["recipe"]["optimizer"] not in known:
            raise ValueError(
                f"init_optimizer='from-adamw': {source.path} was made by {source.facts['recipe']['optimizer']!r}; "
                f"use a checkpoint of {' or '.join(known)}, or init_optimizer='fresh'"
            )
        options = {"total_steps": None, **recipe.optimizer_options()}
        total_steps = (options.pop("total_steps") or self.steps) + source.step
        omega = options.pop("weight_decay", 4.0)
        groups, tensors = [], {}
        states: dict[int, dict[str, Tensor]] = {}
        names = {id(p): name for name, p in self.parameters.items()}
        for group in param_groups(self.model.model, weight_decay=omega):
            keys = []
            for p in group["params"]:
                key = len(states)
                states[key] = _allocate(source, names[id(p)], p)
                tensors.update({f"optimizer.{names[id(p)]}.{name}": x for name, x in states[key].items()})
                keys.append(key)
            groups.append({**group, **options, "params": keys, "lr": recipe.lr, "betas": tuple(betas)})
        self._load(source, tensors)
        params = [p for group in param_groups(self.model.model) for p in group["params"]]
        optimizer = from_adamw(
            {"state": states, "param_groups": groups},
            params=params,
            total_steps=total_steps,
            lr=recipe.lr,
            weight_decay=omega,
            peak_lr=recipe.lr,
        )
        if recipe.anytime:
            for group in optimizer.param_groups:
                group["total_steps"] = None
        return optimizer

    def _resume(self, found: Checkpoint) -> None:
        tensors = {f"model.{name}": p.detach() for name, p in self.parameters.items()}
        packed = found.facts.get("optimizer")
        if packed is not None:
            params = [p for group in self.optimizer.param_groups for p in group["params"]]
            tensors |= foreign_state.room(packed, found.tensors, params)
        else:
            for name, p in self.parameters.items():
                state = _allocate(found, name, p)
                self.optimizer.state[p] = state
                tensors.update({f"optimizer.{name}.{key}": x for key, x in state.items()})
        generators = {name: torch.zeros(x.shape, dtype=x.dtype) for name, x in self._generators().items()}
        tensors.update({name: x for name, x in generators.items() if name in found.tensors})
        self._load(found, tensors)
        if packed is not None:
            foreign_state.unpack(self.optimizer, packed, tensors)
        for group, saved in zip(self.optimizer.param_groups, found.facts.get("groups", ())):
            group.update({name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()})
        for name, x in generators.items():
            if name in tensors:
                torch.set_rng_state(x) if name.endswith("cpu") else torch.cuda.set_rng_state(x, self.layout.device)
        self.state = _State(**found.facts["state"])
        self.saver.last = found.step

    def _load(self, source: Checkpoint, tensors: dict[str, Tensor]) -> None:
        checkpoints.load(source, tensors, group=self.layout.saving)

    def _generators(self) -> dict[str, Tensor]:
        found = {f"rng.{self.layout.rank}.cpu": torch.get_rng_state()}
        if self.layout.device.type == "cuda":
            found[f"rng.{self.layout.rank}.cuda"] = torch.cuda.get_rng_state(self.layout.device)
        return found

    # --- the loop -------------------------------------------------------------------------------------

    def to_the_end(self, report: Callable[[Progress], None], should_stop: Callable[[], bool]) -> Result:
        recipe, execution, state, layout = self.recipe, self.execution, self.state, self.layout
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
                found = diagnose(self.optimizer, layout)
                if self.diagnostics is not None:
                    self.diagnostics.write({"step": step, **found})
            if layout.first:
                done = (step - first) * recipe.tokens_per_step / (time.perf_counter() - self.started)
                latest = state.curve[-1][1] if state.curve else None
                report(Progress(step, self.steps, loss, latest, done, line))
            if ends:
                break
            stop = stop or (layout.ranks == 1 and should_stop())
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
                rank=self.layout.rank,
                ranks=self.layout.ranks,
                micro_batch=i,
                micro_batches=self.micro_batches,
            )
            with self.model.accumulating(last=i == self.micro_batches - 1):
                loss, objective = self._loss(torch.from_numpy(windows).to(self.layout.device), self.balance)
                (objective / self.micro_batches if self.micro_batches > 1 else objective).backward()
            share += float(loss.detach())
        share /= self.micro_batches
        if self.layout.ranks == 1:
            return share, False
        total, stops = self.layout.total([share, float(should_stop())])
        return total / self.layout.ranks, stops > 0

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
        kind = self.layout.device.type
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
        ranks, rank = self.layout.ranks, self.layout.rank
        mine = self.validation[rank::ranks]
        total = 0.0
        for first in range(0, -(-len(self.validation) // ranks), self.rows):
            chunk = mine[first : first + self.rows]
            # Shards are gathered by all ranks together: one that has run out looks at a window and does not count it.
            loss, _ = self._loss(chunk if len(chunk) else self.validation[:1])
            total += float(loss) * len(chunk)
        return self.layout.total([total])[0] / len(self.validation)

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
            line["mfu"] = rate * self.flops_per_token / (self.device_peak * self.layout.ranks)
        return line | {"memory": memory(self.layout.device), "seconds": self._seconds()}

    def _write(self, line: dict[str, Any]) -> None:
        if self.metrics is not None:
            self.metrics.write(line)
            self.mirrors.write(line)

    def _seconds(self) -> float:
        return self.state.seconds + time.perf_counter() - self.started

    def _save(self, *, keep: bool = False) -> None:
        tensors = {f"model.{name}": p.detach() for name, p in self.parameters.items()}
        own: dict[str, Any]
        if isinstance(self.optimizer, FamilyOptimizer):
            for name, p in self.parameters.items():
                for key, value in self.optimizer.state.get(p, {}).items():
                    tensors[f"optimizer.{name}.{key}"] = value
            groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
            own = {"groups": groups}
        else:
            theirs, packed = foreign_state.pack(self.optimizer)
            tensors |= theirs
            own = {"optimizer": packed}
        tensors |= self._generators()
        facts = {
            "recipe": self.recipe.to_json(),
            "state": asdict(replace(self.state, seconds=self._seconds())),
            **own,
            "tokens": self.state.step * self.recipe.tokens_per_step,
            "ranks": self.layout.ranks,
        }
        self.saver.save(self.state.step, tensors, facts, keep=keep)

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
            if not self.execution.keep_final:
                self.saver.remove_all()
            write_json(self.folder / "result.json", asdict(result))

        self.layout.once(write)
        return result


def _finite(grad: Tensor) -> bool:
    local = grad.to_local() if hasattr(grad, "to_local") else grad
    return bool(torch.isfinite(local).all())


def _allocate(source: Checkpoint, name: str, p: Tensor) -> dict[str, Tensor]:
    """Room for a parameter's optimizer state as a checkpoint has it: laid out as the parameter is here."""
    prefix = f"optimizer.{name}."
    state = {}
    for full, spec in source.tensors.items():
        if full.startswith(prefix):
            key = full.removeprefix(prefix)
            alike = key != "step" and spec.shape == tuple(p.shape)
            state[key] = (
                torch.zeros_like(p.detach(), dtype=spec.dtype) if alike else torch.zeros(spec.shape, dtype=spec.dtype)
            )
    return state
