"""Singular values of the gradients of single sequences, matrix by matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad

from adana.inspect.power_law import LEAST_VALUES, PowerLaw, fit_power_law, jackknife, slope
from adana.models.layers import Decoder
from adana.scaling.intervals import Interval, t_interval

__all__ = ["LEAST_SAMPLES", "GradientSpectrum", "chosen_matrices", "gradient_spectra", "per_sample_gradients"]

LEAST_SAMPLES = 4
HEAD = 8


@dataclass(frozen=True)
class GradientSpectrum:
    """Singular values s_j of a matrix's gradients, one gradient for each sequence.

    Attributes:
        matrix: its name.
        shape: outputs and inputs.
        samples: sequences.
        shares: mean over sequences of ``s_j^2 / sum s^2``, falling.
        top: mean share of the first mode.
        top_interval: 95 %, by Student's t over sequences.
        head: mean share of the first 8 modes.
        stable_rank: mean of ``sum s^2 / s_1^2``.
        stable_rank_interval: as ``top_interval``.
        law: the power law of ``shares`` over j, or what comes closest: the tail. None with fewer than 16 modes.
        interval: of its exponent, 95 %, a jackknife over sequences, the range held.
    """

    matrix: str
    shape: tuple[int, int]
    samples: int
    shares: list[float]
    top: float
    top_interval: Interval | None
    head: float
    stable_rank: float
    stable_rank_interval: Interval | None
    law: PowerLaw | None
    interval: Interval | None


def chosen_matrices(model: Decoder, endings: Sequence[str]) -> list[str]:
    """Names of the matrices that end in one of ``endings``.

    Raises:
        ValueError: an ending that no matrix has.
    """
    matrices = [name for name, p in model.named_parameters() if p.ndim == 2 and p.requires_grad]
    for ending in endings:
        if not any(name.endswith(ending) for name in matrices):
            raise ValueError(f"no matrix ends in {ending!r}: there are {', '.join(matrices)}")
    return [name for name in matrices if name.endswith(tuple(endings))]


def per_sample_gradients(model: Decoder, windows: np.ndarray, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Gradients of the mean cross-entropy of each sequence, one sequence after another.

    Args:
        model: gives logits (batch, time, vocabulary).
        windows: int64, (sequences, length + 1).
        names: of the parameters.

    Yields:
        Name to gradient, of the parameter's shape.

    Example:
        >>> from adana.models import Enoki, EnokiConfig
        >>> model = Enoki(EnokiConfig(heads=1, layers=1, vocab_size=8), seed=0)
        >>> found = list(per_sample_gradients(model, np.ones((2, 5), np.int64), ["head.weight"]))
        >>> len(found), found[0]["head.weight"].shape
        (2, torch.Size([8, 64]))
    """
    device = next(model.parameters()).device
    held = {name: p.detach() for name, p in model.named_parameters()}
    wanted = {name: held.pop(name) for name in names}

    def loss(parameters: dict[str, Tensor], window: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, {**held, **parameters}, (window[None, :-1],))
        return F.cross_entropy(logits[0].float(), window[1:])

    gradient = grad(loss)
    for window in torch.from_numpy(windows).to(device):
        yield gradient(wanted, window)


def gradient_spectra(
    model: Decoder,
    windows: np.ndarray,
    names: Sequence[str],
    *,
    progress: Callable[[int], None] | None = None,
) -> list[GradientSpectrum]:
    """Singular values of per-sequence gradients; one gradient of each matrix is held at a time.

    Args:
        model: gives logits.
        windows: int64, (sequences, length + 1).
        names: of matrices, see :func:`chosen_matrices`.
        progress: is called with how many sequences are done.

    Raises:
        ValueError: fewer than four sequences, or gradients that are not finite or zero.
    """
    if len(windows) < LEAST_SAMPLES:
        raise ValueError(f"gradient spectra need at least {LEAST_SAMPLES} sequences, got {len(windows)}")
    squares: dict[str, list[np.ndarray]] = {name: [] for name in names}
    shapes: dict[str, tuple[int, int]] = {}
    for done, gradients in enumerate(per_sample_gradients(model, windows, names), 1):
        for name, g in gradients.items():
            found = torch.linalg.svdvals(g).double().square().cpu().numpy()
            if not (np.isfinite(found).all() and found.sum() > 0):
                raise ValueError(f"the gradient of {name} is zero or not finite: it has no spectrum")
            squares[name].append(found / found.sum())
            shapes[name] = (g.shape[0], g.shape[1])
        if progress is not None:
            progress(done)
    return [_summary(name, shapes[name], np.stack(each)) for name, each in squares.items()]


def _summary(name: str, shape: tuple[int, int], each: np.ndarray) -> GradientSpectrum:
    shares = each.mean(0)
    # Of what float32 rounds away, and of directions that no token has, nothing is known.
    kept = shares[shares > shares[0] * 1e-10]
    law = interval = None
    if len(kept) >= LEAST_VALUES:
        law = fit_power_law(kept)
        without = [slope((shares * len(each) - one) / (len(each) - 1), law.first, law.last) for one in each]
        interval = jackknife(law.exponent, without)
    ranks = (1 / each[:, 0]).tolist()
    return GradientSpectrum(
        name,
        shape,
        len(each),
        kept.tolist(),
        float(shares[0]),
        t_interval(each[:, 0].tolist()),
        float(shares[:HEAD].sum()),
        float(np.mean(ranks)),
        t_interval(ranks),
        law,
        interval,
    )
