"""What storing the averages in 16 bits costs: a table of errors, two training problems, a figure.

    python benchmarks/precision.py table             errors after 20,000 and 200,000 steps (an hour on one core)
    python benchmarks/precision.py plrf              least squares on power-law features, 50,000 steps
    python benchmarks/precision.py race              the race's default model over 5,000 steps (runs/precision)
    python benchmarks/precision.py figure            docs/precision.svg from the results of the above

Each prints its table (``--json``: the raw numbers), and ``--out`` writes them to a file. All but the figure
go on where they were stopped, from ``runs/precision``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import adana
from adana.optim import storage

RUNS = Path("runs/precision")
DELTA = 8.0


@contextlib.contextmanager
def rounding_to_nearest() -> Iterator[None]:
    """Averages stored as naive code stores them: what the package itself never does."""
    with mock.patch.object(storage, "Bits", lambda randomness: storage.to_nearest):
        yield


def naive(fmt: str) -> tuple[str | None, contextlib.AbstractContextManager[None]]:
    """The ``state_dtype`` of a format's name here, and how it rounds."""
    dtype = {"float32": None, "bfloat16-nearest": "bfloat16"}.get(fmt, fmt)
    return dtype, rounding_to_nearest() if fmt.endswith("-nearest") else contextlib.nullcontext()


# --- the race -----------------------------------------------------------------------------------------

RACE_FORMATS = ("float32", "int16", "bfloat16", "bfloat16-nearest")


def race(steps: int, seeds: int, formats: tuple[str, ...] = RACE_FORMATS) -> list[dict[str, Any]]:
    """ADana on the race's default model and text, its averages stored in each format."""
    from adana.train.run import Recipe, train

    stop = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.append(True))
    rows = []
    for seed in range(seeds):
        for fmt in formats:
            state_dtype, how = naive(fmt)
            options = {"weight_decay": 1.0, "state_dtype": state_dtype}
            recipe = Recipe("adana", 0.00125, options, steps=steps, seed=seed)
            with how:
                result = train(recipe, RUNS / f"race-{steps}-{fmt}-{seed}", should_stop=lambda: bool(stop))
            rows.append({"format": fmt, "seed": seed, "steps": steps, "final_loss": result.final_loss,
                         "curve": result.curve})  # fmt: skip
            print(f"{fmt:18} seed {seed}  {result.final_loss}", flush=True)
    return rows


# --- the table ----------------------------------------------------------------------------------------


def _linear(x: Tensor, levels: int, bits: Tensor) -> Tensor:
    """Blocks stored as ``levels`` equal steps of their largest magnitude, stochastically."""
    step = x.abs().amax(-1, keepdim=True) / levels
    return torch.floor(x / step + (bits + 0.5) / 65536).clamp(-levels, levels) * step


def _logarithmic(x: Tensor, codes: int, octaves: float, bits: Tensor) -> Tensor:
    """Positive blocks on a logarithmic grid below their largest value, stochastically in the logarithm."""
    step = octaves / (codes - 2)
    top = torch.log2(x.amax(-1, keepdim=True))
    depth = torch.floor((torch.log2(x) - top) / step + (bits + 0.5) / 65536).clamp(2 - codes, 0)
    return torch.exp2(depth * step + top)


class Sketch:
    """Averages in a format that the package does not have, to show why."""

    def __init__(self, shape: torch.Size, save: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]):
        self.m, self.v, self.save = torch.zeros(shape), torch.zeros(shape), save
        self.generator = torch.Generator().manual_seed(1)

    def read(self) -> tuple[Tensor, Tensor]:
        return self.m, self.v

    def write(self, m: Tensor, v: Tensor, step: int) -> None:
        noise = torch.randint(0, 65536, (2, *m.shape), generator=self.generator, dtype=torch.int32)
        self.m, self.v = self.save(m, v, noise[0], noise[1])


class Packaged:
    """Averages in one of the package's formats, through the package's own storage."""

    def __init__(self, shape: torch.Size, fmt: str) -> None:
        self.dtype, self.how = naive(fmt)
        stored = getattr(torch, self.dtype or "float32")
        self.state = {name: torch.zeros(shape, dtype=stored) for name in ("exp_avg", "exp_avg_sq")}
        if stored == torch.int16:
            self.state |= {f"{name}_scale": torch.zeros(storage.scales_shape(shape)) for name in list(self.state)}
        self.nearest = fmt.endswith("-nearest")

    def read(self) -> tuple[Tensor, Tensor]:
        values = storage.decode(self.state, torch.float32)
        return values["exp_avg"], values["exp_avg_sq"]

    def write(self, m: Tensor, v: Tensor, step: int) -> None:
        randomness = storage.Randomness(0, step, storage.Place(0))
        bits = storage.to_nearest if self.nearest else storage.Bits(randomness)
        storage.encode(self.state, {"exp_avg": m, "exp_avg_sq": v}, bits)


