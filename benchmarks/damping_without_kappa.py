"""Rules that size alpha(t) of ADana from the run itself, not told kappa, against the best kappa: on power-law features.

All arms see the same samples, at constant learning rates, each arm at its own best one: powers of 2. ``m`` is the
momentum before the step, ``beta(t)`` the log-time coefficient of the package.

    kappa      alpha = (1+t)^(1-kappa), every kappa from .2 to 1.2: the best of them is what the others are measured by
    alignment  alpha' = alpha ((1+t)/t)^s with s = min(1, gain max(0, A/M)), A and M log-time averages of <g, m> and
               <m, m>: alpha grows while the newest gradient still points along the momentum
    energy     alpha = scale n sum(v) / sum(m'^2): n is what sum(m'^2)/sum(v) would be of noise alone

    python benchmarks/damping_without_kappa.py            writes results/damping-without-kappa.json; some minutes
    python benchmarks/damping_without_kappa.py --table    prints the table of docs/ablations.md from it
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import measured
from adana.files import write_json
from adana.schedules import average_weight
from adana.theory.engines import flushing_denormals
from adana.theory.plrf import Plrf

OUT = Path(__file__).parents[1] / "results/damping-without-kappa.json"
DELTA, EPS = 8.0, 1e-8
ETA, V, D = 0.3, 800, 200
RHOS, BATCHES = (0.6, 0.75, 1.0, 1.25, 1.5), (1, 8, 64)
STEPS = (2500, 10_000)
SEEDS = 3
NUMBERS = {
    "kappa": tuple(round(0.1 * k, 1) for k in range(2, 13)),
    "alignment": (1.0, 1.5, 2.0, 3.0),
    "energy": (0.25, 1.0, 4.0),
}
LRS = tuple(2.0**k * 1e-3 for k in range(-6, 4))


class Arm(NamedTuple):
    """A rule for alpha, its one number (kappa, gain or scale) and a learning rate."""

    rule: str
    number: float
    lr: float


def arms() -> list[Arm]:
    return [Arm(rule, number, lr) for rule, numbers in NUMBERS.items() for number in numbers for lr in LRS]


class Damping:
    """alpha of all arms of one rule, each a row; at most two reductions per row and step."""

    def __init__(self, rule: str, numbers: Sequence[float]) -> None:
        self.rule, self.number = rule, torch.tensor(numbers)
        self.alpha = torch.ones(len(numbers))
        self.along, self.energy = torch.zeros(len(numbers)), torch.zeros(len(numbers))
        self.left = 0.0

    def before(self, t: int, weight: float, g: Tensor, m: Tensor) -> None:
        """Called with the gradient and the momentum that has not seen it yet."""
        if self.rule == "alignment":
            self.along.lerp_((g * m).sum(1), weight)
            self.energy.lerp_((m * m).sum(1), weight)
            if t > 0:
                share = (self.number * self.along / self.energy.clamp_min(1e-30)).clamp(0, 1)
                self.alpha *= torch.exp(share * math.log((1 + t) / t))

    def after(self, t: int, weight: float, m: Tensor, v: Tensor) -> None:
        """Called with the averages that have seen the gradient."""
        if self.rule == "kappa":
            self.alpha = (1.0 + t) ** (1 - self.number)
        elif self.rule == "energy":
            self.left = (1 - weight) ** 2 * self.left + weight**2
            self.alpha = (self.number * self.left * v.sum(1) / (m * m).sum(1).clamp_min(1e-30)).clamp_max(1.0 + t)


def risks(problem: Plrf, run: Sequence[Arm], *, record: Sequence[int], batch: int, seed: int) -> np.ndarray:
    """Final risk of ADana, as :func:`adana.theory.simulate.simulate` steps it, by record and arm.

    Arms of one rule must stand side by side.
    """
    lr = torch.tensor([arm.lr for arm in run])[:, None]
    rules = list(dict.fromkeys(arm.rule for arm in run))
    where = {rule: [i for i, arm in enumerate(run) if arm.rule == rule] for rule in rules}
    parts = [(slice(ix[0], ix[-1] + 1), Damping(rule, [run[i].number for i in ix])) for rule, ix in where.items()]
    theta, m, v = (torch.zeros(len(run), problem.d) for _ in range(3))
    draw = problem.stream(seed, 1, batch, np.dtype(np.float32))
    found, t = [], 0
    while t < max(record):
        chunk = min(500, max(record) - t)
        samples = draw(chunk)
        for x, y in zip(torch.from_numpy(samples.features[:, 0]), torch.from_numpy(samples.targets[:, 0])):
            g = (theta @ x.T - y) @ x / batch
            weight = float(average_weight(t, DELTA))
            for rows, damping in parts:
                damping.before(t, weight, g[rows], m[rows])
            m.lerp_(g, weight)
            v.mul_(1 - weight).addcmul_(g, g, value=weight)
            for rows, damping in parts:
                damping.after(t, weight, m[rows], v[rows])
            alpha = torch.cat([damping.alpha for _, damping in parts])[:, None]
            theta.sub_(torch.addcmul(g, alpha, m).div_(v.sqrt().add_(EPS)).mul_(lr))
            t += 1
            if t in record:
                found.append(problem.risk(theta.numpy()))
    return np.stack(found)


def bench(seeds: int) -> list[dict[str, Any]]:
    """Every arm's risk over the least possible, geometric mean over seeds, at its best learning rate."""
    run, rows = arms(), []
    for rho in RHOS:
        for batch in BATCHES:
            logs = []
            for seed in range(seeds):
                problem = Plrf(rho, ETA, V, D, seed)
                risk = risks(problem, run, record=STEPS, batch=batch, seed=seed) / (problem.p_infinity / 2)
                logs.append(np.log(np.nan_to_num(risk, nan=np.inf)))
            each = np.stack(logs).reshape(seeds, len(STEPS), -1, len(LRS))
            for k, steps in enumerate(STEPS):
                mean = each[:, k].mean(0)
                for index, (rule, number) in enumerate(dict.fromkeys((arm.rule, arm.number) for arm in run)):
                    best = int(mean[index].argmin())
                    row = {"rho": rho, "batch": batch, "steps": steps, "rule": rule, "number": number}
                    row |= {"lr": LRS[best], "at_end": best in (0, len(LRS) - 1)}
                    own = np.exp(each[:, k, index, best])
                    row |= {"risk": _short(np.exp(mean[index, best])), "risks": [_short(x) for x in own]}
                    rows.append(row)
            print(f"rho {rho:g}, batch {batch}: done", flush=True)
    return rows


