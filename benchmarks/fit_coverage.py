r"""How often the intervals of ``adana fit`` hold the truth, on ladders whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/fit_coverage.py        (some ten minutes of one core)
    OMP_NUM_THREADS=1 python benchmarks/fit_coverage.py --parts forms --simulations 24 --bootstrap 60 \
        --output results/fit-coverage-forms.csv

Learning-rate law: sweeps by the paper's fine search (factor 1.25, two points on each side of the best), losses a
parabola in the log of the learning rate with the paper's curvature for AdamW and 0.001 nats of noise, law (39) or
(44). Loss laws: Table 11 at Enoki's sizes with 0.003 nats of noise. Multipliers: a line of four budgets with 0.005
nats of noise a run and three seeds. Dampings: the best ones off by 15 % from a known law. Forms: a single power law is
fitted where two power laws of Table 11 made the losses, and where one did; its intervals alone, and those of a new run
(other forms and noise in them); and the held-out largest size with both. A row is a
setting: how many simulations, how many intervals held the truth, how wide the middle one was (a factor for learning
rates and nats for losses).
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.scaling.ladders import damping_sweeps, enoki_pfh, losses_of, sweeps_of, table_11

from adana.models import EnokiConfig
from adana.scaling.damping import fit_damping
from adana.scaling.intervals import loss_interval
from adana.scaling.laws import LearningRateLaw
from adana.scaling.learning_rate import fit_learning_rates
from adana.scaling.loss import fit_losses, hold_out_largest
from adana.scaling.multiplier import budget_multipliers, compute_multiplier

LADDERS = {
    3: (6, 12, 24),
    4: (6, 10, 16, 24),
    6: (6, 8, 12, 16, 20, 24),
    10: (6, 8, 10, 12, 14, 16, 18, 20, 22, 24),
}
LR_LAWS = {
    "(39), b = 1.67e4": LearningRateLaw(12.8, 1.67e4, -0.515),
    "(44), b = 2.4e6": LearningRateLaw(223, 2.4e6, -0.724),
}


def learning_rates(simulations: int, bootstrap: int):
    target = EnokiConfig(40).non_embedding_parameters
    for name, law in LR_LAWS.items():
        for count, heads in LADDERS.items():
            for resample in ("residuals", "sizes"):
                fits = [
                    fit_learning_rates(
                        sweeps_of(law, heads, seed=seed), bootstrap=bootstrap, seed=seed, resample=resample
                    )
                    for seed in range(simulations)
                ]
                bands = [fit.predict(target)[1] for fit in fits]
                setting = f"learning rate {name}, {count} sizes, bootstrap of {resample}"
                widths = [band.high / band.low for band in bands]
                yield setting, "lr at 40 heads", simulations, sum(law(target) in band for band in bands), widths
                yield (
                    setting,
                    "d",
                    simulations,
                    sum(law.d in fit.intervals.d for fit in fits),
                    [fit.intervals.d.high - fit.intervals.d.low for fit in fits],
                )
                if count >= 5:
                    named = sum(fit.b_identified for fit in fits)
                    yield setting, "b called identified (no coverage)", simulations, named, [math.nan]


def losses(simulations: int, bootstrap: int):
    target = enoki_pfh(40)
    everyone = {form: table_11(form) for form in ("single", "broken")}
    settings = [
        ("single, one optimizer, 4 sizes", "single", ("adamw",), LADDERS[4]),
        ("single, one optimizer, 6 sizes", "single", ("adamw",), LADDERS[6]),
        ("single, two optimizers, 6 sizes", "single", ("adamw", "muon"), LADDERS[6]),
        ("broken, three optimizers, 10 sizes", "broken", ("adamw", "muon", "ademamix-dw"), LADDERS[10]),
    ]
    for title, form, names, heads in settings:
        if form == "broken":  # a hundred times the work of a single one
            simulations //= 2
        laws = {name: everyone[form][name] for name in names}
        bands, saturations, widths, a_widths = 0, 0, [], []
        for seed in range(simulations):
            ladders = losses_of(laws, heads, noise=0.003, seed=seed)
            fits = fit_losses(ladders, form=form, bootstrap=bootstrap, seed=seed, starts=8, compare=False)
            fit = fits.fits["adamw"]
            band, a = loss_interval(fit.samples, target), fit.intervals["a"]
            bands += laws["adamw"](target) in band
            saturations += laws["adamw"].a in a
            widths.append(band.high - band.low)
            a_widths.append(a.high - a.low)
        yield f"loss, {title}", "loss at 40 heads", simulations, bands, widths
        yield f"loss, {title}", "a", simulations, saturations, a_widths


def forms(simulations: int, bootstrap: int, have: set[str] = frozenset()):
    target = enoki_pfh(40)
    for form in ("broken", "single"):
        law = table_11(form)["adamw"]
        made = f"{'two power laws' if form == 'broken' else 'one power law'} made the losses, one is fitted"
        for count, noise in ((6, 0.003), (10, 0.003), (10, 0.001)):
            title = f"{made}, {count} sizes, noise {noise:g}"
            if title in have:
                continue
            rows: dict[str, list[tuple[bool, float]]] = {}
            rejected = 0
            for seed in range(simulations):
                ladders = losses_of({"x": law}, LADDERS[count], noise=noise, seed=seed)
                fits = fit_losses(ladders, bootstrap=bootstrap, seed=seed, starts=6)
                rejected += fits.form_test.rejects
                fit = fits.fits["x"]
                rest = {"x": {c: y for c, y in ladders["x"].items() if c != max(ladders["x"])}}
                before = fit_losses(rest, bootstrap=bootstrap, seed=seed, starts=6, compare=False).fits["x"]
                held = hold_out_largest(ladders, bootstrap=bootstrap, seed=seed, starts=6)["x"]
                for what, value, band in (
                    ("loss at 40 heads, interval of one law", law(target), loss_interval(fit.samples, target)),
                    ("loss at 40 heads, interval of a new run", law(target), fit.predict(target)[1]),
                    (
                        "held-out loss, interval of one law",
                        held.loss,
                        loss_interval(before.samples, held.pfh),
                    ),
                    ("held-out loss, interval of a new run", held.loss, held.interval),
                ):
                    rows.setdefault(what, []).append((value in band, band.high - band.low))
            for what, found in rows.items():
                yield title, what, simulations, sum(hit for hit, _ in found), [width for _, width in found]
            yield title, "one power law rejected (no coverage)", simulations, rejected, [math.nan]


def multipliers(simulations: int):
    generator = np.random.default_rng(0)
    line = {1.0: 3.0, 2.0: 2.8, 4.0: 2.65, 8.0: 2.55}
    truth = compute_multiplier(list(line), list(line.values()), 2.0, 2.72).multiplier
    hits, widths = 0, []
    for seed in range(simulations):
        ladders = {
            "adamw": {c: (loss + 0.005 * generator.standard_normal(3)).tolist() for c, loss in line.items()},
            "adana": {2.0: (2.72 + 0.005 * generator.standard_normal(3)).tolist()},
        }
        (row,) = budget_multipliers(ladders, "adamw", draws=1000, seed=seed)
        hits += row.low <= truth <= row.high
        widths.append(row.high - row.low)
    yield "multiplier, 4 budgets, 3 seeds", "multiplier 1.53", simulations, hits, widths


def dampings(simulations: int, bootstrap: int):
    settings = {
        "3 horizons": [(7e6, steps, 65536) for steps in (2e3, 8e3, 3e4)],
        "3 horizons, 2 batches, 2 sizes": [
            (size, steps, batch) for size in (7e6, 2e7) for steps in (3e3, 1e4, 4e4) for batch in (65536, 1048576)
        ],
    }
    truth = {"scale": 1.0, "kappa": 0.85, "batch_exponent": 0.33, "size_exponent": 0.0}
    for setting, where in settings.items():
        fits = [
            fit_damping(damping_sweeps(where, seed=seed), bootstrap=bootstrap, seed=seed).intervals
            for seed in range(simulations)
        ]
        for name in fits[0]:
            held = sum(truth[name] in found[name] for found in fits)
            widths = [found[name].high - found[name].low for found in fits]
            yield f"damping, {setting}", name, simulations, held, widths


PARTS = {
    "multipliers": lambda simulations, bootstrap: multipliers(simulations),
    "dampings": dampings,
    "learning-rates": learning_rates,
    "losses": losses,
    "forms": forms,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--bootstrap", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("results/fit-coverage.csv"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[name for name in PARTS if name != "forms"])
    options = parser.parse_args()
    effort = [str(options.simulations), str(options.bootstrap)]
    rows: list[list[str]] = []
    if options.parts == ["forms"] and options.output.exists():  # hours of work: an interrupted command goes on
        with options.output.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row[2:4] == effort]
    have = {row[0] for row in rows}
    for name in options.parts:
        part = (
            forms(options.simulations, options.bootstrap, have)
            if name == "forms"
            else PARTS[name](options.simulations, options.bootstrap)
        )
        for setting, what, simulations, hits, widths in part:
            share = hits / simulations
            width = f"{statistics.median(widths):.4g}"
            rows.append([setting, what, str(simulations), str(options.bootstrap), str(hits), f"{share:.3f}", width])
            print(f"{setting}: {what}: {share:.3f}, width {width}", flush=True)
            if what.endswith("(no coverage)") or name != "forms":
                write(options.output, rows)


def write(output: Path, rows: list[list[str]]) -> None:
    temporary = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["setting", "interval", "simulations", "bootstrap", "held", "share", "median_width"])
        writer.writerows(rows)
    os.replace(temporary, output)


if __name__ == "__main__":
    main()