def _formats(shape: torch.Size) -> dict[str, Any]:
    def blocks_of_m(m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return _linear(m, 32767, a), storage.decode_magnitude(*storage.encode_magnitude(v, b))

    def int8_ratio(m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        v = storage.decode_magnitude(*storage.encode_magnitude(v, b))
        return _linear(m / v.sqrt(), 127, a) * v.sqrt(), v

    def int8(m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return _linear(m, 127, a), _logarithmic(v, 256, 32.0, b)

    return {
        "float32": Packaged(shape, "float32"),
        "bfloat16-nearest": Packaged(shape, "bfloat16-nearest"),
        "bfloat16": Packaged(shape, "bfloat16"),
        "int16": Packaged(shape, "int16"),
        "int16 blocks of m": Sketch(shape, blocks_of_m),
        "int8 blocks of r, 16-bit v": Sketch(shape, int8_ratio),
        "int8 blocks of m, 8-bit v": Sketch(shape, int8),
    }


BYTES = {
    "float32": 8.0,
    "bfloat16-nearest": 4.0,
    "bfloat16": 4.0,
    "int16": 4.0 + 8 / 256,
    "int16 blocks of m": 4.0 + 8 / 256,
    "int8 blocks of r, 16-bit v": 3.0 + 8 / 256,
    "int8 blocks of m, 8-bit v": 2.0 + 8 / 256,
}


def table(horizons: tuple[int, ...], mean: float = 0.05) -> list[dict[str, Any]]:
    """Log-time averages of noisy gradients, 16 rows of 256 elements over four decades of scale.

    An element's gradients have the mean ``+-mean`` and the deviation 1 of its scale, the same for every
    format; the exact averages are float64.
    """
    shape = torch.Size((16, 256))
    generator = torch.Generator().manual_seed(0)
    scale = 10 ** (4 * torch.rand(shape, generator=generator, dtype=torch.float64) - 4)
    mu = mean * torch.randint(0, 2, shape, generator=generator).mul(2).sub(1)
    formats = _formats(shape)
    m, v = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    rows = []
    for step in range(max(horizons)):
        g = (scale * (mu + torch.randn(shape, generator=generator, dtype=torch.float64))).float()
        weight = DELTA / (DELTA + step)
        m += weight * (g - m)
        v += weight * (g.double() ** 2 - v)
        for averages in formats.values():
            old_m, old_v = averages.read()
            averages.write((1 - weight) * old_m + weight * g, (1 - weight) * old_v + weight * g * g, step)
        if step + 1 in horizons:
            rows += [{"step": step + 1, "format": name, "bytes": BYTES[name], **_errors(*averages.read(), m, v)}
                     for name, averages in formats.items()]  # fmt: skip
            print(_table_text([row for row in rows if row["step"] == step + 1]), flush=True)
    return rows


def _errors(m: Tensor, v: Tensor, exact_m: Tensor, exact_v: Tensor) -> dict[str, float]:
    def rms(x: Tensor) -> float:
        return float(x.square().mean().sqrt())

    root, exact_root = v.double().sqrt(), exact_v.sqrt()
    of_root = (root / exact_root).flatten()
    return {
        "signal": rms(exact_m / exact_root),
        "error_m": rms((m.double() - exact_m) / exact_root),
        "error_ratio": rms(m.double() / root - exact_m / exact_root),
        "root_v_least": float(of_root.min()),
        "root_v_median": float(of_root.median()),
        "root_v_most": float(of_root.max()),
        "root_v_rms": rms(of_root - 1),
    }


def _table_text(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"after {rows[0]['step']:,} steps, signal {rows[0]['signal']:.3f}",
        f"{'format':28}{'bytes':>7}{'error of m':>13}{'of m/sqrt(v)':>14}{'sqrt(v) over exact: least, median, most':>42}",
    ]
    lines += [
        f"{row['format']:28}{row['bytes']:7.2f}{row['error_m']:13.2g}{row['error_ratio']:14.2g}"
        f"{row['root_v_least']:18.4f}{row['root_v_median']:12.4f}{row['root_v_most']:12.4f}"
        for row in rows
    ]
    return "\n".join(lines)
