"""Which parameters decay: masks as Optax takes them, and one that is made from the kinds of the parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

__all__ = ["broadcast", "check", "decay_mask", "decayed", "is_function", "kinds"]

Tree = Any

MATRICES = "matrices"
"""The mask that is :func:`decay_mask`; a word, since ``optax.inject_hyperparams`` would call a function."""

_STATIC = (
    "optax.inject_hyperparams takes any function for a schedule and calls it with the number of updates: name it in "
    'static_args, as in optax.inject_hyperparams({function}, static_args=("{name}",))'
)

# Where a tree has modules in it (Equinox, NNX), their classes say what the names of their arrays do not.
_EMBEDDINGS = frozenset({"Embedding", "Embed"})
_NORMS = frozenset({"LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm", "BatchNorm"})
_LINEAR = frozenset({"Linear", "LinearGeneral", "Dense", "DenseGeneral", "Conv", "ConvTranspose"})

# Else names do: those of the arrays in Flax, and those that people give.
_OTHER = re.compile(r"(.*_)?(bias|scale)|((.*_)?|layer|rms|group|batch)norm(_.*|\d*)|(.*_)?ln(_.*|\d*)", re.IGNORECASE)
_HEAD = re.compile(r"(lm_?)?head|unembed(ding)?|logits", re.IGNORECASE)
_EMBEDDING = re.compile(r".*embed.*|w[tp]e", re.IGNORECASE)
_KERNEL = "kernel"  # Flax's word for the matrix of a linear layer; that of a table is "embedding"


def is_function(tree: Tree) -> bool:
    """Whether a mask is a function of the parameters, as Optax judges it: all its leaves can be called.

    A module of Equinox can be called as well, and so can its tree of masks, which is no function.
    """
    leaves = jax.tree.leaves(jax.tree.map(callable, tree))
    return bool(leaves) and all(leaves)


def static(name: str, function: str = "adana") -> str:
    """What to do about an argument that is a function, under ``optax.inject_hyperparams``."""
    return _STATIC.format(name=name, function=function)


def check(mask: Tree) -> None:
    """Refuse what :func:`decayed` could not take for a mask.

    Raises:
        ValueError: one value in place of a tree or a function. That is what is left of a function that
            ``optax.inject_hyperparams`` has called; it would turn decay off, or on, everywhere.
    """
    a_tree = not jax.tree_util.treedef_is_leaf(jax.tree.structure(mask))
    if mask is None or a_tree or _is_matrices(mask) or is_function(mask):
        return
    raise ValueError(
        f"mask must be {MATRICES!r}, None, a tree of bools or a function of the parameters, got {mask!r}. If it is a "
        f"function: {static('mask')}. To decay everything pass mask=None, to decay nothing weight_decay=0"
    )


def decayed(mask: Tree, params: Tree, updates: Tree) -> list[bool]:
    """Whether each leaf of ``updates`` (``None`` counts as one) decays.

    Raises:
        ValueError: the mask has a leaf that is neither true nor false.
    """
    if mask is None:
        return [True] * len(jax.tree.leaves(updates, is_leaf=_absent))
    if _is_matrices(mask):
        mask = decay_mask
    return [_truth(leaf) for leaf in broadcast(mask(params) if is_function(mask) else mask, updates)]


def _is_matrices(mask: Tree) -> bool:
    return isinstance(mask, str) and mask == MATRICES


def _truth(leaf: Any) -> bool:
    known = isinstance(leaf, (bool, np.bool_)) or (
        isinstance(leaf, (jax.Array, np.ndarray))
        and not isinstance(leaf, jax.core.Tracer)
        and leaf.dtype == bool
        and leaf.size == 1
    )
    if not known and leaf is not None:
        raise ValueError(f"mask must be made of True and False, got {leaf!r}")
    return bool(leaf)


def _absent(x: Any) -> bool:
    return x is None


def broadcast(prefix: Tree, tree: Tree, is_leaf: Callable[[Any], bool] = _absent) -> list[Any]:
    """The value of ``prefix`` over each leaf of ``tree`` (``None`` counts as a leaf of either), in order."""
    values: list[Any] = []

    def collect(value: Any, subtree: Tree) -> None:
        values.extend([value] * len(jax.tree.leaves(subtree, is_leaf=_absent)))

    jax.tree.map(collect, prefix, tree, is_leaf=is_leaf)
    return values


def kinds(params: Tree) -> Tree:
    """The kind of each parameter, judged by the modules that it lies in and by its names.

    ``"embedding"``: in a module ``Embedding`` or ``Embed``, or with a name such as ``embedding`` or ``wte``.
    ``"head"``: with a name ``head``, ``lm_head``, ``unembed`` or ``logits``. ``"other"``: in a norm, with a name such
    as ``bias``, ``scale`` or ``norm``, or with fewer than two axes. ``"hidden"``: the rest.

    Args:
        params: arrays in dictionaries (Flax Linen, Haiku), in an ``nnx.State``, in an Equinox module without its
            static parts (``eqx.filter(model, eqx.is_inexact_array)``), or in any other tree with names.

    Returns:
        A tree like ``params`` with a word in place of each array.

    Example:
        >>> import jax.numpy as jnp
        >>> from adana.optax import kinds
        >>> kinds({"embed": jnp.ones((9, 4)), "up": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)}})
        {'embed': 'embedding', 'up': {'bias': 'other', 'kernel': 'hidden'}}
    """

    def kind(path: tuple[Any, ...], node: Any) -> Any:
        classes = {one.__name__ for one in type(node).__mro__}
        names = [_name(entry) for entry in path]
        if classes & _EMBEDDINGS or classes & _NORMS:
            word = "embedding" if classes & _EMBEDDINGS else "other"
            return jax.tree.map(lambda leaf: word, node)
        if classes & _LINEAR:
            names.append(_KERNEL)
        return jax.tree_util.tree_map_with_path(
            lambda inside, leaf: _judged([*names, *map(_name, inside)], np.ndim(leaf)), node
        )

    return jax.tree_util.tree_map_with_path(kind, params, is_leaf=_is_module)


def _judged(names: Sequence[str], dimensions: int) -> str:
    """The kind of an array by its own name and those above it."""
    if dimensions < 2 or any(map(_OTHER.fullmatch, names)):
        return "other"
    if any(map(_HEAD.fullmatch, names)):
        return "head"
    return "embedding" if _KERNEL not in names and any(map(_EMBEDDING.fullmatch, names)) else "hidden"


def decay_mask(params: Tree) -> Tree:
    """The default mask of every optimizer here: hidden matrices and the head decay, as in the paper.

    Args:
        params: as for :func:`kinds`.

    Returns:
        A tree like ``params`` of bools.

    Example:
        >>> import jax.numpy as jnp
        >>> from adana.optax import adana, decay_mask
        >>> optimizer = adana(1e-3, total_steps=1000)  # mask="matrices" is this mask
        >>> decay_mask({"embedding": jnp.ones((9, 4)), "kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)})
        {'bias': False, 'embedding': False, 'kernel': True}
    """
    return jax.tree.map(lambda kind: kind in ("hidden", "head"), kinds(params))


def _is_module(node: Any) -> bool:
    return any(one.__name__ in _EMBEDDINGS | _NORMS | _LINEAR for one in type(node).__mro__)


def _name(entry: Any) -> str:
    """One step of a path: the key of a dictionary, the name of a field, or a position."""
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)
