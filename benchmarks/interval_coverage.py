r"""How often the intervals of predictions hold losses and learning rates of larger runs that were measured.

    python benchmarks/interval_coverage.py --data FOLDER        (minutes of one core)

Tables: this package's own ladder (results/ladder/runs.csv), Table 19 of the paper without its unstable run, and in
FOLDER the public tables whose sources docs/scaling.md names: Chinchilla's points, Step Law's sweeps, the authors' runs
at batch 512. A ladder is one optimizer at one number of tokens per parameter (Chinchilla's are taken in bands of 15 %).
Of every ladder the three smallest sizes, then four and so on, predict each larger size. Of the laws over size and
tokens, 70, 80 and 90 % of the cells predict those of more compute. No number of the intervals is chosen on these
tables: the widening of each is from hold-outs inside the sizes that predict, so that every size is judged as if its
table had never been seen.

A row is a law and a table: how many were predicted, how many lie in the interval before (the bootstrap of the one form
that was fitted) and now, and the middle width (nats; a factor for learning rates; relative for size and tokens).
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from adana.files import replacing
from adana.scaling.grouping import by_label, ladder_of, sweeps_of
from adana.scaling.intervals import factor_of, learning_rate_interval, loss_interval
from adana.scaling.learning_rate import _best_of, fit_learning_rates
from adana.scaling.learning_rate import hold_outs as rate_hold_outs
from adana.scaling.loss import fit_losses, hold_outs
from adana.scaling.reading import read_runs
from adana.scaling.runs import Run
from adana.scaling.size_tokens_fit import cells_of, size_tokens_law

ROOT = Path(__file__).parents[1]
BANDS = (10, 14, 20, 28, 40, 56, 80)
PFH = 3.6e18
LAWS = ("tokens", "lr", "loss")
Ladders = dict[tuple[str, str], dict[float, float]]
Row = tuple[str, str, bool, bool, float, float]
"""Table, law, held before, held now, width before, width now."""


def of_labels(table: str, path: Path) -> Ladders:
    found = {}
    for name, own in by_label(read_runs([path])).items():
        found[table, name] = {c: fmean(x) for c, x in sorted(ladder_of(own, "6n").items())}
    return found


def public(folder: Path) -> Ladders:
    found = of_labels("authors, batch 512", folder / "authors_batch512.csv")
    least: dict[tuple[float, float], float] = {}
    for (n, d), own in cells_of(read_runs([folder / "steplaw_dense_lr_bs_loss.csv"]), "non-embedding").items():
        least[n, d] = min(run.final_loss for run in own)
    for ratio in (18.6, 53.0, 93.2):
        found["Step Law", f"{ratio:g}"] = {
            6 * n * d / PFH: loss for (n, d), loss in sorted(least.items()) if abs(d / n / ratio - 1) < 0.02
        }
    runs = read_runs([folder / "chinchilla_epoch_svg_extracted.csv"])
    points = sorted((run.size, run.tokens or 0.0, run.final_loss) for run in runs)
    for low in BANDS:
        band = {6 * n * d / PFH: loss for n, d, loss in points if low <= d / n < 1.15 * low}
        if len(band) >= 5:
            found["Chinchilla", f"{low} to {1.15 * low:.0f}"] = dict(sorted(band.items()))
    return found


def losses(ladders: Ladders, bootstrap: int) -> Iterator[Row]:
    for (table, name), ladder in ladders.items():
        for title, saturation in (("loss, a free", None), ("loss, a = 0", 0.0)):
            for cut in range(3, len(ladder)):
                below = {name: dict(list(ladder.items())[:cut])}
                # Three sizes do not fix a: a = 0 is all that can be fitted.
                a = 0.0 if cut == 3 else saturation
                try:
                    fit = fit_losses(below, saturation=a, bootstrap=bootstrap, starts=8).fits[name]
                except ValueError as error:
                    print(f"{table}, {name}, {cut} sizes: {error}", flush=True)
                    continue
                fit = replace(fit, widening=factor_of(hold_outs(below, saturation=a)))
                for c, loss in list(ladder.items())[cut:]:
                    before, (_, now) = loss_interval(fit.samples, c), fit.predict(c)
                    yield table, title, loss in before, loss in now, before.high - before.low, now.high - now.low
        print(table, name, flush=True)


def rates(sweeps: dict[tuple[str, str], dict[float, dict[float, float]]], bootstrap: int) -> Iterator[Row]:
    for (table, _), own in sweeps.items():
        sizes = sorted(own)
        for cut in range(3, len(sizes)):
            below = {size: own[size] for size in sizes[:cut]}
            fit = fit_learning_rates(below, bootstrap=bootstrap)
            fit = replace(fit, widening=factor_of(rate_hold_outs(below)))
            for size in sizes[cut:]:
                best = math.exp(_best_of(size, own[size], 5))
                before, (_, now) = learning_rate_interval(fit.samples, size), fit.predict(size)
                yield table, "learning rate", best in before, best in now, before.high / before.low, now.high / now.low
        print(table, "learning rate", flush=True)


def rate_sweeps(folder: Path | None) -> dict[tuple[str, str], dict[float, dict[float, float]]]:
    found = {}
    for name, own in by_label(read_runs([ROOT / "results/ladder/runs.csv"])).items():
        found["ladder", name] = sweeps_of(own)
    if folder is not None:
        # One batch and one number of tokens per parameter: those with four sizes that were swept.
        groups: dict[tuple[float, float], list[Run]] = defaultdict(list)
        for run in read_runs([folder / "steplaw_dense_lr_bs_loss.csv"]):
            groups[float(run.batch_tokens or 0), float(f"{(run.tokens or 0) / run.size:.2g}")].append(run)
        for (batch, ratio), runs in sorted(groups.items()):
            swept = {size: sweep for size, sweep in sweeps_of(runs).items() if len(sweep) >= 5}
            if len(swept) >= 4:
                found["Step Law", f"{batch:g} at {ratio:g}"] = swept
    return found


def size_and_tokens(folder: Path, bootstrap: int) -> Iterator[Row]:
    """Cells of most compute, a fifth, predicted from the rest; and a tenth of those, from growing parts."""
    for table, file in (
        ("Chinchilla", "chinchilla_epoch_svg_extracted.csv"),
        ("Step Law", "steplaw_dense_lr_bs_loss.csv"),
    ):
        cells = cells_of(read_runs([folder / file]), "non-embedding")
        ordered = sorted(cells, key=lambda key: key[0] * key[1])
        cuts = [round(part * len(ordered)) for part in (0.7, 0.8, 0.9)]
        for cut, until in zip(cuts, [*cuts[1:], len(ordered)]):
            runs = [run for key in ordered[:cut] for run in cells[key]]
            try:
                fit = size_tokens_law(runs, size="non-embedding", bootstrap=bootstrap)
            except ValueError as error:
                print(f"{table}, {cut} cells: {error}", flush=True)
                continue
            (law,) = fit.laws
            for n, d in ordered[cut:until]:
                loss = min(run.final_loss for run in cells[n, d])
                before, (_, now) = law.predict(n, d)[1], fit.predict(law, n, d)
                yield (
                    *(table, "size and tokens", loss in before, loss in now),
                    *((before.high - before.low) / loss, (now.high - now.low) / loss),
                )
            print(table, "size and tokens", cut, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the public tables; without it the package's own alone")
    parser.add_argument("--bootstrap", type=int, default=60)
    parser.add_argument("--output", type=Path, default=ROOT / "results/interval-coverage.csv")
    parser.add_argument("--laws", nargs="+", choices=LAWS, default=LAWS, help="the rows of the others are kept")
    options = parser.parse_args()
    ladders = of_labels("ladder", ROOT / "results/ladder/runs.csv")
    ladders |= of_labels("Table 19", ROOT / "src/adana/scaling/tables/qwen3_losses.csv")
    ladders["Table 19", "ademamix (kappa 0.85)"].popitem()  # the run that the paper calls unstable
    rows: list[Row] = []
    if options.data is not None:
        ladders |= public(options.data)
        if "tokens" in options.laws:
            rows += size_and_tokens(options.data, options.bootstrap)
    if "lr" in options.laws:
        rows += rates(rate_sweeps(options.data), options.bootstrap)
    if "loss" in options.laws:
        rows += losses(ladders, options.bootstrap)
    laws = list(dict.fromkeys(row[1] for row in rows))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["law", "table", "predicted", "held_before", "held_now", "width_before", "width_now"])
    for law in laws:
        tables = list(dict.fromkeys(row[0] for row in rows if row[1] == law))
        for table in ["all", *tables]:
            own = [row for row in rows if row[1] == law and table in ("all", row[0])]
            widths = [f"{statistics.median(row[k] for row in own):.4g}" for k in (4, 5)]
            held = [sum(row[k] for row in own) for k in (2, 3)]
            writer.writerow([law, table, len(own), *held, *widths])
    if options.output.exists():
        with options.output.open(newline="") as old:
            writer.writerows(row for row in list(csv.reader(old))[1:] if row[0] not in laws)
    print(text.getvalue())
    with replacing(options.output) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
