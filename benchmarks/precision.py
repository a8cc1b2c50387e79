"""What storing the averages in 16 bits costs: a table of errors, two training problems, a figure.

    python benchmarks/precision.py table    log-time averages of noisy gradients after 20,000 and 200,000 steps
    python benchmarks/precision.py plrf     least squares on power-law random features, 50,000 steps
    python benchmarks/precision.py race     the race's default model over 5,000 steps
    python benchmarks/precision.py axis     a small model over the longest run of results/overtraining-gcide
    python benchmarks/precision.py report   docs/precision.svg from the results of all three

All but the last print a table, ``--json`` the raw numbers instead, and write ``results/precision-*.json``.
``race`` goes on from ``runs/precision`` where it was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import platform
import signal
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import adana
from adana import schedules
from adana.optim import formats, places, randomness, storage

RUNS = Path("runs/precision")
RESULTS = Path("results")
DELTA = 8.0


@contextlib.contextmanager
def rounding_to_nearest() -> Iterator[None]:
    """Averages stored as naive code stores them: what the package itself never does."""

    # Plain functions: a mock would remember every call, and with it the gradients of every step.
    def no(*_: object) -> None:
        return None

    def nearest(*_: object) -> Any:
        return randomness.to_nearest

    loop = mock.patch("adana.optim.update._fused_layout", no)  # kernels have their own random bits
    with loop, mock.patch.object(storage, "Bits", nearest):
        yield


def naive(fmt: str) -> tuple[str | None, contextlib.AbstractContextManager[None]]:
    """The ``state_dtype`` of a format's name here, and how it rounds."""
    dtype = {"float32": None, "bfloat16-nearest": "bfloat16"}.get(fmt, fmt)
    return dtype, rounding_to_nearest() if fmt.endswith("-nearest") else contextlib.nullcontext()


# --- the race -----------------------------------------------------------------------------------------

TRAINED = ("float32", "int16", "bfloat16", "bfloat16-nearest")


def race(steps: int, seeds: int, formats: tuple[str, ...] = TRAINED) -> list[dict[str, Any]]:
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
            rows.append({"format": fmt, "seed": seed, "steps": steps, "loss": result.final_loss})
    return rows


def axis(seeds: int, formats: tuple[str, ...], text: str | None) -> list[dict[str, Any]]:
    """ADana at the best point of the longest horizon of results/overtraining-gcide, which has the losses of float32."""
    from adana.files import read_json
    from adana.lab.executors import LocalExecutor
    from adana.lab.sweep import Runs
    from adana.train.recipe import Execution, Recipe
    from overtraining import FOUR_HEADS

    known = read_json(RESULTS / "overtraining-gcide.json")
    best = max((row for row in known["rows"] if row["optimizer"] == "adana"), key=lambda row: row["f"])
    texts = () if text is None else (str(Path(text).resolve()),)
    base = Recipe("adana", best["lr"], best["options"], **FOUR_HEADS, steps=best["steps"], evaluations=1, text=texts)
    rows = [
        {"format": "float32", "seed": seed, "steps": best["steps"], "loss": loss}
        for seed, loss in enumerate(best["losses"][:seeds])
    ]
    quiet = Execution(log_every=None, save_every=None, keep_final=False)
    cells = [
        replace(base, options=base.options | {"state_dtype": fmt}, seed=seed)
        for seed in range(seeds)
        for fmt in formats
        if fmt != "float32"
    ]
    with LocalExecutor(RUNS / "axis", workers=2, execution=quiet) as executor:
        for cell, result in zip(cells, Runs(executor).run(cells)):
            fmt = cell.options["state_dtype"]
            rows.append({"format": fmt, "seed": cell.seed, "steps": best["steps"], "loss": result.final_loss})
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
            self.state |= {f"{name}_scale": torch.zeros(formats.scales_shape(shape)) for name in list(self.state)}
        self.nearest = fmt.endswith("-nearest")

    def read(self) -> tuple[Tensor, Tensor]:
        values = storage.decode(self.state, torch.float32)
        return values["exp_avg"], values["exp_avg_sq"]

    def write(self, m: Tensor, v: Tensor, step: int) -> None:
        of = randomness.Randomness(0, step, places.Place(0))
        bits = randomness.to_nearest if self.nearest else randomness.Bits(of)
        storage.encode(self.state, {"exp_avg": m, "exp_avg_sq": v}, bits)


