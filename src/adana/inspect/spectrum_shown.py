"""A run's spectra as tables, as sentences and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adana.catalog import default_kappa
from adana.inspect.gradients import GradientSpectrum
from adana.inspect.power_law import LEAST_SPAN, TOLERANCE, PowerLaw
from adana.inspect.spectrum import Movement, Spectra, SpectrumSnapshot
from adana.scaling.intervals import Interval
from adana.tables import Column, Table, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "sentences", "tables"]


def _exponent(law: PowerLaw | None, interval: Interval | None) -> str:
    if law is None:
        return "too few modes"
    if not law.holds:
        return "no power law"
    return f"{law.exponent:.3f}" + (f" ({interval.low:.3f} to {interval.high:.3f})" if interval is not None else "")


def _halves(law: PowerLaw | None) -> str | None:
    return None if law is None else f"{law.halves[0]:.2f}, {law.halves[1]:.2f}"


def _ranks(law: PowerLaw | None) -> str | None:
    return None if law is None else f"{law.first} to {law.last}"


def _kappa(law: PowerLaw | None) -> float | None:
    return None if law is None else law.kappa


def _held(law: PowerLaw | None) -> float | None:
    return law.exponent if law is not None and law.holds else None


def tables(result: Spectra) -> list[Table]:
    """Layers at the last step, exponents along the steps, gradients at the last step, and movements."""
    last = result.snapshots[-1]
    found = [_layers(result, last)]
    if len(result.snapshots) > 1:
        found.append(_along(result))
    if last.gradients:
        found.append(_gradients(last))
    if result.movements:
        found.append(_movements(result.movements))
    return found


def _layers(result: Spectra, last: SpectrumSnapshot) -> Table:
    layers = last.layers
    columns: list[Column[str]] = [
        Column("layer", lambda name: name, words=True),
        Column("width", lambda name: layers[name].width, "count"),
        Column("2 rho (95 %)", lambda name: _exponent(layers[name].law, layers[name].interval)),
        Column("1/(2 rho)", lambda name: _kappa(layers[name].law), ".2f"),
        Column("ranks", lambda name: _ranks(layers[name].law)),
        Column("its halves", lambda name: _halves(layers[name].law)),
        Column("R^2", lambda name: getattr(layers[name].law, "r_squared", None), ".4f"),
        Column("effective rank", lambda name: layers[name].effective_rank, ".3g"),
        Column("way", lambda name: layers[name].method, words=True),
        Column("largest error", lambda name: layers[name].error, ".1%"),
    ]
    caption = (
        f"{result.run}: activations after step {last.step:,} of {result.total_steps:,}, {result.tokens:,} tokens of "
        "held-out text"
    )
    return tabulate("layers", caption, list(layers), columns)


def _along(result: Spectra) -> Table:
    def of(name: str) -> Column[SpectrumSnapshot]:
        return Column(name, lambda one: _held(one.layers[name].law), ".3f")

    columns: list[Column[SpectrumSnapshot]] = [Column("step", lambda one: one.step, "count")]
    columns += [of(name) for name in result.snapshots[-1].layers]
    return tabulate("along", "2 rho along training, where a power law holds", result.snapshots, columns)


def _gradients(last: SpectrumSnapshot) -> Table:
    def span(value: float, interval: Interval | None, form: str) -> str:
        return f"{value:{form}}" + (f" ({interval.low:{form}} to {interval.high:{form}})" if interval else "")

    columns: list[Column[GradientSpectrum]] = [
        Column("matrix", lambda one: one.matrix, words=True),
        Column("shape", lambda one: f"{one.shape[0]} x {one.shape[1]}"),
        Column("first mode (95 %)", lambda one: span(one.top, one.top_interval, ".1%")),
        Column("first 8", lambda one: one.head, ".1%"),
        Column("stable rank (95 %)", lambda one: span(one.stable_rank, one.stable_rank_interval, ".2f")),
        Column("tail exponent (95 %)", lambda one: _exponent(one.law, one.interval)),
        Column("ranks", lambda one: _ranks(one.law)),
    ]
    caption = (
        f"gradients of {last.gradients[0].samples} single sequences after step {last.step:,}: squared singular values"
    )
    return tabulate("gradients", caption, last.gradients, columns)


def _movements(movements: list[Movement]) -> Table:
    columns: list[Column[Movement]] = [
        Column("layer", lambda one: one.layer, words=True),
        Column("from step", lambda one: one.begin, "count"),
        Column("to step", lambda one: one.end, "count"),
        Column("overlap", lambda one: one.overlap, ".3f"),
        Column("overlap of two halves of the text", lambda one: one.resampled, ".3f"),
    ]
    caption = f"overlap of the {movements[0].modes} leading modes between steps: 1 where nothing moved"
    return tabulate("movements", caption, movements, columns)


def sentences(result: Spectra) -> list[str]:
    """What to know before the table is believed."""
    last = result.snapshots[-1]
    said = []
    without = [name for name, one in last.layers.items() if one.law is not None and not one.law.holds]
    if without:
        said.append(
            f"No power law in {', '.join(without)}: over no range of a factor of {LEAST_SPAN} of ranks do the "
            f"exponents of both halves agree within {TOLERANCE:.0%}."
        )
    kappas = [kappa for kappa in (_kappa(one.law) for one in last.layers.values()) if kappa is not None]
    if kappas:
        trained = f"; this run was trained with {result.kappa:g}" if result.kappa is not None else ""
        said.append(
            f"1/(2 rho) is {min(kappas):.2f} to {max(kappas):.2f}. Advice for text is kappa = "
            f"{default_kappa('adana'):g}{trained}."
        )
        said.append(
            "Do not set kappa by 1/(2 rho): where it is known, the best kappa lies at or above it and rises with the "
            "learning rate and the horizon (docs/kappa-map.md)."
        )
    if len(result.snapshots) == 1:
        said.append("For the way there, keep checkpoints: adana train --save-every 100 --keep-every 100.")
    said.append("Intervals are over parts of the text, and not over seeds.")
    return said


def figure(result: Spectra) -> Figure:
    """Spectra at both ends, exponents along training, gradients, and movement of the head from the first step on."""
    import numpy as np
    from matplotlib.figure import Figure

    from adana.drawing import COLOURS

    first, last = result.snapshots[0], result.snapshots[-1]
    names = list(last.layers)
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    drawn = Figure(figsize=(9.6, 7.2), layout="constrained")
    (spectra, along), (gradients, moved) = drawn.subplots(2, 2)
    for name in names:
        for snapshot, style in ((last, "-"), (first, ":")):
            values = np.asarray(snapshot.layers[name].eigenvalues)
            label = name if snapshot is last else None
            spectra.plot(np.arange(1, len(values) + 1), values, style, color=colours[name], label=label)
        held = [one for one in result.snapshots if _held(one.layers[name].law) is not None]
        along.plot([one.step for one in held], [_held(one.layers[name].law) for one in held], ".-", color=colours[name])
        for one in held:
            span = one.layers[name].interval
            if span is not None:
                along.plot([one.step] * 2, [span.low, span.high], color=colours[name], alpha=0.5)
        steps = [one for one in result.movements if one.layer == name]
        steps = steps[: len(result.snapshots) - 1]
        moved.plot([one.end for one in steps], [one.overlap for one in steps], ".-", color=colours[name])
        moved.plot([one.end for one in steps], [one.resampled for one in steps], ":", color=colours[name])
    for i, matrix in enumerate(last.gradients):
        colour = COLOURS[i % len(COLOURS)]
        gradients.plot(np.arange(1, len(matrix.shares) + 1), matrix.shares, color=colour, label=matrix.matrix)
    for axes, title, x, y in (
        (spectra, f"activations, step {last.step:,} (dotted: {first.step:,})", "rank", "eigenvalue"),
        (along, "exponent 2 rho, where a power law holds", "step", "2 rho"),
        (gradients, f"gradients of single sequences, step {last.step:,}", "rank", "share of the square"),
        (moved, "leading modes: overlap with the step before\n(dotted: two halves of the text)", "step", "overlap"),
    ):
        axes.set_title(title, fontsize=9)
        axes.set(xlabel=x, ylabel=y)
    for axes in (spectra, gradients):
        axes.set(xscale="log", yscale="log")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=6)
    return drawn
