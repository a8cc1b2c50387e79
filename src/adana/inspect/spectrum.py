"""Spectra of a run's activations and gradients, before, along and after training, and how far their heads move.

In power-law random features the covariance of what is learned from falls as ``j^(-2 rho)``, and the best kappa of DANA
tends to ``1/(2 rho)`` (docs/kappa-map.md). This looks at what a trained network's covariances do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adana.catalog import default_kappa
from adana.inspect.activations import gather
from adana.inspect.context import held_out_windows
from adana.inspect.covariance import GROUPS, SAMPLES_PER_WIDTH, Moments, Spectrum, described
from adana.inspect.gradients import LEAST_SAMPLES, GradientSpectrum, chosen_matrices, gradient_spectra
from adana.inspect.runs import open_run
from adana.models.layers import Decoder
from adana.train.recipe import load_data

__all__ = ["Movement", "Spectra", "SpectrumSnapshot", "of_model", "spectrum", "subspace_overlap"]

TOKENS = 65_536
MATRICES = ("attention.out.weight", "down.weight")


@dataclass(frozen=True)
class SpectrumSnapshot:
    """What was found at one step.

    Attributes:
        step: 0 is where the run began.
        layers: spectra of activations by layer.
        gradients: spectra of gradients by matrix.
    """

    step: int
    layers: dict[str, Spectrum]
    gradients: list[GradientSpectrum]


@dataclass(frozen=True)
class Movement:
    """How far the leading modes of a layer's activations moved between two steps.

    Attributes:
        layer: its name.
        begin: step.
        end: step.
        modes: how many leading modes.
        overlap: mean squared cosine of the angles between both subspaces: 1 where they are the same; of two random
            ones modes/width.
        resampled: the overlap of the same step's modes from one half of the text with those from the other, the mean of
            both steps: what nothing but another text does.
    """

    layer: str
    begin: int
    end: int
    modes: int
    overlap: float
    resampled: float


@dataclass(frozen=True)
class Spectra:
    """What :func:`spectrum` found.

    Attributes:
        run: as it was named.
        optimizer: its name.
        kappa: that it was trained with; None where its optimizer has none.
        total_steps: of the run.
        tokens: of held-out text that the activations are of.
        snapshots: in the order of steps.
        movements: between successive steps, then from the first to the last.
    """

    run: str
    optimizer: str
    kappa: float | None
    total_steps: int
    tokens: int
    snapshots: list[SpectrumSnapshot]
    movements: list[Movement]


def spectrum(
    run: str,
    *,
    steps: Sequence[int] = (),
    tokens: int | None = None,
    gradients: int = 16,
    matrices: Sequence[str] = MATRICES,
    head: int = 8,
    exact_up_to: int = 1024,
    modes: int = 256,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> Spectra:
    """Spectra of a run's activations and gradients, their power laws, and how far their heads move.

    On the run's own held-out text; nothing is trained.

    Args:
        run: Folder of a run of adana train, or of one of its checkpoints (RUN/checkpoints/step-...).
        steps: Which checkpoints; default all that were kept, and step 0, where the run began.
        tokens: Of held-out text; at least 8 times the widest layer. Default 65,536, or all where there are fewer.
        gradients: Sequences whose gradients are taken, one by one; 0 for none.
        matrices: Gradients of matrices whose names end so.
        head: Leading modes whose movement is followed.
        exact_up_to: Widest layer whose whole covariance is held. Wider ones are randomised, in three passes.
        modes: Columns of the randomised way, of which half are given out.
        device: Torch device.
        progress: Is called with a line for every part that is done.

    Returns:
        A snapshot for every step, and the movements between them.

    Raises:
        ValueError: no run, no checkpoint, too few tokens, or an argument out of range.
        OSError: a file cannot be read.

    Source: the abstract on spectral diagnostics; Halko, Martinsson and Tropp 2011 for the randomised way.
    """
    for name, value, low in (("gradients", gradients, 0), ("head", head, 1), ("exact_up_to", exact_up_to, 1)):
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
    if 0 < gradients < LEAST_SAMPLES:
        raise ValueError(f"gradients must be 0, for none, or at least {LEAST_SAMPLES} sequences, got {gradients}")
    if modes < 32:
        raise ValueError(f"modes must be at least 32, of which half are given out, got {modes}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    kept = open_run(run)
    recipe, chosen = kept.recipe, kept.chosen(steps)
    config = recipe.model_config()
    widest = max(config.width, config.hidden if recipe.experts is None else config.width)
    data = load_data(recipe, verify=False)
    taken = min(TOKENS, len(data.validation) - 1) if tokens is None else tokens
    least = max(SAMPLES_PER_WIDTH * widest, GROUPS * recipe.seq_len)
    if taken - taken % recipe.seq_len < least:
        raise ValueError(
            f"spectra of layers of width {widest:,} in {GROUPS} parts of the text need at least {least:,} tokens in "
            f"whole sequences of {recipe.seq_len:,}; there are {taken:,}: pass more with --tokens, or train on a text "
            "with a longer held-out part"
        )
    windows = held_out_windows(data.validation, recipe.seq_len, taken)
    snapshots, movements = [], []
    begin: _Heads | None = None
    before: _Heads | None = None
    for step in chosen:
        snapshot, found = of_model(
            kept.model(step, device=device),
            windows,
            step=step,
            gradients=gradients,
            matrices=matrices,
            head=head,
            exact_up_to=exact_up_to,
            modes=modes,
            progress=progress and _led(progress, f"step {step:,}"),
        )
        snapshots.append(snapshot)
        if begin is None:
            begin = found
        if before is not None:
            movements += _moved(before, found)
        before = found
    if len(chosen) > 2 and begin is not None and before is not None:
        movements += _moved(begin, before)
    kappa = recipe.options.get("kappa", default_kappa(recipe.optimizer))
    return Spectra(run, recipe.optimizer, kappa, recipe.total_steps, windows[:, 1:].size, snapshots, movements)


def _led(progress: Callable[[str], None], step: str) -> Callable[[str], None]:
    return lambda line: progress(f"{step}: {line}")


@dataclass(frozen=True)
class _Heads:
    """Leading modes by layer: of all of the text, and of either half."""

    step: int
    whole: dict[str, torch.Tensor]
    halves: dict[str, float]


def of_model(
    model: Decoder,
    windows: np.ndarray,
    *,
    step: int = 0,
    gradients: int = 16,
    matrices: Sequence[str] = MATRICES,
    head: int = 8,
    exact_up_to: int = 1024,
    modes: int = 256,
    progress: Callable[[str], None] | None = None,
) -> tuple[SpectrumSnapshot, _Heads]:
    """The spectra of a model on a text, and the leading modes of its activations.

    Args:
        model: in evaluation mode.
        windows: int64, (windows, seq_len + 1), in the order of the text.
        step: what to call it.
        gradients, matrices, head, exact_up_to, modes: as in :func:`spectrum`.
        progress: is called with a line for every part that is done.

    Raises:
        ValueError: fewer than 8 windows, or fewer tokens than 8 times the widest layer.
    """
    said = progress or (lambda line: None)
    names = chosen_matrices(model, matrices) if gradients else []

    def passed(done: int, of: int) -> None:
        if done * 4 // of != (done - 1) * 4 // of:
            said(f"activations, {done / of:.0%}")

    sums = gather(model, windows, exact_up_to=exact_up_to, modes=modes, progress=passed)
    layers, whole, halves = {}, {}, {}
    for name, moments in sums.items():
        layers[name] = described(moments)
        whole[name] = _leading(moments, None, head)
        first, second = (_leading(moments, range(*ends), head) for ends in ((0, GROUPS // 2), (GROUPS // 2, GROUPS)))
        halves[name] = subspace_overlap(first, second)
    found: list[GradientSpectrum] = []
    if gradients:
        at = np.linspace(0, len(windows) - 1, min(gradients, len(windows))).astype(int)
        found = gradient_spectra(model, windows[at], names)
        said(f"gradients of {len(at)} sequences")
    return SpectrumSnapshot(step, layers, found), _Heads(step, whole, halves)


def _leading(moments: Moments, groups: Sequence[int] | None, head: int) -> torch.Tensor:
    return moments.eigen(groups).vectors[:, :head].cpu()


def subspace_overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    """``|A'B|^2 / k`` of two orthonormal bases (width, k): the mean squared cosine of their principal angles.

    >>> e = torch.eye(4)
    >>> subspace_overlap(e[:, :2], e[:, :2]), subspace_overlap(e[:, :2], e[:, 1:3])
    (1.0, 0.5)
    """
    return float((a.T @ b).square().sum() / a.shape[1])


def _moved(begin: _Heads, end: _Heads) -> list[Movement]:
    return [
        Movement(
            name,
            begin.step,
            end.step,
            begin.whole[name].shape[1],
            subspace_overlap(begin.whole[name], end.whole[name]),
            (begin.halves[name] + end.halves[name]) / 2,
        )
        for name in begin.whole
    ]
