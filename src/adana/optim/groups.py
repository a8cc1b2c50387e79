"""Parameter groups by what a parameter is, found from module types and never from names."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["param_groups"]

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.batchnorm._NormBase,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def param_groups(model: nn.Module, weight_decay: float = 4.0) -> list[dict[str, Any]]:
    """Split a model's parameters by kind, with weight decay where the paper has it.

    Kinds: ``"embedding"`` (weights of embedding modules), ``"head"`` (the output projection),
    ``"hidden"`` (other weights of two or more dimensions), ``"other"`` (norms, biases, scalars).
    The head is ``model.get_output_embeddings()`` where the model has that method, else any ``Linear``
    whose ``out_features`` equal the ``num_embeddings`` of the largest embedding (a table of positions may
    well be as long as a layer is wide). A head tied to an embedding is an embedding. Hidden matrices come
    in a group apart from hidden tensors of other shapes, as Muon needs.

    Args:
        model: a module; parameters that do not require gradients are left out.
        weight_decay: omega for hidden and head; embeddings, norms and biases get none.

    Returns:
        Groups with keys ``params``, ``kind`` and ``weight_decay``, empty ones left out.

    Source: Table 2 and its footnote.

    Example:
        >>> import torch
        >>> from adana import param_groups
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 9))
        >>> [(group["kind"], group["weight_decay"]) for group in param_groups(model)]
        [('hidden', 4.0), ('embedding', 0.0), ('head', 4.0), ('other', 0.0)]
    """
    embeddings = [module for module in model.modules() if isinstance(module, _EMBEDDINGS)]
    embedding_ids = {id(module.weight) for module in embeddings}
    vocabulary = max((module.num_embeddings for module in embeddings), default=None)
    output = getattr(model, "get_output_embeddings", lambda: None)()
    kinds: dict[int, str] = {}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if not p.requires_grad or id(p) in kinds:
                continue
            if id(p) in embedding_ids:
                kind = "embedding"
            elif p.ndim < 2 or isinstance(module, _NORMS):
                kind = "other"
            elif module is output or (
                output is None and isinstance(module, nn.Linear) and module.out_features == vocabulary
            ):
                kind = "head"
            else:
                kind = "hidden"
            kinds[id(p)] = kind
            groups.setdefault((kind, kind == "hidden" and p.ndim != 2), []).append(p)
    order = [("hidden", False), ("hidden", True), ("embedding", False), ("head", False), ("other", False)]
    return [
        {"params": groups[key], "kind": key[0], "weight_decay": weight_decay if key[0] in ("hidden", "head") else 0.0}
        for key in order
        if key in groups
    ]
