"""What every parameter of a model is, found from module types.

Names decide only for parameters that stand on a module of unknown type as they are (class tokens, tables of
positions, gates): nothing else tells them from matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

__all__ = ["DECAYING", "KINDS", "TABLES", "Part", "parts_of", "unwrapped"]

KINDS = ("hidden", "embedding", "head", "adapter", "other")
DECAYING = ("hidden", "head")

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.batchnorm._NormBase,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_CONVOLUTIONS = nn.modules.conv._ConvNd

# Children by which wrappers hold the model: DDP, DataParallel and DeepSpeed; torch.compile; FSDP1; checkpointing.
_WRAPPED = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

# Ends of names of raw parameters that are tables of positions or tokens, and of those that are gates and scales.
TABLES = (
    "cls_token", "class_token", "class_embedding", "dist_token", "mask_token", "reg_token", "register_tokens",
    "query_tokens",
    "pos_embed", "pos_embedding", "position_embedding", "position_embeddings", "positional_embedding",
    "absolute_pos_embed", "relative_position_bias_table", "rel_pos_h", "rel_pos_w",
)  # fmt: skip
_SCALES = ("A_log", "layer_scale", "gamma", "gain", "scale")


class Part(NamedTuple):
    """A parameter and what it is.

    Attributes:
        name: without wrappers' prefixes.
        p: the parameter.
        kind: one of ``KINDS``.
        shape: before weights were flattened.
        stacked: of hidden parameters with more than two dimensions: True for matrices along the first one, False
            for a matrix of the first by all others (convolutions), None for neither.
        may_decay: False where the model says that it must not.
    """

    name: str
    p: nn.Parameter
    kind: str
    shape: tuple[int, ...]
    stacked: bool | None
    may_decay: bool


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of wrappers."""
    while True:
        inner = next((model._modules[name] for name in _WRAPPED if name in model._modules), None)
        if inner is None or len(model._modules) != 1:
            return model
        model = inner


def parts_of(model: nn.Module) -> list[Part]:
    """Every parameter that requires gradients, once, in the model's order.

    Raises:
        ValueError: weights are flattened, and what they were is lost.
    """
    root = unwrapped(model)
    shapes = _original_shapes(model)
    heads = _heads(root)
    embeddings = {id(p) for owner, _, p in _owned(root) if isinstance(owner, _EMBEDDINGS) and p.ndim}
    adapters = {id(p) for p in _adapters(root)}
    spared = {id(p) for p in _spared(root)}
    parts: dict[int, Part] = {}
    for owner, name, p in _owned(root):
        if not p.requires_grad or id(p) in parts:
            continue
        short = name.rpartition(".")[2]
        shape = shapes.get(id(p), tuple(p.shape))
        stacked = None
        may_decay = id(p) not in spared and not getattr(p, "_no_weight_decay", False)
        if id(p) in adapters:
            kind = "adapter"
        elif id(p) in embeddings:
            kind = "embedding"
        else:
            kind, stacked = _kind(owner, short, shape)
        if kind == "hidden" and owner in heads:
            kind, stacked = "head", None
        elif kind == "hidden" and not may_decay:  # what must not decay is no matrix of weights
            kind, stacked = "other", None
        parts[id(p)] = Part(name, p, kind, shape, stacked, may_decay)
    return list(parts.values())


def _kind(owner: nn.Module, short: str, shape: tuple[int, ...]) -> tuple[str, bool | None]:
    """The kind of a parameter that is no embedding module's, and how matrices lie in it."""
    if isinstance(owner, _NORMS) or "Norm" in type(owner).__name__ or len(shape) < 2 or short.startswith("bias"):
        return "other", None
    if short in ("weight_g", "original0") and all(size == 1 for size in shape[1:]):  # weight_norm's magnitudes
        return "other", None
    if isinstance(owner, _CONVOLUTIONS) and short.endswith(_SCALES):  # gains of weight-standardised convolutions
        return "other", None
    if isinstance(owner, _CONVOLUTIONS):
        return "hidden", False if owner.groups == 1 and len(shape) > 2 else None
    if type(owner).__name__.endswith("Embedding") and short == "weight":
        return "embedding", None
    if type(owner).__module__.startswith("torch.nn.") or short.startswith(("weight", "original")):
        return "hidden", True if len(shape) == 3 else None
    if short.endswith(TABLES) or (shape[0] == 1 and len(shape) > 2):
        return "embedding", None
    if short.endswith(_SCALES):
        return "other", None
    return "hidden", True if len(shape) == 3 else None


# --- names and owners -----------------------------------------------------------------------------------