def _short(x: float) -> float | None:
    return float(f"{x:.5g}") if math.isfinite(x) else None


Setting = tuple[float, int, int]


def compared(rows: list[dict[str, Any]]) -> dict[Setting, dict[tuple[str, float], float]]:
    """By (rho, batch, steps), every arm's risk over that of the best kappa there."""
    found: dict[Setting, dict[tuple[str, float], float]] = {}
    for row in rows:
        place = found.setdefault((row["rho"], row["batch"], row["steps"]), {})
        place[row["rule"], row["number"]] = math.inf if row["risk"] is None else row["risk"]
    for place in found.values():
        least = min(risk for (rule, _), risk in place.items() if rule == "kappa")
        place.update({arm: risk / least for arm, risk in place.items()})
    return found


def best_kappa(place: dict[tuple[str, float], float]) -> float:
    return min((risk, number) for (rule, number), risk in place.items() if rule == "kappa")[1]


def table(rows: list[dict[str, Any]]) -> str:
    found = compared(rows)
    names = list(next(iter(found.values())))
    worst = {arm: {n: max(p[arm] for s, p in found.items() if s[2] == n) for n in STEPS} for arm in names}
    heads = " | ".join(f"worst after {n:,} steps" for n in STEPS)
    lines = [f"| rule | {heads} |", "|---" * (1 + len(STEPS)) + "|"]
    lines += [f"| {r} {x:g} | " + " | ".join(f"{worst[r, x][n]:.2f}" for n in STEPS) + " |" for r, x in names]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="print what was measured before")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        found = measured.surroundings(1, ["torch", "numpy"])
        with flushing_denormals():
            write_json(options.out, found | {"eta": ETA, "v": V, "d": D, "rows": bench(options.seeds)})
    print(table(json.loads(options.out.read_text())["rows"]))


if __name__ == "__main__":
    main()
