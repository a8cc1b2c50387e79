"""Experiments on limits in high dimension."""

# No `from __future__ import annotations`: the command reads the types of the parameters as they stand here.

from typing import TYPE_CHECKING

import numpy as np

from adana.theory.checks import at_least, integer, positive

if TYPE_CHECKING:
    from adana.theory.comparison import Comparison

__all__ = ["clipping", "high_line", "monomial", "ntk", "sign_svd", "signsgd"]


def signsgd(
    *,
    d: int = 200,
    exponent: float = 0.5,
    rotate: bool = False,
    lr: float = 0.4,
    noise: tuple[str, ...] = ("none", "gaussian", "rademacher", "student", "cauchy"),
    noise_scale: float = 0.5,
    time: float = 8.0,
    seeds: int = 8,
) -> "Comparison":
    """Risk of signSGD beside its limit in high dimension, for several kinds of label noise.

    Args:
        d: Dimension of the data.
        exponent: The data's eigenvalues fall as j^-exponent; 0 makes them equal.
        rotate: Give the data a random basis.
        lr: Learning rate; a step moves each coordinate by lr/d.
        noise: Kinds of label noise: none, gaussian, rademacher, student, cauchy.
        noise_scale: Scale of the noise.
        time: Number of updates divided by d.
        seeds: Independent runs.
    """
    from adana.theory import signsgd as module
    from adana.theory.noise import LabelNoise

    noises = [LabelNoise(kind, noise_scale) for kind in noise]
    steps = _whole("time", time, d)
    effort = module.signsgd_effort(d, len(noises), steps, integer("seeds", seeds))
    effort.check(f"{seeds:,} runs of {steps:,} steps in {d:,} dimensions", "lower d, the time or the seeds")
    k = module.power_law_covariance(d, exponent, rotate=rotate)
    start = np.random.default_rng(0).standard_normal(d)
    return module.compare(k, start / np.sqrt(start @ k @ start), lr, noises, steps, seeds=seeds)


def clipping(
    *,
    d: int = 300,
    lr: float = 0.5,
    thresholds: tuple[float, ...] = (0.3, 1.0, 3.0),
    noise: tuple[str, ...] = ("gaussian", "student", "cauchy"),
    noise_scale: float = 0.5,
    freedom: float = 2.5,
    time: float = 6.0,
    seeds: int = 6,
) -> "Comparison":
    """Risk of clipped SGD beside its limit in high dimension, and how much clipping could help.

    Args:
        d: Dimension of the data; its eigenvalues fall as j^-0.4.
        lr: Learning rate times d.
        thresholds: Largest gradient norms, in units of the root of the data's total variance.
        noise: Kinds of label noise: none, gaussian, rademacher, student, cauchy.
        noise_scale: Scale of the noise.
        freedom: Degrees of freedom of student noise.
        time: Number of updates divided by d.
        seeds: Independent runs.
    """
    from adana.theory import clipping as module
    from adana.theory.noise import LabelNoise

    settings = [module.ClippedRun(LabelNoise(kind, noise_scale, freedom), c) for kind in noise for c in thresholds]
    steps = _whole("time", time, d)
    effort = module.clipping_effort(d, len(settings), steps, integer("seeds", seeds))
    effort.check(f"{seeds:,} runs of {steps:,} steps in {d:,} dimensions", "lower d, the time or the seeds")
    lam = np.arange(1, d + 1.0) ** -0.4
    modes = np.random.default_rng(0).standard_normal(d) ** 2
    return module.compare(lam, modes / (lam @ modes), lr / d, settings, steps, seeds=seeds)


