"""What `adana train` costs over a bare loop: the same model, data, optimizer and device, turn by turn in one process.

    python benchmarks/train_overhead.py                                                  the race's size, on the CPU
    python benchmarks/train_overhead.py --device cuda --heads 6 --batch-size 32 --seq-len 2048 --vocabulary 50304

After each step of the engine the bare loop takes one of its own; what counts is the ratio within a pair, of which the
median and the quartiles are printed, by the clock and by CPU time. A line of metrics is written at every step, as
nobody needs; a checkpoint is timed apart. On a GPU both are compiled, and MFU is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from adana import schedules
from adana.models import build
from adana.train.metrics import peak, training_flops_per_token
from adana.train.optimizers import build_optimizer
from adana.train.recipe import Execution, Recipe, load_data
from adana.train.run import Interrupted, Progress, train
from measured import print_table, surroundings

WARM = 5


class BareLoop:
    """What somebody would write who needs none of it: no logs, no gate, no way to stop."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device, self.step = recipe, device, 0
        self.batches = load_data(recipe).batches(batch_size=recipe.batch_size, seq_len=recipe.seq_len, seed=recipe.seed)
        self.model = build(recipe.model_config(), seed=recipe.seed).to(device)
        self.optimizer = build_optimizer(
            recipe.optimizer, self.model, lr=recipe.lr or 0.0, options=recipe.optimizer_options()
        )
        if device.type == "cuda":
            self.model.compile()

    def __call__(self) -> None:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = (recipe.lr or 0.0) * schedules.gamma(self.step, recipe.total_steps)
        windows = torch.from_numpy(self.batches.batch(self.step)).to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type != "cpu"):
            logits = self.model(windows[:, :-1])
        F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1


def measure(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    bare = BareLoop(recipe, device)
    wall: dict[str, list[float]] = {"engine": [], "bare": []}
    cpu: dict[str, list[float]] = {"engine": [], "bare": []}

    def now() -> tuple[float, float]:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    marks = [now()]

    def turn(progress: Progress) -> None:
        ended = now()
        bare()
        done = now()
        if WARM < progress.step < recipe.total_steps:  # the last step has the evaluation
            for kind, (a, b) in {"engine": (marks[0], ended), "bare": (ended, done)}.items():
                wall[kind].append(b[0] - a[0])
                cpu[kind].append(b[1] - a[1])
        marks[0] = now()

    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(device=str(device), log_every=1, save_every=None, asynchronous=False)
        train(recipe, Path(folder) / "run", execution=execution, report=turn)
        path = next((Path(folder) / "run" / "checkpoints").iterdir())
        size = sum(file.stat().st_size for file in path.iterdir())
        saving = checkpoint_seconds(recipe, device, Path(folder) / "saving")
    step = statistics.median(wall["bare"])
    found: dict[str, Any] = {
        "steps": len(wall["bare"]),
        "overhead_wall": summary(wall),
        "overhead_cpu": summary(cpu),
        "bare_milliseconds": 1e3 * step,
        "engine_milliseconds": 1e3 * statistics.median(wall["engine"]),
        "checkpoint_seconds": saving,
        "checkpoint_bytes": size,
        "checkpoint_share_at_save_every_1000": saving / (1000 * step),
        "tokens_per_second": recipe.tokens_per_step / statistics.median(wall["engine"]),
        "recipe": recipe.to_json(),
    }
    best = peak(device)
    if best is not None:
        per_token = training_flops_per_token(recipe.model_config(), recipe.seq_len)
        found["mfu"] = found["tokens_per_second"] * per_token / best
    return found


def summary(times: dict[str, list[float]]) -> dict[str, float]:
    ratios = [a / b - 1 for a, b in zip(times["engine"], times["bare"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    medians = statistics.median(times["engine"]) / statistics.median(times["bare"]) - 1
    return {"median": statistics.median(ratios), "low": low, "high": high, "of_medians": medians}


def checkpoint_seconds(recipe: Recipe, device: torch.device, folder: Path) -> float:
    """Median time of writing one checkpoint, on the spot."""
    times: list[float] = []
    marks = [0.0]

    def stamp(progress: Progress) -> None:
        marks[0] = time.perf_counter()

    def stop() -> bool:
        return True

    for _ in range(5):
        try:
            train(
                recipe,
                folder,
                execution=Execution(device=str(device), asynchronous=False),
                report=stamp,
                should_stop=stop,
            )
        except Interrupted:
            times.append(time.perf_counter() - marks[0])
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=2, help="Enoki's heads")
    parser.add_argument("--seq-len", type=int, default=256, help="tokens per sequence")
    parser.add_argument("--batch-size", type=int, default=4, help="sequences per step")
    parser.add_argument("--vocabulary", type=int, default=256, help="tokens the model knows")
    parser.add_argument("--optimizer", default="adana", help="its name")
    parser.add_argument("--steps", type=int, default=120, help="pairs of steps, the first few not counted")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--json", action="store_true", help="print a document instead of a table")
    options = parser.parse_args()
    recipe = Recipe(
        options.optimizer,
        1e-3,
        {"weight_decay": 1.0},
        heads=options.heads,
        seq_len=options.seq_len,
        batch_size=options.batch_size,
        vocab_size=options.vocabulary,
        steps=options.steps,
        evaluations=1,
    )
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    found = {**surroundings(torch.get_num_threads(), ["torch"], name), **measure(recipe, device)}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    rows = [
        ("bare loop, ms per step", f"{found['bare_milliseconds']:.1f}", ""),
        ("adana train, ms per step", f"{found['engine_milliseconds']:.1f}", ""),
    ]
    for kind in ("wall", "cpu"):
        low, middle, high = (f"{100 * found[f'overhead_{kind}'][name]:+.2f}" for name in ("low", "median", "high"))
        rows.append((f"overhead by {kind} time, % of a pair", middle, f"{low} to {high}"))
    rows += [
        ("a checkpoint, s", f"{found['checkpoint_seconds']:.3f}", ""),
        ("its share at --save-every 1000, %", f"{100 * found['checkpoint_share_at_save_every_1000']:.2f}", ""),
    ]
    if "mfu" in found:
        rows.append(("tokens per second", f"{found['tokens_per_second']:,.0f}", f"MFU {100 * found['mfu']:.1f} %"))
    title = f"{recipe.model_config().total_parameters / 1e6:.2f}M parameters, {found['steps']} pairs of steps"
    print_table(found, title, ("", "median", "quartiles"), rows)


if __name__ == "__main__":
    main()
