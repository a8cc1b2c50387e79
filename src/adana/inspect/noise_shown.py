"""The gradient noise scale as tables, as sentences and as a figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adana.inspect.noise import MEASURED, Advice, KindNoise, NoiseScales
from adana.tables import Cell, Column, Table, count, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "sentences", "tables"]


def tables(result: NoiseScales) -> list[Table]:
    """One row per kind of parameter at the last step, and one per batch."""
    last = result.snapshots[-1]

    def scale(kind: KindNoise) -> Cell:
        return Cell("hidden by noise", math.inf) if kind.scale is None else Cell(f"{kind.scale:.3g}", kind.scale)

    def span(kind: KindNoise) -> str | None:
        return (
            None
            if kind.low is None
            else f"{kind.low:.3g} " + ("or more" if kind.high is None else f"to {kind.high:.3g}")
        )

    kinds: list[Column[KindNoise]] = [
        Column("kind", lambda kind: kind.kind, words=True),
        Column("parameters", lambda kind: kind.parameters, "count"),
        Column("noise scale", scale, unit="sequences"),
        Column("95 %", span),
        Column("noise scale", lambda kind: kind.scale_tokens, "count", unit="tokens"),
        Column("SNR of a batch", lambda kind: kind.batch_snr, ".3g"),
        Column("batches in momentum", lambda kind: kind.momentum_batches, ".3g"),
        Column("SNR of momentum", lambda kind: kind.momentum_snr, ".3g"),
        Column("SNR of momentum, still", lambda kind: kind.momentum_snr_still, ".3g"),
        Column("cosine", lambda kind: kind.momentum_cosine, ".3f"),
    ]
    shown = [column for column in kinds if any(column.value(kind) is not None for kind in last.kinds)]
    how = "single sequences" if result.unit == 1 else f"{result.sequences} and {result.unit} sequences"
    caption = (
        f"{result.run}: {result.optimizer} after step {last.step:,}, loss {last.loss:.3f}, from gradients of {how}"
    )
    batches: list[Column[Advice]] = [
        Column("batch", lambda one: one.batch_tokens, ",.0f", unit="tokens"),
        Column("over the noise scale", lambda one: one.over_scale, ".3g"),
        Column("damping_scale", lambda one: one.damping_scale, ".3g"),
        Column("from", lambda one: _source(one, result), words=True),
    ]
    found = [tabulate("noise", caption, last.kinds, shown)]
    if any(one.damping_scale is not None for one in result.advice):
        found.append(
            tabulate("noise-batches", "The damping scale alpha~ at other batches: B^0.33", result.advice, batches)
        )
    return found


def _source(advice: Advice, result: NoiseScales) -> str:
    if advice.batch_tokens == result.batch_size * result.seq_len:
        return "this run"
    return "extrapolated" if advice.extrapolated else "measured range"


def sentences(result: NoiseScales) -> list[str]:
    """What to know before the tables are believed."""
    whole = result.snapshots[-1].kinds[0]
    steps = [snapshot.step for snapshot in result.snapshots]
    said = [f"{len(steps)} snapshots, steps {steps[0]:,} to {steps[-1]:,}, {result.sequences} sequences each."]
    if whole.scale is None or whole.high is None:
        said.append(
            "The noise scale has no upper end: noise hides the gradient in so few sequences; take more (--sequences)."
        )
    else:
        ratio = result.batch_size / whole.scale
        said.append(
            f"The run's batch is {ratio:.2g} times the noise scale: a gradient has "
            + ("more noise than signal." if ratio < 1 else "less noise than signal, and a larger batch gains little.")
        )
    if len(steps) == 1:
        said.append("It grows along a run: keep checkpoints with --keep-every, or pass --train for a recipe.")
    if any(one.damping_scale is not None for one in result.advice):
        low, high = MEASURED
        said.append(
            f"Known of alpha~ ~ B^0.33: from {low:,} to {high:,} tokens per step, with linear damping (Section H.1). "
            "Outside, and for other dampings, it is extrapolated; what we measured is in docs/batch.md."
        )
    return said


def figure(result: NoiseScales) -> Figure:
    """The noise scale in tokens over steps with the run's batch, and the ratios of signal to noise, by kind."""
    from matplotlib.figure import Figure

    from adana.drawing import COLOURS

    kinds = [kind.kind for kind in result.snapshots[0].kinds]
    steps = [snapshot.step for snapshot in result.snapshots]
    drawn = Figure(figsize=(8.6, 3.8), layout="constrained")
    scales, ratios = drawn.subplots(1, 2)
    for index, (kind, colour) in enumerate(zip(kinds, COLOURS)):
        own = [snapshot.kinds[index] for snapshot in result.snapshots]
        points = [(step, one) for step, one in zip(steps, own) if one.scale is not None]
        if points:
            x = [step for step, _ in points]
            y = [one.scale * result.seq_len for _, one in points if one.scale is not None]
            scales.plot(x, y, ".-", color=colour, label=kind)
            for step, one in points:
                if one.low is not None and one.high is not None:
                    ends = [one.low * result.seq_len, one.high * result.seq_len]
                    scales.plot([step, step], ends, color=colour, linewidth=1, alpha=0.6)
        for name, style in (("batch_snr", ":"), ("momentum_snr_still", "--"), ("momentum_snr", "-")):
            values = [(step, getattr(one, name)) for step, one in zip(steps, own) if (getattr(one, name) or 0) > 0]
            if values:
                ratios.plot(*zip(*values), style, marker=".", color=colour)
    batch = result.batch_size * result.seq_len
    scales.axhline(batch, color="#6b7280", linewidth=1)
    scales.annotate(f"batch: {count(batch)} tokens", (0, batch), (2, 3), textcoords="offset points", fontsize=8)
    scales.set(yscale="log", xlabel="step", ylabel="gradient noise scale (tokens)")
    scales.legend(frameon=False, fontsize=8)
    ratios.set(xlabel="step", ylabel="squared signal-to-noise ratio")
    ratios.set_title("momentum (line), as if still (dashed), one batch (dotted)", fontsize=9)
    if ratios.lines:
        ratios.set_yscale("log")
    return drawn
