"""Which parameters weight decay spares where their group does not speak of it.

``ADana(model.parameters(), lr=...)`` says nothing of what its parameters are. Omega is independent of the learning
rate, so what AdamW's decay would hardly change it would pull to zero: gains of norms above all. So decay is for
matrices, unless a group has a ``weight_decay`` of its own. Measured in docs/decisions/0004-literal-swap.md.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from adana.optim.model_parts import DECAYING, TABLES, parts_of

__all__ = ["LARGE_VECTOR", "decay_overruled", "flattened", "mark", "spared"]

Group = dict[str, Any]

LARGE_VECTOR = 1 << 16  # elements: no bias or gain of a layer, so most likely a matrix that was flattened


def _shape(p: Tensor) -> tuple[int, ...]:
    return tuple(getattr(p, "ds_shape", p.shape))  # ZeRO-3 says what it has flattened


# The usual names of embedding modules.
_EMBEDDING = re.compile(r"(\w+_)?(emb(ed(ding)?s?)?|embed_(in|tokens|positions)|wte|wpe)")


def spared(group: Group, numbered: Sequence[tuple[int, Tensor]]) -> list[bool]:
    """Whether each of a group's parameters does not decay.

    Args:
        group: the group.
        numbered: parameters with their positions in the group.
    """
    if group.get("decay_vectors", True) or group["weight_decay"] == 0:
        return [False] * len(numbered)
    names = group.get("param_names", ())
    named = len(names) == len(group["params"])  # wrappers put others in their place
    return [_no_matrix(p) or (named and _is_embedding(names[k])) for k, p in numbered]


def mark(params: Any) -> None:
    """Note on its parameters which ones ``param_groups`` would spare, where ``params`` is ``model.parameters()``.

    That generator holds its model, and only the model tells an embedding from a matrix of a layer. A list of
    parameters holds none, and nothing is noted.

    >>> model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    >>> mark(model.parameters())
    >>> [_no_matrix(p) for p in model.parameters()]
    [True, False, True]
    """
    if not inspect.isgenerator(params) or params.gi_code is not nn.Module.parameters.__code__:
        return
    model = inspect.getgeneratorlocals(params).get("self")
    if not isinstance(model, nn.Module):  # the generator has ended
        return
    try:
        parts = parts_of(model)
    except ValueError:  # flattened weights: a warning comes with the first step
        return
    for part in parts:
        setattr(part.p, _MARK, part.kind not in DECAYING or not part.may_decay)


_MARK = "_adana_no_weight_decay"


def _no_matrix(p: Tensor) -> bool:
    """Whether a parameter is a vector, a scalar, a class token or a table of positions (1, n, d), or is marked."""
    shape = _shape(p)
    if len(shape) < 2 or (len(shape) > 2 and shape[0] == 1):
        return True
    return bool(getattr(p, "_no_weight_decay", False) or getattr(p, _MARK, False))


def _is_embedding(name: str) -> bool:
    """Whether a parameter is a table of tokens or positions by its name.

    >>> [_is_embedding(f"model.{name}") for name in ("embed_tokens.weight", "embed.proj.weight", "pos_embed")]
    [True, False, True]
    """
    owner, _, short = name.rpartition(".")
    return short.endswith(TABLES) or (short == "weight" and bool(_EMBEDDING.fullmatch(owner.rpartition(".")[2])))


def decay_overruled(groups: Sequence[Group], weight_decay: Any) -> bool:
    """Whether several groups, alike in all else, say 0 where the optimizer has a weight decay.

    transformers makes such groups of the ``optimizer_cls_and_kwargs`` of its ``Trainer``, with ``args.weight_decay``,
    which is 0 by default. Groups of ``param_groups`` have a kind, and mean it.
    """

    def apart(group: Group) -> Group:
        return {name: value for name, value in group.items() if name not in ("params", "param_names")}

    alike = len(groups) > 1 and all("kind" not in one and apart(one) == apart(groups[0]) for one in groups)
    return alike and not isinstance(weight_decay, Tensor) and weight_decay != 0 and groups[0]["weight_decay"] == 0


def flattened(p: Tensor) -> bool:
    """Whether a vector is most likely one or several matrices that a wrapper has flattened."""
    return len(_shape(p)) == 1 and (p.numel() >= LARGE_VECTOR or bool(getattr(p, "_is_flat_param", False)))
