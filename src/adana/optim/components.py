"""Parameter groups with a learning rate for each part of a transformer: attention, feed-forward, embeddings."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from adana.optim.groups import groups_table, param_groups
from adana.optim.model_parts import unwrapped

__all__ = ["component_groups"]

# How classes of attention are called: LlamaSdpaAttention, CausalSelfAttention, LlamaFlashAttention2. A block that holds
# one beside its feed-forward (ResidualAttentionBlock) is none.
_ATTENTION = re.compile(r"(attention|attn)\d*$", re.IGNORECASE)


def component_groups(
    model: nn.Module,
    attention: float = 1.2,
    feed_forward: float = 1.0,
    embedding: float = 0.8,
    *,
    lr: float | Tensor | None = None,
    verbose: bool = False,
    named: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Groups of :func:`adana.param_groups`, each with a factor on the learning rate by the module's role.

    Roles: ``"attention"`` for all parameters of modules whose class is called attention (``nn.MultiheadAttention``,
    ``LlamaAttention``, ``CausalSelfAttention``); ``"embedding"`` for what :func:`adana.param_groups` calls so, a tied
    head too; ``"feed_forward"`` for all other hidden matrices and their biases; ``"other"`` for norms, the head and
    the rest, whose factor is 1.

    The optimizers of this package multiply their ``lr`` (and ``peak_lr``, and ``fallback_lr``) by a group's
    ``lr_factor``. For any other optimizer pass ``lr`` here: the groups then hold their own.

    Args:
        model: as in :func:`adana.param_groups`.
        attention: factor of attention, > 0.
        feed_forward: factor of the feed-forward layers, > 0.
        embedding: factor of embeddings, > 0.
        lr: the peak that the factors multiply, kept in the groups; default: left to the optimizer.
        verbose: print the groups.
        named: give the groups their parameters' names.
        options: further keywords of :func:`adana.param_groups`, such as ``weight_decay``. A group that ``overrides``
            gives a learning rate keeps it.

    Returns:
        Groups with the keys of :func:`adana.param_groups`, ``component``, and ``lr_factor`` (or ``lr``).

    Raises:
        ValueError: a factor that is not above 0; as :func:`adana.param_groups`.

    Source: "Adaptive Momentum with Component Scaling" (Aardvark, 2025) has the factors; how a role is found is ours.

    Example:
        >>> import torch
        >>> from adana import ADana, component_groups
        >>> model = torch.nn.TransformerEncoderLayer(4, 2, 8)
        >>> groups = component_groups(model)
        >>> [(group["component"], group["kind"], group["lr_factor"]) for group in groups][:2]
        [('attention', 'hidden', 1.2), ('feed_forward', 'hidden', 1.0)]
        >>> optimizer = ADana(groups, lr=1e-3, total_steps=1000)
        >>> torch.optim.SGD(component_groups(model, lr=0.1)).param_groups[0]["lr"]
        0.12
    """
    scales = {"attention": attention, "feed_forward": feed_forward, "embedding": embedding, "other": 1.0}
    for name, scale in scales.items():
        if not 0 < scale < float("inf"):
            raise ValueError(f"{name} must be a finite number above 0, got {scale!r}")
    attended = {
        id(p)
        for module in unwrapped(model).modules()
        if _ATTENTION.search(type(module).__name__)
        for p in module.parameters()
    }
    groups = param_groups(model, named=True, **options)
    owners = {_owner(name) for group in groups if group["kind"] == "hidden" for name in group["param_names"]}
    found: list[dict[str, Any]] = []
    for group in groups:
        split: dict[str, dict[str, Any]] = {}
        for p, name in zip(group["params"], group["param_names"]):
            role = _role(group["kind"], id(p) in attended, _owner(name) in owners)
            one = split.setdefault(role, {**group, "params": [], "param_names": [], "component": role})
            one["params"].append(p)
            one["param_names"].append(name)
        found += [split[role] for role in scales if role in split]
    for group in found:
        if "lr" not in group:
            scale = scales[group["component"]]
            # Not "lr_scale": timm's schedulers multiply by that themselves.
            group |= {"lr_factor": scale} if lr is None else {"lr": lr * scale}
    if verbose:
        print(groups_table(found))
    if not named:
        for group in found:
            del group["param_names"]
    return found


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _role(kind: str, attended: bool, beside_a_matrix: bool) -> str:
    if kind == "embedding":
        return "embedding"
    if attended:
        return "attention"
    return "feed_forward" if kind == "hidden" or (kind == "other" and beside_a_matrix) else "other"