def high_line(
    *,
    d: int = 400,
    noise: float = 0.0,
    eta: float = 1.0,
    offset: float = 1.0,
    time: float = 10.0,
    seeds: int = 3,
) -> "Comparison":
    """Learning rates that adapt (AdaGrad-Norm, line search, Polyak's) beside their differential equations.

    Args:
        d: Dimension of the data; its eigenvalues are uniform between 0.3 and 2.
        noise: Standard deviation of the label noise.
        eta: Numerator of AdaGrad-Norm's learning rate.
        offset: What AdaGrad-Norm's sum of squared gradients starts from, as a root.
        time: Number of updates divided by d.
        seeds: Independent runs.
    """
    from adana.theory import highline as module

    rates = [
        module.Rate("constant", 0.5),
        module.Rate("adagrad-norm", eta, offset),
        module.Rate("line-search"),
        module.Rate("polyak"),
    ]
    steps = _whole("time", time, d)
    effort = module.highline_effort(d, len(rates), steps, integer("seeds", seeds))
    effort.check(f"{seeds:,} runs of {steps:,} steps in {d:,} dimensions", "lower d, the time or the seeds")
    lam = np.random.default_rng(1).uniform(0.3, 2, d)
    modes = np.random.default_rng(2).standard_normal(d) ** 2
    found = module.compare(lam, modes, rates, np.linspace(0, time, 41), noise=noise, seeds=seeds)
    if noise == 0:
        limit = module.adagrad_limit(eta, offset, float(lam.mean()), float(modes.mean()))
        found.numbers["adagrad_norm_limit"] = limit
    return found


def sign_svd(
    *,
    outputs: int = 200,
    inputs: int = 400,
    batch: int = 20,
    exponent: float = 0.35,
    noise: float = 0.0,
    lr: float = 0.2,
    steps: int = 100,
    map: bool = False,
) -> "Comparison":
    """Risk of SignSVD (the limit of Muon) and of signSGD beside their recursions, and a map of who is ahead.

    Args:
        outputs: Rows of the weight matrix.
        inputs: Columns of the weight matrix.
        batch: Samples per step; without noise at most the number of inputs.
        exponent: The data's eigenvalues fall as j^-exponent.
        noise: Standard deviation of the label noise.
        lr: Learning rate of SignSVD in units of one over the root of the batch's total variance; signSGD's is smaller
            by the root of the number of outputs.
        steps: Updates.
        map: Also compute who is ahead over data and target exponents; --plot then draws that.
    """
    from dataclasses import replace

    from adana.theory import spectral as module

    for name, value in (("outputs", outputs), ("inputs", inputs), ("batch", batch), ("steps", steps)):
        integer(name, value)
    effort = module.spectral_effort(inputs, outputs, batch, steps)
    effort.check(f"{steps:,} steps of a {outputs:,} by {inputs:,} matrix", "lower the steps or sizes")
    lam = np.arange(1, inputs + 1.0) ** -at_least("exponent", exponent, 0)
    problem = module.MatrixProblem(lam, np.full(lam.size, 1 / lam.sum()), outputs, batch, noise)
    rate = positive("lr", lr) / np.sqrt(batch * lam.sum())
    found = module.compare(problem, {"signsvd": rate, "signsgd": rate / np.sqrt(outputs)}, steps)
    if not map:
        return found
    found.numbers["phase_map"] = module.phase_map()
    return replace(found, drawing="phase-map")


def monomial(*, alpha: float = 2.0, degree: int = 2, d: int = 1000, v: int = 2000) -> "Comparison":
    """Spectrum of random features that are powers of random projections, beside its limit.

    Args:
        alpha: Data exponent, above 1: the eigenvalues of the data fall as j^-alpha.
        degree: The power.
        d: Number of features.
        v: Dimension of the data.
    """
    from adana.theory.monomial import compare

    return compare(alpha, degree, d=d, v=v)


def ntk(*, n: int = 1500, d: int = 48, p: int = 24, spread: tuple[float, float] | None = None) -> "Comparison":
    """Spectrum of a two-layer network's neural tangent kernel beside the one that free probability predicts.

    Args:
        n: Number of samples.
        d: Inputs of the network.
        p: Hidden units.
        spread: The second layer is uniform on this interval; default all ones.
    """
    from adana.theory.ntk import compare

    return compare(n=n, d=d, p=p, spread=spread)


def _whole(name: str, time: float, d: int) -> int:
    """``time * d`` steps."""
    steps = round(positive(name, time) * integer("d", d))
    if steps < 1:
        raise ValueError(f"{name} must be at least 1/d, which is one step, got {time!r} at d = {d}")
    return integer(f"{name} * d", steps)
