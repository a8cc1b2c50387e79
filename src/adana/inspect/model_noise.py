"""Signal and noise of a model's gradients, by kind of parameter, from gradients of single sequences or of batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from adana.inspect.gradient_noise import Gradients, Noise, check_enough, estimate
from adana.optim.groups import param_groups

__all__ = ["Kind", "ModelNoise", "of_model"]

PER_SAMPLE = 1 << 28  # bytes that gradients of single sequences take at a time
MOST_AT_A_TIME = 16


@dataclass(frozen=True)
class Kind:
    """One kind of parameter.

    Attributes:
        name: hidden, embedding, head or other; all for all of them together.
        parameters: their names.
        elements: of all of them.
        noise: its signal and noise.
        gradients: what they were estimated from; None for all together.
    """

    name: str
    parameters: list[str]
    elements: int
    noise: Noise
    gradients: Gradients | None


@dataclass(frozen=True)
class ModelNoise:
    """What :func:`of_model` found.

    Attributes:
        loss: mean over the sequences.
        kinds: all together first.
    """

    loss: float
    kinds: list[Kind]


def of_model(model: nn.Module, windows: Tensor, *, unit: int = 1, groups: int = 8) -> ModelNoise:
    """Signal and noise of the gradients of a model's cross-entropy, by kind of parameter.

    Args:
        model: from tokens (batch, time) to logits (batch, time, vocabulary), on the device of the sequences.
        windows: independent sequences of tokens, (sequences, time + 1).
        unit: sequences of each gradient: 1 by ``torch.func``, more by batches.
        groups: the intervals are over so many groups.

    Raises:
        ValueError: fewer than two gradients for each group, or a model that ``torch.func`` cannot take by single
            sequences.

    Source: McCandlish et al. 2018, arXiv 1812.06162.

    Example:
        >>> from adana.models import EnokiConfig, build
        >>> model = build(EnokiConfig(1, head_dim=8, vocab_size=32))
        >>> found = of_model(model, torch.randint(0, 32, (16, 9), generator=torch.Generator().manual_seed(0)))
        >>> [kind.name for kind in found.kinds]
        ['all', 'hidden', 'embedding', 'head', 'other']
    """
    check_enough(len(windows), unit, groups)
    kinds = _kinds(model)
    sums = {kind: Gradients(groups, unit) for kind in kinds}
    loss = 0.0
    whole_units = windows[: len(windows) // unit * unit].unflatten(0, (-1, unit))
    for group, part in enumerate(whole_units.tensor_split(groups)):
        for losses, own in _gradients(model, part.flatten(0, 1), unit):
            loss += losses
            for kind, names in kinds.items():
                sums[kind].add(group, torch.cat([own[name].flatten(1) for name in names], dim=1))
    counts = next(iter(sums.values())).counts
    products = {kind: one.products() for kind, one in sums.items()}
    squares = np.sum([one.squares for one in sums.values()], axis=0)
    found = [
        Kind(
            kind,
            names,
            sum(model.get_parameter(name).numel() for name in names),
            estimate(products[kind], sums[kind].squares, counts, unit),
            sums[kind],
        )
        for kind, names in kinds.items()
    ]
    whole = estimate(np.sum(list(products.values()), axis=0), squares, counts, unit)
    everything = Kind(
        "all", [name for kind in found for name in kind.parameters], sum(k.elements for k in found), whole, None
    )
    return ModelNoise(loss / float(counts.sum()), [everything, *found])


def _kinds(model: nn.Module) -> dict[str, list[str]]:
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[str, list[str]] = {}
    for group in param_groups(model):
        found.setdefault(group["kind"], []).extend(names[id(p)] for p in group["params"])
    return found


def _gradients(model: nn.Module, windows: Tensor, unit: int) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Sum of losses and gradients, (units, ...) by name, of a few units at a time."""
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if unit > 1:
        parameters = [model.get_parameter(name) for name in weights]
        for part in windows.split(unit):
            loss = F.cross_entropy(model(part[:, :-1]).float().flatten(0, 1), part[:, 1:].flatten())
            grads = torch.autograd.grad(loss, parameters)
            yield float(loss.detach()), {name: one[None] for name, one in zip(weights, grads)}
        return

    def loss_of(weights: Mapping[str, Tensor], window: Tensor) -> Tensor:
        logits = functional_call(model, dict(weights), (window[None, :-1],))
        return F.cross_entropy(logits[0].float(), window[1:])

    each = vmap(grad_and_value(loss_of), in_dims=(None, 0))
    bytes_of_one = 4 * sum(p.numel() for p in weights.values())
    for part in windows.split(max(1, min(MOST_AT_A_TIME, PER_SAMPLE // bytes_of_one))):
        try:
            with sdpa_kernel(SDPBackend.MATH):  # the others have no batched form
                found, losses = each(weights, part)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"this model has no gradients of single sequences ({reason}): pass --unit 2 or more"
            ) from None
        yield float(losses.sum()), found
