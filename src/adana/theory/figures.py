"""The bench's set of figures, each with what it confirms and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from adana.drawing import save
from adana.files import write_text
from adana.theory import dana, phases, plots, recursion, sparse
from adana.theory.comparison import compact, plain
from adana.theory.plrf import Plrf
from adana.theory.ranking import SweepResult, rank
from adana.theory.simulate import Configuration
from adana.theory.sweeps import SWEEPS, paper_scale, search
from adana.theory.volterra import critical_lr

__all__ = ["FIGURES", "make_figures"]

Made = tuple[Figure, str, dict[str, Any]]


_LRS = (2.5e-4, 1e-3, 4e-3, 1.6e-2, 6.4e-2)  # coarse: a figure takes a minute


def _sweep(name: str, large: bool, device: str | None, seed: int) -> SweepResult:
    setting = paper_scale(name) if large else replace(SWEEPS[name], lrs=_LRS, extend=0)
    sweeps = search(setting, seeds=(seed,), records=80, device=device)
    return SweepResult(name, sweeps, rank(sweeps))


def _sweep_caption(result: SweepResult, problem: str) -> str:
    first = result.sweeps[0]
    setting, ahead = first.setting, result.ranking.rules[0]
    rates = f"the best of {len(setting.lrs)} learning rates" if len(setting.lrs) > 1 else "one learning rate"
    return (
        f"{problem}, rho = {setting.rho:g}, so 1/(2 rho) = {first.predicted:.3g}; T = {setting.total_steps:,}, seed "
        f"{first.seed}. Each point is {rates}. Least risk: {ahead.label}, {ahead.risk.mean:.3g}; AdamW "
        f"{result.ranking.rule('adamw').risk.mean:.3g}. One problem decides nothing between rules that are close: "
        "docs/theory.md has the comparison over several."
    )


def _figure_8_left(large: bool, device: str | None, seed: int) -> Made:
    result = _sweep("figure-8-left", large, device, seed)
    caption = _sweep_caption(result, f"PLRF, d = {result.sweeps[0].setting.d}")
    return plots.sweep(result, "final risk over kappa on PLRF (Figure 8, left)"), caption, result.document()


def _figure_8_centre(large: bool, device: str | None, seed: int) -> Made:
    result = _sweep("figure-8-centre", large, device, seed)
    caption = _sweep_caption(result, f"Mixture of {result.sweeps[0].setting.experts} experts on PLRF")
    return plots.sweep(result, "final risk over kappa on MoE-PLRF (Figure 8, centre)"), caption, result.document()


def _figure_9(large: bool, device: str | None, seed: int) -> Made:
    result = _sweep("figure-9", large, device, seed)
    caption = _sweep_caption(result, f"Mixture of {result.sweeps[0].setting.experts} experts on PLRF")
    labels = ("adana", "dana-star", "dana-star-mk4")
    figure = plots.sweep_curves(result.sweeps[0], labels, "risk along training on MoE-PLRF (Figure 9)")
    return figure, caption, result.document()


def _phase_diagram(large: bool, device: str | None, seed: int) -> Made:
    corners = {f"{rho:g}, {eta:g}": asdict(phases.exponents(rho, eta)) for rho, eta in ((1.0, 0.3), (1.2, 0.7))}
    caption = (
        "From the closed forms, which equal the linear program over the loss terms. No power law below the diagonal."
    )
    return plots.phase_diagram(), caption, {"examples": corners}


def _frontier(large: bool, device: str | None, seed: int) -> Made:
    found = phases.frontier(1.2, 0.7)
    caption = (
        f"Exact mean risk of SGD, least over model sizes, mean over 4 W. Fitted exponent "
        f"{found.numbers['epsilon']:.3f}, table {found.numbers['epsilon_predicted']:.3f}. The line has the table's "
        "exponent through the last point."
    )
    return plots.comparison(found), caption, {key: found.numbers[key] for key in ("epsilon", "epsilon_predicted")}


def _risk_curves(large: bool, device: str | None, seed: int) -> Made:
    problem = Plrf(1.0, 0.3, v=400, d=100, seed=seed)
    lr = 0.25 * critical_lr(problem.eigenvalues)
    family = [
        Configuration("sgd", lr),
        Configuration("sgd-m", lr / 2, beta=0.9, momentum=0.5),
        *(Configuration("dana", lr / 2, kappa=kappa, damping_scale=0.2) for kappa in (0.6, 1.0)),
    ]
    found = recursion.compare(problem, family, total_steps=3000, runs=60, seed=seed, device=device)
    worst = {curve.label: curve.max_z for curve in found.curves}
    caption = "Mean of 60 runs (points, with two standard errors) and the exact mean (lines); nothing is fitted."
    return plots.comparison(found), caption, {"largest_z": worst}


def _dana_slopes(large: bool, device: str | None, seed: int) -> Made:
    found = dana.kappa_curves()
    shown = found.comparison()
    swept = ", ".join(f"{kappa:g}" for kappa in found.kappas if kappa is not None)
    diverged = ", ".join(
        f"{kappa:g}" for kappa, at in zip(found.kappas, found.diverged_at) if kappa is not None and at >= 0
    )
    caption = (
        f"Exact mean risk without W, rho = 1, eta = .3, c = .25. Of kappa = {swept} the best is {found.best_kappa:g} "
        f"(1/(2 rho) = 0.5); {diverged} diverge. Lines: the predicted slope through the last point."
    )
    return plots.comparison(shown), caption, shown.numbers


def _sparse(large: bool, device: str | None, seed: int) -> Made:
    found = sparse.compare(seed=seed)
    caption = " ".join(found.notes)
    return plots.comparison(found), caption, {curve.label: curve.simulated.tolist() for curve in found.curves}


def _schedules(large: bool, device: str | None, seed: int) -> Made:
    caption = (
        "Constant coefficients forget at a fixed age, log time at a fixed share of the run, about an eighth of it."
    )
    return plots.schedules_in_time(), caption, {}


FIGURES: dict[str, Callable[[bool, str | None, int], Made]] = {
    "figure-8-left": _figure_8_left,
    "figure-8-centre": _figure_8_centre,
    "figure-9": _figure_9,
    "phase-diagram": _phase_diagram,
    "compute-frontier": _frontier,
    "risk-curves": _risk_curves,
    "dana-slopes": _dana_slopes,
    "sparse-oracle": _sparse,
    "schedules": _schedules,
}


def make_figures(
    out: Path,
    *,
    only: Sequence[str] = (),
    large: bool = False,
    device: str | None = None,
    seed: int = 1,
    suffix: str = ".svg",
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Compute and write the figures, each as ``NAME.svg`` with its numbers in ``NAME.json``.

    Args:
        out: folder, made if missing.
        only: names of ``FIGURES``; default all.
        large: the sweeps at the published sizes.
        device: for the simulations; None for NumPy.
        seed: of problems and streams.
        suffix: ``".svg"``, ``".png"`` or ``".pdf"``.
        progress: called with a line when a figure is written.

    Returns:
        Caption, file and numbers by name.
    """
    for name in only:
        if name not in FIGURES:
            raise ValueError(f"unknown figure {name!r}: choose from {', '.join(FIGURES)}")
    if suffix not in (".svg", ".png", ".pdf"):
        raise ValueError(f"suffix must be .svg, .png or .pdf, got {suffix!r}")
    out.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = {}
    for name in only or FIGURES:
        figure, caption, numbers = FIGURES[name](large, device, seed)
        path = out / f"{name}{suffix}"
        save(figure, path, caption)
        made[name] = {"file": str(path), "caption": caption, "numbers": plain(numbers)}
        write_text(out / f"{name}.json", compact(made[name]) + "\n")
        progress(f"{name}: {path}")
    return made