def _formats(shape: torch.Size) -> dict[str, Any]:
    def blocks_of_m(m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return _linear(m, 32767, a), formats.decode_magnitude(*formats.encode_magnitude(v, b))

    def int8_ratio(m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        v = formats.decode_magnitude(*formats.encode_magnitude(v, b))
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
        f"{'format':28}{'bytes':>7}{'error of m':>13}{'of m/sqrt(v)':>14}"
        f"{'sqrt(v) over exact: least, median, most':>42}",
    ]
    lines += [
        f"{row['format']:28}{row['bytes']:7.2f}{row['error_m']:13.2g}{row['error_ratio']:14.2g}"
        f"{row['root_v_least']:18.4f}{row['root_v_median']:12.4f}{row['root_v_most']:12.4f}"
        for row in rows
    ]
    return "\n".join(lines)


# --- power-law random features ------------------------------------------------------------------------


def power_law(dimension: int, rho: float = 1.0, eta: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    """Least squares on random features of power-law data, as the Gaussian problem it is equivalent to.

    Data ``x_j = j^-rho z_j`` of ``4 dimension`` coordinates, target ``j^-eta``, features through a matrix of
    entries N(0, 1/dimension).

    Returns:
        Cholesky factor of the features' covariance, the solution, and the variance it cannot explain.
    """
    generator = torch.Generator().manual_seed(seed)
    j = torch.arange(1, 4 * dimension + 1, dtype=torch.float64)
    w = torch.randn(len(j), dimension, generator=generator, dtype=torch.float64) / math.sqrt(dimension)
    features, target = j[:, None] ** -rho * w, j ** -(rho + eta)
    covariance = features.T @ features
    solution = torch.linalg.solve(covariance, features.T @ target)
    return torch.linalg.cholesky(covariance), solution, float((features @ solution - target).square().sum())


def plrf(fmt: str, *, steps: int, lr: float, dimension: int = 256, seeds: int = 8, batch: int = 4) -> list[float]:
    """Final risks of ADana, one row of a parameter a seed; every format sees the same data."""
    factor, solution, rest = power_law(dimension)
    narrow = factor.float()
    state_dtype, how = naive(fmt)
    generator = torch.Generator().manual_seed(1)
    error = torch.nn.Parameter(-solution.float().repeat(seeds, 1))  # theta - solution, from theta = 0
    optimizer = adana.ADana([error], lr=lr, total_steps=steps, weight_decay=0.0, state_dtype=state_dtype)
    with how:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * schedules.gamma(step, steps)
            x = torch.randn(seeds, batch, dimension, generator=generator) @ narrow.T
            noise = math.sqrt(rest) * torch.randn(seeds, batch, generator=generator)
            residual = torch.einsum("sbd,sd->sb", x, error.detach()) + noise
            error.grad = torch.einsum("sbd,sb->sd", x, residual) / batch
            optimizer.step()
    return (((error.detach().double() @ factor).square().sum(1) + rest) / 2).tolist()


def all_plrf(steps: int, seeds: int) -> list[dict[str, Any]]:
    rows = []
    for fmt in TRAINED:
        risks = plrf(fmt, steps=steps, lr=PLRF_LR, seeds=seeds)
        rows += [{"format": fmt, "seed": seed, "steps": steps, "loss": risk} for seed, risk in enumerate(risks)]
    return rows


PLRF_LR = 3e-4


# --- tables and the figure ----------------------------------------------------------------------------


def _losses_text(rows: list[dict[str, Any]]) -> str:
    """Mean and deviation over seeds, and the same of the difference to float32 on the same seed."""
    loss = {(row["format"], row["seed"]): row["loss"] for row in rows}
    lines = [f"{'format':20}{'seeds':>6}{'loss':>12}{'deviation':>12}{'from float32':>16}{'its deviation':>16}"]
    for fmt in TRAINED:
        seeds = [seed for name, seed in loss if name == fmt and ("float32", seed) in loss]
        if not seeds:
            continue
        of_it = [loss[fmt, seed] for seed in seeds]
        apart = [loss[fmt, seed] - loss["float32", seed] for seed in seeds]
        spread = statistics.stdev if len(seeds) > 1 else lambda _: math.nan
        lines.append(
            f"{fmt:20}{len(seeds):6}{statistics.mean(of_it):12.6f}{spread(of_it):12.6f}"
            f"{statistics.mean(apart):+16.6f}{spread(apart):16.6f}"
        )
    return "\n".join(lines)


def _all_tables(rows: list[dict[str, Any]]) -> str:
    return "\n\n".join(
        _table_text([row for row in rows if row["step"] == step]) for step in sorted({row["step"] for row in rows})
    )


def report(path: Path) -> None:
    """The figure of docs/precision.md."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "adana", "svg.fonttype": "none"})
    import matplotlib.pyplot as plt

    rows = json.loads((RESULTS / "precision-table.json").read_text())["rows"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    names = [name for name in BYTES if name != "float32"]
    for index, name in enumerate(names):
        mine = sorted((row["step"], row) for row in rows if row["format"] == name)
        steps = [step for step, _ in mine]
        left.loglog(steps, [row["error_ratio"] for _, row in mine], "o-", ms=3, color=f"C{index}", label=name)
        right.loglog(steps, [row["root_v_rms"] for _, row in mine], "o-", ms=3, color=f"C{index}")
    signal_of = sorted((row["step"], row["signal"]) for row in rows if row["format"] == "float32")
    left.loglog(*zip(*signal_of), "k:", label="the signal itself")
    left.set(xlabel="step", ylabel="rms error of m / sqrt(v)")
    right.set(xlabel="step", ylabel="rms relative error of sqrt(v)")
    for axes in (left, right):
        axes.grid(True, which="major", lw=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "plrf", "race", "axis", "report"))
    parser.add_argument("--steps", type=int, nargs="+", help="table: where to look; plrf and race: how long")
    parser.add_argument("--seeds", type=int, help="plrf (8), race and axis (3)")
    parser.add_argument("--formats", nargs="+", choices=TRAINED, default=TRAINED, help="race: which of them")
    parser.add_argument("--text", help="axis: the text that the runs had")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--out", type=Path, help="where to write them (results/precision-<what>.json)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "report":
        report(arguments.out or Path("docs/precision.svg"))
        return
    steps = arguments.steps or {"table": HORIZONS, "plrf": [50_000], "race": [5_000], "axis": [0]}[arguments.what]
    run: Callable[[], list[dict[str, Any]]] = {
        "table": functools.partial(table, tuple(steps)),
        "plrf": functools.partial(all_plrf, steps[0], arguments.seeds or 8),
        "race": functools.partial(race, steps[0], arguments.seeds or 3, tuple(arguments.formats)),
        "axis": functools.partial(axis, arguments.seeds or 3, ("int16", "bfloat16"), arguments.text),
    }[arguments.what]
    rows = run()
    command = ["python benchmarks/precision.py", arguments.what]
    command += ["--steps", *map(str, arguments.steps)] if arguments.steps else []
    command += ["--seeds", str(arguments.seeds)] if arguments.seeds else []
    command += ["--text", arguments.text] if arguments.text else []
    command += ["--formats", *arguments.formats] if tuple(arguments.formats) != TRAINED else []
    result = {
        "command": " ".join(command),
        "versions": {"adana": adana.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    out = arguments.out or RESULTS / f"precision-{arguments.what}.json"
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(out)
    text = _all_tables(rows) if arguments.what == "table" else _losses_text(rows)
    print(json.dumps(result, indent=1) if arguments.json else text)


HORIZONS = [20, 200, 2_000, 20_000, 200_000]

if __name__ == "__main__":
    main()
