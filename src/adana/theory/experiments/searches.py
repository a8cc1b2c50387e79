"""Searches for the best kappa and the best rule, and the bench's figures."""

# No `from __future__ import annotations`: the command reads the types of the parameters as they stand here.

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adana.theory.checks import integer

if TYPE_CHECKING:
    from adana.theory.comparison import Comparison
    from adana.theory.dana_map import DanaMap
    from adana.theory.kappa_map import KappaMap
    from adana.theory.ranking import SweepResult

__all__ = ["dana", "dana_map", "figures", "kappa_map", "sweep"]

Progress = Callable[[str], None]

_FINE_GRID = tuple(step / 40 for step in range(8, 49))


def dana(
    *,
    rho: float = 1.0,
    eta: float = 0.3,
    kappas: tuple[float, ...] = (0.2, 0.35, 0.5, 0.6, 0.75, 1.0),
    lr: float = 0.3,
    damping_scale: float = 0.25,
    steps: int = 12000,
    modes: int = 3000,
) -> "Comparison":
    """Exact risk of DANA (SGD with momentum in log time) over kappa, beside the slopes that theory predicts.

    Args:
        rho: Data exponent: the eigenvalues of the data fall as j^(-2 rho).
        eta: Target exponent: the target's coefficients fall as j^-eta.
        kappas: Values of kappa, the exponent of log-time momentum: its weight grows with step t as t^(1 - kappa).
        lr: Learning rate.
        damping_scale: The constant in front of that growth.
        steps: Updates.
        modes: Number of eigenvalues.
    """
    from adana.theory.dana import kappa_curves

    return kappa_curves(
        rho, eta, kappas=kappas, lr=lr, damping_scale=damping_scale, total_steps=steps, count=modes
    ).comparison()


def dana_map(
    *,
    rhos: tuple[float, ...] = (0.75, 1.0, 1.25, 1.5),
    lrs: tuple[float, ...] = (0.3,),
    damping_scales: tuple[float, ...] = (0.1, 0.25, 0.5),
    horizons: tuple[int, ...] = (3000, 12000, 30000),
    kappas: tuple[float, ...] = _FINE_GRID,
    eta: float = 0.3,
    modes: int = 1000000,
    progress: Progress | None = None,
) -> "DanaMap":
    """Best kappa of DANA's exact risk beside the predicted 1/(2 rho), over exponent, learning rate and horizon.

    Args:
        rhos: Data exponents, above 1/2: the eigenvalues of the data fall as j^(-2 rho).
        lrs: Learning rates.
        damping_scales: Constants in front of momentum's growth t^(1 - kappa).
        horizons: Numbers of updates, increasing; one run serves all.
        kappas: Values of kappa, increasing, at least three.
        eta: Target exponent: the target's coefficients fall as j^-eta.
        modes: Number of eigenvalues.
        progress: Called with a line when a part is done.
    """
    from adana.theory import dana_map as module

    return module.dana_map(
        rhos=rhos,
        lrs=lrs,
        damping_scales=damping_scales,
        horizons=horizons,
        kappas=kappas,
        eta=eta,
        modes=modes,
        progress=progress or _silent,
    )


def kappa_map(
    *,
    rhos: tuple[float, ...] = (0.6, 0.75, 1.0, 1.25, 1.5),
    batches: tuple[int, ...] = (1, 8),
    horizons: tuple[int, ...] = (2500, 5000, 10000, 20000),
    lrs: tuple[float, ...] = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3),
    kappas: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3),
    eta: float = 0.3,
    v: int = 800,
    d: int = 200,
    seeds: int = 2,
    optimizer: str = "adana",
    device: str | None = None,
) -> "KappaMap":
    """Best kappa of a rule, simulated on PLRF, beside the predicted 1/(2 rho), over exponent, batch and horizon.

    Args:
        rhos: Data exponents: the eigenvalues of the data fall as j^(-2 rho).
        batches: Samples per step.
        horizons: Numbers of updates, increasing; one run serves all.
        lrs: Learning rates.
        kappas: Values of kappa, increasing, at least three.
        eta: Target exponent: the target's coefficients fall as j^-eta.
        v: Dimension of the data, above d.
        d: Number of parameters of the model.
        seeds: Problems and streams of samples.
        optimizer: A rule with a kappa.
        device: Torch device, such as cuda; default NumPy on the CPU.
    """
    from adana.theory import kappa_map as module

    return module.kappa_map(
        rhos=rhos,
        batches=batches,
        horizons=horizons,
        lrs=lrs,
        kappas=kappas,
        eta=eta,
        v=v,
        d=d,
        seeds=seeds,
        optimizer=optimizer,
        device=device,
    )


def sweep(
    *,
    setting: str = "figure-8-left",
    seed: int = 1,
    seeds: int = 1,
    held_out: int = 0,
    lrs: tuple[float, ...] = (),
    extend: int | None = None,
    steps: int | None = None,
    paper_scale: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> "SweepResult":
    """Rules on PLRF or its mixture, each searched for its own learning rate, over kappa (the paper's Figures 8, 9).

    Args:
        setting: Problem and rules: figure-8-left, figure-8-centre or figure-9.
        seed: Seed of the first problem and stream; the others follow it.
        seeds: Number of problems that are searched.
        held_out: Number of further problems, on which each rule runs once, at the option and the learning rate that
            were best on the searched ones.
        lrs: Learning rates, the same for all rules; default the setting's.
        extend: How many rates may be added at either end of these while some best rate lies there; default the
            setting's number, or 0 with --lrs.
        steps: Updates; default the setting's number.
        paper_scale: Use the published sizes, at one learning rate (hours on a GPU).
        device: Torch device, such as cuda; default NumPy on the CPU.
        progress: Called with a line when a part is done.
    """
    from dataclasses import replace

    from adana.theory.ranking import SweepResult, rank
    from adana.theory.sweeps import SWEEPS, search
    from adana.theory.sweeps import paper_scale as published

    large = published(setting)  # refuses a name that there is not
    chosen = large if paper_scale else SWEEPS[setting]
    if steps is not None:
        chosen = replace(chosen, total_steps=integer("steps", steps))
    if lrs:
        chosen = replace(chosen, lrs=lrs, extend=0)
    if extend is not None:
        chosen = replace(chosen, extend=extend)
    searched = range(integer("seed", seed, 0), seed + integer("seeds", seeds))
    others = range(searched.stop, searched.stop + integer("held_out", held_out, 0))
    found = search(chosen, seeds=searched, more_seeds=len(others), device=device, progress=progress or _silent)
    return SweepResult(setting, found, rank(found, held_out_seeds=others, device=device))


def figures(
    *,
    out: Path = Path("runs/theory"),
    only: tuple[str, ...] = (),
    paper_scale: bool = False,
    device: str | None = None,
    seed: int = 1,
    format: str = "svg",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the bench's figures, each with its caption and its numbers.

    Args:
        out: Folder, which is made where it is missing.
        only: Names of the figures; default all.
        paper_scale: Use the published sizes in the sweeps (hours on a GPU).
        device: Torch device, such as cuda; default NumPy on the CPU.
        seed: Seed of problems and streams.
        format: Of the files: svg, png or pdf.
        progress: Called with a line when a figure is written.
    """
    from adana.theory.figures import make_figures

    return make_figures(
        out,
        only=only,
        large=paper_scale,
        device=device,
        seed=seed,
        suffix=f".{format}",
        progress=progress or _silent,
    )


def _silent(line: str) -> None:
    """Says nothing."""
