"""What a run says of itself: a line of ``metrics.jsonl``, and its mirrors elsewhere."""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from adana import rules, schedules
from adana.files import append_to, naming, parse_json, read_bytes, write_text
from adana.models import DecoderConfig, flops_per_token
from adana.optim.base import FamilyOptimizer

__all__ = [
    "PEAKS",
    "JSONLines",
    "Mirrors",
    "Speed",
    "beta_and_alpha",
    "check_mirrors",
    "clock",
    "memory",
    "training_flops_per_token",
]

MOST_BYTES = 1 << 40
"""Bytes of a run's metrics: as long as it takes."""

# Dense bf16 peak of one device in FLOP/s, from the makers' data sheets, by a part of the name torch gives.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
}


def peak(device: torch.device) -> float | None:
    """Dense bf16 FLOP/s of a device, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for part, value in PEAKS.items() if part in name), None)


def training_flops_per_token(config: DecoderConfig, seq_len: int) -> int:
    """What model FLOPs utilisation counts: every matrix, the head's too, and attention over the whole square.

    ``6 (P + n_embd V) + 12 n_layer d_qkv seq_len``: the paper's 6N and the attention term of its M (Section E.3).
    """
    attention = flops_per_token(config, formula="M", seq_len=seq_len) - flops_per_token(config, formula="6P")
    return flops_per_token(config, formula="6N") + attention


def memory(device: torch.device) -> int:
    """Most bytes held so far: allocated on a GPU, resident in a CPU process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def clock(optimizer: torch.optim.Optimizer) -> dict[str, float | None]:
    """lambda, alpha and beta of the update just made, of the first group (the hidden matrices).

    Each is None where the rule has none: AdamW has no alpha. Of somebody else's optimizer nothing is known. alpha of
    the Star rules is that of a parameter whose gradients are never absent.
    """
    if not isinstance(optimizer, FamilyOptimizer):
        return {"lambda": None, "alpha": None, "beta": None}
    group = optimizer.param_groups[0]
    state = optimizer.state.get(group["params"][0], {})
    t = max(0.0, float(state["step"]) - 1) if "step" in state else 0.0
    name, form = group["rule"], group.get("form", "paper")
    beta, alpha = beta_and_alpha(rules.rule(name, form), group, t)
    decay = None
    if group.get("weight_decay", 0):
        decay = float(schedules.Decay.of(group).at(rules.decay_clock(t, form)))
    return {"lambda": decay, "alpha": alpha, "beta": beta}


def beta_and_alpha(rule: rules.Rule, group: Mapping[str, Any], t: float) -> tuple[float, float | None]:
    """What the momentum keeps of itself in update t, and its weight in the update, of a group's parameters.

    alpha is None where the rule has none; in the Star rules it is that of a parameter that has a gradient at every
    step.
    """
    s = rule.scalars(t, group)
    beta = float(s["retain"] if "retain" in s else 1 - s["weight"])
    alpha = rule.alpha(s, group, max(float(s.get("clock", 0.0)), 1.0)) if rule.alpha is not None else None
    return beta, None if alpha is None else float(alpha)


class Speed:
    """Tokens per second since the last time somebody asked.

    Args:
        tokens: trained on before.
    """

    def __init__(self, tokens: int = 0) -> None:
        self._then, self._tokens = time.perf_counter(), tokens

    def __call__(self, tokens: int) -> float:
        now = time.perf_counter()
        speed = (tokens - self._tokens) / max(now - self._then, 1e-9)
        self._then, self._tokens = now, tokens
        return speed

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is not training: an evaluation, a checkpoint."""
        began = time.perf_counter()
        yield
        self._then += time.perf_counter() - began


class JSONLines:
    """A file of one JSON object a line, taken up again at a step.

    Lines of steps that will be done again, and a last line that a killed process left unfinished, are dropped.

    Args:
        path: the file.
        step: updates done.
    """

    def __init__(self, path: Path, step: int) -> None:
        if path.exists():
            kept = []
            for line in read_bytes(path, most=MOST_BYTES).decode(errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    if parse_json(line)["step"] <= step:
                        kept.append(line + "\n")
            write_text(path, "".join(kept))
        self.path, self._file = path, append_to(path)

    def write(self, line: Mapping[str, Any]) -> None:
        with naming(self.path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


class Mirrors:
    """Copies of the metrics in TensorBoard, WandB or trackio; ``metrics.jsonl`` stays the truth.

    Args:
        names: which.
        folder: the run folder, whose name is the run's.
        recipe: what to show as the run's configuration.

    Raises:
        ValueError: one of them is not installed.
    """

    def __init__(self, names: Sequence[str], folder: Path, recipe: Mapping[str, Any]) -> None:
        check_mirrors(names)
        self._each: list[Any] = [_MIRRORS[name](folder, recipe) for name in names]

    def write(self, line: Mapping[str, Any]) -> None:
        step = line["step"]
        numbers = {key: value for key, value in line.items() if key != "step" and isinstance(value, (int, float))}
        for one in self._each:
            one.write(numbers, step)

    def close(self) -> None:
        for one in self._each:
            one.close()


class _TensorBoard:
    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("recipe", f"```\n{json.dumps(recipe, indent=1)}\n```")

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        import wandb

        # One id a folder, so that a run that goes on is one run there as well.
        self._run = wandb.init(project="adana", name=folder.name, id=folder.name, resume="allow", config=dict(recipe))

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(project="adana", name=folder.name, resume="allow", config=dict(recipe))

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        self._trackio.log(dict(numbers), step=step)

    def close(self) -> None:
        self._trackio.finish()


def check_mirrors(names: Sequence[str]) -> None:
    """Refuse mirrors that are not installed, before a run has a folder.

    Raises:
        ValueError: one of them is not.
    """
    for name in names:
        try:
            importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else name)
        except ImportError as error:
            raise ValueError(f"--log {name} needs a package ({error}): pip install 'adana[log]'") from None


_MIRRORS: dict[str, Any] = {"tensorboard": _TensorBoard, "wandb": _WandB, "trackio": _Trackio}
