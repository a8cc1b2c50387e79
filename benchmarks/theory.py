"""How fast the bench simulates, against two NumPy loops over the same stream in the same run.

    python benchmarks/theory.py [--steps 20000] [--repeats 3]

Times the 70 configurations of the bench's Figure 8 (left), v = 800, d = 200, batch 1, float32, one thread:

* ``simulate``: the package's rules, replayed in place, with its watch for divergence and its records;
* ``by hand``: the five rules written out for all their configurations at once, in place, and nothing else;
* ``one at a time``: the package's rules as they are, a configuration after the other (on a tenth of the
  steps, times ten).

Each repeat times all three, in this order. Times are CPU seconds of one thread, which other programs disturb
less than they do the clock; medians and ratios are printed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time

import numpy as np

from adana import rules, schedules
from adana.theory.plrf import Plrf
from adana.theory.simulate import Configuration, simulate
from adana.theory.sweeps import SWEEPS

BETAS = (0.9, 0.999)


def configurations() -> list[Configuration]:
    """Figure 8 (left) at one learning rate, and AdamW at four."""
    setting = SWEEPS["figure-8-left"]
    kappas = [kappa for kappa in setting.kappas if kappa <= 1]
    adamw = [Configuration("adamw", 1e-3 * factor, betas=BETAS) for factor in (0.25, 1.0, 4.0, 16.0)]
    rules = [rule for rule in setting.rules().values() if rule.option == "kappa"]
    return adamw + [rule.at(kappa, 1e-3) for rule in rules for kappa in kappas]


def by_hand(problem: Plrf, configurations, steps: int, seed: int) -> np.ndarray:
    """AdamW, ADana, DanaMK4, AdEMAMix and DanaStarMK4 on stacked configurations, with buffers of their own."""
    f32 = np.float32
    names = ["adamw", "adana", "dana-mk4", "ademamix", "dana-star-mk4"]
    order = sorted(range(len(configurations)), key=lambda i: names.index(configurations[i].optimizer))
    runs = [configurations[i] for i in order]
    d = problem.d
    theta, g = np.zeros((len(runs), d), f32), np.zeros((len(runs), d), f32)
    groups = []
    for name in names:
        where = [i for i, one in enumerate(runs) if one.optimizer == name]
        part = slice(where[0], where[-1] + 1)
        columns = {
            "lr": np.array([[runs[i].lr] for i in where], f32),
            "kappa": np.array([[runs[i].kappa] for i in where]),
            "clip": np.array([[runs[i].clip_snr] for i in where], f32),
        }
        buffers = [np.zeros((len(where), d), f32) for _ in range(8)]
        groups.append((name, part, columns, buffers))
    draw = problem.stream(seed, 1, 1, np.dtype(f32))
    eps, betas = f32(1e-8), BETAS
    residual = np.empty((len(runs), 1), f32)
    t = 0
    with np.errstate(all="ignore"):
        while t < steps:
            count = min(1024, steps - t)
            features, targets, _ = draw(count)
            for i in range(count):
                x, y = features[i, 0], targets[i, 0]
                np.matmul(theta, x.T, out=residual)
                residual -= y
                np.multiply(residual, x, out=g)
                weight = f32(schedules.average_weight(t, 8.0))
                for name, part, columns, (m, v, short, tau, a, b, c, e) in groups:
                    own, p = g[part], theta[part]
                    w1 = w2 = weight
                    if name == "adamw":
                        w1, w2 = f32(1 - betas[0]), f32(1 - betas[1])
                    elif name == "ademamix":
                        w1, w2 = f32(1 - schedules.ademamix_beta1(t, steps)), f32(1e-3)
                    np.multiply(m, f32(1) - w1, out=m)
                    np.multiply(own, w1, out=a)
                    np.add(m, a, out=m)
                    np.multiply(own, own, out=a)
                    np.multiply(a, w2, out=a)
                    np.multiply(v, f32(1) - w2, out=v)
                    np.add(v, a, out=v)
                    if name in ("adamw", "ademamix"):
                        np.multiply(v, f32(1 / schedules.bias_correction(t, 1 - float(w2))), out=a)
                        np.sqrt(a, out=a)
                    else:
                        np.sqrt(v, out=a)
                    np.add(a, eps, out=a)  # the denominator
                    if name == "adamw":
                        np.divide(m, a, out=b)
                        np.multiply(b, columns["lr"] * f32(1 / schedules.bias_correction(t, betas[0])), out=b)
                    elif name == "adana":
                        np.multiply(m, ((1 + t) ** (1 - columns["kappa"])).astype(f32), out=b)
                        np.add(b, own, out=b)
                        np.divide(b, a, out=b)
                        np.multiply(b, columns["lr"], out=b)
                    elif name == "ademamix":
                        np.multiply(short, f32(0.9), out=short)
                        np.multiply(own, f32(0.1), out=b)
                        np.add(short, b, out=short)
                        growth = (t / steps * steps ** (1 - columns["kappa"])).astype(f32)
                        np.multiply(m, growth, out=b)
                        np.multiply(short, f32(1 / schedules.bias_correction(t, 0.9)), out=c)
                        np.add(b, c, out=b)
                        np.divide(b, a, out=b)
                        np.multiply(b, columns["lr"], out=b)
                    elif name == "dana-mk4":
                        np.divide(f32(1), a, out=a)
                        np.absolute(m, out=b)
                        np.multiply(b, a, out=b)
                        np.multiply(b, (float(t) ** (1 - columns["kappa"])).astype(f32), out=c)
                        np.minimum(c, columns["clip"], out=c)
                        np.add(c, b, out=c)
                        np.sign(m, out=b)
                        np.multiply(b, c, out=b)
                        np.multiply(own, a, out=c)
                        np.add(b, c, out=b)
                        np.multiply(b, columns["lr"], out=b)
                    else:
                        np.absolute(own, out=b)
                        np.add(b, a, out=c)
                        np.divide(b, c, out=b)
                        np.multiply(b, weight, out=b)
                        np.multiply(tau, f32(1) - weight, out=tau)
                        np.add(tau, b, out=tau)
                        np.minimum(tau, f32(0.5), out=b)
                        np.subtract(f32(1), b, out=c)
                        np.divide(b, c, out=b)
                        np.maximum(b, f32(1 / (1 + t)), out=b)  # tau~
                        np.sqrt(b, out=c)
                        np.divide(c, a, out=a)  # norm
                        np.absolute(m, out=c)
                        np.multiply(c, a, out=c)
                        np.multiply(tau, f32(t), out=e)
                        np.maximum(e, f32(1), out=e)
                        np.power(e, (1 - columns["kappa"]).astype(f32), out=e)
                        np.multiply(e, c, out=e)
                        np.divide(e, b, out=e)
                        np.minimum(e, columns["clip"], out=e)
                        np.multiply(e, b, out=e)
                        np.add(e, c, out=e)
                        np.sign(m, out=b)
                        np.multiply(b, e, out=b)
                        np.multiply(own, a, out=c)
                        np.add(b, c, out=b)
                        np.multiply(b, columns["lr"], out=b)
                    np.subtract(p, b, out=p)
                t += 1
        risk = problem.risk(theta.astype(np.float64))
    return risk[np.argsort(order)]


def one_at_a_time(problem: Plrf, configurations, steps: int, seed: int) -> None:
    """The rules as they are, for one configuration after the other."""
    with np.errstate(all="ignore"):
        for one in configurations:
            draw = problem.stream(seed, 1, 1, np.dtype(np.float32))
            features, targets, _ = draw(steps)
            theta = np.zeros(problem.d, np.float32)
            state = {name: np.zeros_like(theta) for name in one.rule.state(one.options(steps))}
            for t in range(steps):
                x = features[t, 0, 0]
                g = (x @ theta - targets[t, 0, 0]) * x
                scalars = dict(one.scalars(float(t), steps))
                lr, decay = scalars.pop("lr"), scalars.pop("decay")
                u, state = one.rule.direction(np, g, state, scalars)
                theta = rules.descend(theta, u, lr=lr, decay=decay, form=one.form)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    setting = SWEEPS["figure-8-left"]
    problem = Plrf(setting.rho, setting.eta, setting.v, setting.d, seed=1)
    runs = configurations()
    simulate(problem, runs, total_steps=10)  # imports and first touches
    times: dict[str, list[float]] = {"simulate": [], "by hand": [], "one at a time": []}
    for _ in range(arguments.repeats):
        start = time.process_time()
        ours = simulate(problem, runs, total_steps=arguments.steps, seed=1).risk[:, 0, -1]
        times["simulate"].append(time.process_time() - start)
        start = time.process_time()
        theirs = by_hand(problem, runs, arguments.steps, seed=1)
        times["by hand"].append(time.process_time() - start)
        start = time.process_time()
        one_at_a_time(problem, runs, arguments.steps // 10, seed=1)
        times["one at a time"].append(10 * (time.process_time() - start))
    calm = ours < 0.9 * problem.risk(np.zeros(problem.d))
    print(f"{len(runs)} configurations, {arguments.steps} steps, {arguments.repeats} repeats (CPU seconds)")
    for name, seconds in times.items():
        listed = " ".join(f"{x:.2f}" for x in seconds)
        print(f"  {name:14} median {statistics.median(seconds):7.2f}   ({listed})")
    for name in ("by hand", "one at a time"):
        ratios = [b / a for a, b in zip(times["simulate"], times[name])]
        print(f"  simulate takes {1 / statistics.median(ratios):.3f} of the time of {name}")
    difference = np.abs(ours / theirs - 1)[calm]
    # Near the edge of stability rounding grows, so the largest difference says little.
    print(f"  final risks by both, where the risk fell: median relative difference {np.median(difference):.1e}")


if __name__ == "__main__":
    main()