def _owned(root: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Every parameter with the module that uses it and its name without wrappers; shared ones several times."""
    modules = dict(root.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        owner = module
        if isinstance(module, ParametrizationList):  # M.parametrizations.weight holds what M.weight is made of
            owner = modules[path.rpartition(".parametrizations.")[0] if ".parametrizations." in path else ""]
        for name, p in module._parameters.items():
            if p is not None:
                yield owner, _clean(f"{path}.{name}" if path else name), p


def _clean(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPED[1:])


def _original_shapes(model: nn.Module) -> dict[int, tuple[int, ...]]:
    """Shapes of parameters that FSDP1 or ZeRO-3 holds flattened, by the parameter's id."""
    lost = "weights are flattened, so that nothing tells matrices from norms: make the groups before wrapping the model"
    shapes: dict[int, tuple[int, ...]] = {}
    for module in model.modules():
        flat = getattr(getattr(module, "_handle", None), "flat_param", None)
        if flat is not None:
            shapes |= {id(p): tuple(shape) for p, shape in zip(flat._params or (), flat._shapes)}
    for owner, _, p in _owned(model):
        if hasattr(p, "ds_shape"):
            shapes[id(p)] = tuple(p.ds_shape)
        elif getattr(p, "_is_flat_param", False) or (
            isinstance(owner, (nn.Linear, *_EMBEDDINGS, _CONVOLUTIONS))
            and p is getattr(owner, "weight", None)
            and p.ndim < 2
            and id(p) not in shapes
        ):
            raise ValueError(lost)
    return shapes


# --- the head -------------------------------------------------------------------------------------------


def _heads(root: nn.Module) -> set[nn.Module]:
    """The output projection; several where the model's own ``get_classifier()`` has several, as timm's do."""
    named = getattr(root, "get_output_embeddings", None)
    output = named() if callable(named) else None
    if isinstance(output, nn.Module):
        return {unwrapped(output)}
    said = getattr(root, "get_classifier", None)
    if callable(said):
        classifier = said()
        held = classifier if isinstance(classifier, (tuple, list)) else [classifier]
        inside = [module for one in held if isinstance(one, nn.Module) for module in one.modules()]
        return {module for module in inside if isinstance(module, (nn.Linear, _CONVOLUTIONS))}
    found = _last_projection(root)
    return set() if found is None else {found}


def _last_projection(root: nn.Module) -> nn.Module | None:
    """The output projection of a model that does not say which one it is."""
    outside = list(_outside_of_blocks(root))
    sizes = [module.num_embeddings for module in root.modules() if isinstance(module, _EMBEDDINGS)]
    for module in reversed(outside):
        if isinstance(module, nn.Linear) and sizes and module.out_features == max(sizes):
            return module
    # A classifier ends in a Linear; a body without a head ends in its blocks or in a square projection.
    for module in reversed(outside):
        own = [p for p in module._parameters.values() if p is not None]
        if own and not isinstance(module, _NORMS) and "Norm" not in type(module).__name__:
            is_head = isinstance(module, nn.Linear) and module.in_features != module.out_features
            return module if is_head else None
        if module is _BLOCKS:
            return None
    return None


_BLOCKS = nn.Module()  # stands for the blocks of a model where its modules are listed


def _outside_of_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The modules in order, with what is repeated (blocks in a list, equal neighbours) as one."""
    yield module
    children = list(module.children())
    repeated = {kind for kind in map(type, children) if sum(type(child) is kind for child in children) > 1}
    for child in children:
        composite = next(child.children(), None) is not None
        if composite and (isinstance(module, nn.ModuleList) or type(child) in repeated):
            yield _BLOCKS
        else:
            yield from _outside_of_blocks(child)


# --- what others say of their parameters ----------------------------------------------------------------


def _adapters(root: nn.Module) -> Iterator[nn.Parameter]:
    """What peft adds: its layers name their adapters in ``adapter_layer_names``."""
    for module in root.modules():
        for name in getattr(module, "adapter_layer_names", ()):
            held: Any = getattr(module, name, None)
            if isinstance(held, nn.Module):
                yield from held.parameters()
            elif isinstance(held, nn.Parameter):
                yield held


def _spared(root: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters that a model of its own accord keeps from weight decay, as timm's models do."""
    for module in root.modules():
        names, words = _said(module, "no_weight_decay"), _said(module, "no_weight_decay_keywords")
        if names or words:
            for name, p in module.named_parameters():
                if _clean(name) in names or any(word in name for word in words):
                    yield p


def _said(module: nn.Module, method: str) -> set[str]:
    said: Callable[[], Any] | None = getattr(module, method, None)
    return set(said()) if callable(said) and not isinstance(said, torch.Tensor) else set()
