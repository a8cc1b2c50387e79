"""The table of "Adaptive Momentum with Component Scaling" (Aardvark, 2025): five optimizers, each searched alike.

Its own setting is a Qwen of 134M parameters, 640 steps of 128 sequences, FineWeb, warm-up over a tenth. ``--size full``
is that on a GPU: Qwen3 with 5 heads (122M with GPT-2's vocabulary) and 1,024 tokens per sequence, which the source does
not say:

    adana data build --source fineweb --sample sample-10BT --tokenizer gpt2 --out data/fineweb-10bt
    python benchmarks/amcs_table.py --size full --data data/fineweb-10bt --out results/amcs-table-full.json

``--size small`` is 640 steps of a Qwen3 of 2 heads of 32 on the race's text, for a CPU. Every optimizer gets the race's
search, and its best point three seeds; the order of the losses stands beside the source's.

The source names StableAdam and Ortho-Adaptive and defines neither. Here they are StableAdamW (Wortsman et al. 2023: the
step of AdamW over the root mean square of g/sqrt(v) where that is above 1) and a rule of our own: the direction
of AdamW, orthogonalised for hidden matrices. Both decay as ``torch.optim.AdamW`` does.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.files import write_json
from adana.lab.cells import SEARCH_SEED
from adana.lab.executors import LocalExecutor
from adana.lab.race_search import RUNS, race_search
from adana.lab.sweep import Runs
from adana.train.recipe import Recipe, qwen3
from contenders_table import WORDS, shown

# By the source's name: ours, and the source's loss.
TABLE = {
    "Muon": ("muon", 3.537),
    "StableAdam": ("benchmarks.amcs_table:StableAdamW", 3.888),
    "Ortho-Adaptive": ("benchmarks.amcs_table:OrthoAdaptive", 4.213),
    "AdamW": ("adamw", 4.927),
    "AMCS": ("amcs", 4.957),
}


class _Adam(torch.optim.Optimizer):
    """AdamW's averages and decay around a direction."""

    def __init__(
        self,
        params: Any,
        lr: float = 2.0**-8,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def direction(self, group: dict[str, Any], g: Tensor, m: Tensor, v: Tensor) -> Tensor:
        """From the gradient and the two bias-corrected averages."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                state["step"] += 1
                state["exp_avg"].lerp_(p.grad, 1 - beta1)
                state["exp_avg_sq"].lerp_(p.grad.square(), 1 - beta2)
                m = state["exp_avg"] / (1 - beta1 ** state["step"])
                v = state["exp_avg_sq"] / (1 - beta2 ** state["step"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * self.direction(group, p.grad, m, v))
        return loss


class StableAdamW(_Adam):
    """AdamW whose step is divided by RMS(g/sqrt(v)) where that is above 1 (Wortsman et al. 2023, Algorithm 2)."""

    def direction(self, group: dict[str, Any], g: Tensor, m: Tensor, v: Tensor) -> Tensor:
        rms = (g.square() / v.clamp_min(group["eps"] ** 2)).mean().sqrt()
        return m / (v.sqrt() + group["eps"]) / rms.clamp_min(1.0)


class OrthoAdaptive(_Adam):
    """AdamW's direction, made orthogonal for hidden matrices and given Muon's size there: a rule of our own."""

    def direction(self, group: dict[str, Any], g: Tensor, m: Tensor, v: Tensor) -> Tensor:
        u = m / (v.sqrt() + group["eps"])
        if group.get("kind") != "hidden" or u.ndim != 2:
            return u
        orthogonal: Tensor = rules.newton_schulz(u / (u.norm() + group["eps"]), 5)
        return 0.2 * max(u.shape) ** 0.5 * orthogonal


def setting(options: argparse.Namespace) -> Recipe:
    """What all five share."""
    shared = {"steps": options.steps, "warmup_steps": max(1, options.steps // 10)}
    if options.size == "full":
        return qwen3(5, data=options.data, batch_size=128, seq_len=1024, evaluations=20, **shared)
    return Recipe(arch="qwen3", heads=2, head_dim=32, evaluations=8, **shared)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--data", help="a folder of tokens; for the full size")
    parser.add_argument("--steps", type=int, default=640)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--searches", type=int, default=RUNS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/amcs-table"))
    parser.add_argument("--out", type=Path, default=Path("results/amcs-table.json"))
    options = parser.parse_args(argv)
    if options.size == "full" and not options.data:
        parser.error("--size full needs --data: see the top of --help")
    base = setting(options)
    where = options.runs / options.size
    where.mkdir(parents=True, exist_ok=True)
    command = "python benchmarks/amcs_table.py " + shlex.join(argv)
    names = [ours for ours, _ in TABLE.values()]
    with LocalExecutor(where, workers=options.workers, command=command) as executor:
        searched = replace(base, seed=SEARCH_SEED, evaluations=1)
        bests = race_search(searched, names, executor, where / "search", runs=options.searches, command=command)
        rows = []
        for (theirs, (ours, loss)), best in zip(TABLE.items(), bests):
            recipe = replace(base, optimizer=ours, lr=best.lr, options=best.options)
            results = Runs(executor).run([replace(recipe, seed=seed) for seed in range(options.seeds)])
            losses = [result.final_loss for result in results]
            mean = None if None in losses else statistics.fmean(x for x in losses if x is not None)
            rows.append({"name": theirs, "optimizer": ours, "lr": best.lr, "options": best.options, "losses": losses})
            rows[-1] |= {"loss": mean, "source": loss, "bracketed": best.bracketed}
    rows.sort(key=lambda row: (row["loss"] is None, row["loss"]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, {"command": command, "size": options.size, "rows": rows})
    print(table(rows))
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown, by our losses, with what the search found beside the learning rate and the source's loss."""
    lines = [
        "| our order | lr | searched besides | losses of the seeds | mean | the source's loss |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        options = ", ".join(f"{WORDS.get(name, name)} {shown(value)}" for name, value in row["options"].items())
        losses = ", ".join("diverged" if x is None else f"{x:.3f}" for x in row["losses"])
        mean = "" if row["loss"] is None else f"{row['loss']:.3f}"
        lr = f"{row['lr']:.3g}{'' if row['bracketed'] else '*'}"
        lines.append(f"| {row['name']} | {lr} | {options} | {losses} | {mean} | {row['source']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
