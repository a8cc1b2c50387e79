"""Parameter groups by what a parameter is: judged by its module's type, as shapes are lost once weights are flattened.

:mod:`adana.optim.model_parts` finds the parts of a model; this file makes groups of them.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from adana.catalog import OMEGA
from adana.optim.model_parts import DECAYING, KINDS, Part, parts_of
from adana.suggestions import omega_of

__all__ = ["KINDS", "groups_table", "param_groups"]

Group = dict[str, Any]


def param_groups(
    model: nn.Module,
    weight_decay: float | None = None,
    *,
    tokens: float | None = None,
    pretrained: bool = False,
    overrides: Mapping[Any, str | Mapping[str, Any]] | None = None,
    named: bool = False,
    verbose: bool = False,
) -> list[Group]:
    """Split a model's parameters by kind, with weight decay where the paper has it.

    Kinds:

    ``"hidden"``
        Weights of linear layers, convolutions, recurrent and attention layers, raw matrices, and stacks of them
        (experts): weight decay; :class:`adana.Muon` orthogonalises them.
    ``"head"``
        The output projection: ``model.get_output_embeddings()`` or ``model.get_classifier()`` where the model has it
        (transformers, timm). Else at most one: the last ``Linear`` outside of the blocks whose ``out_features`` equal
        the ``num_embeddings`` of the largest embedding, or the last ``Linear`` of a classifier. Weight decay, no Muon.
    ``"embedding"``
        Weights of embedding modules, tables of positions and class tokens; also a head that is tied to one. No
        weight decay.
    ``"adapter"``
        What peft adds (LoRA, IA3, ``modules_to_save``). No weight decay: decay of omega = 4 would undo them.
    ``"other"``
        Norms, biases, scalars, gates and scales (LayerScale, ``A_log``, ``logit_scale``). No weight decay.

    A model's own ``no_weight_decay()``, ``no_weight_decay_keywords()`` and parameters' ``_no_weight_decay`` are
    honoured. Wrappers (DistributedDataParallel, ``torch.compile``, FSDP) are looked through. Weights that FSDP1
    or ZeRO-3 flattened are judged by what they were; where that is lost, make the groups before wrapping.

    For Muon, hidden parameters come in a group for each shape that it takes: matrices; convolutions (``stacked``
    False: a matrix of output channels by all else); stacks of matrices (``stacked`` True: each by itself). Grouped
    convolutions have a group of their own and go to the fallback.

    Args:
        model: a module; parameters that do not require gradients are left out.
        weight_decay: omega for hidden and head; default 0.5, or by ``tokens`` where these are given.
        tokens: of the whole run. Omega is then ``2 sqrt(tokens / (20 parameters))``, held between 0.5 and 4, with the
            parameters of this model (:func:`adana.suggest`).
        pretrained: the weights come from an earlier training, which decay would erase: no weight decay at all.
        overrides: what is known better: from a pattern of parameter names (as ``"*.gate.weight"``) or a module of
            the model to a kind, or to options of the group (``{"kind": ..., "weight_decay": ..., "lr": ...}``).
            Of several that fit, later ones win.
        named: give the groups their parameters' names (``param_names``), by which ``load_state_dict`` matches
            them. Then every group of the optimizer must have names.
        verbose: print the groups.

    Returns:
        Groups with keys ``params``, ``kind`` and ``weight_decay``, empty ones left out.

    Raises:
        ValueError: weights that are flattened beyond recognition; an override that fits nothing or has no such kind;
            ``tokens`` beside ``weight_decay`` or ``pretrained``, which leave nothing for it to decide.

    Source: Table 2 and its footnote.

    Example:
        >>> import torch
        >>> from adana import param_groups
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 9))
        >>> [(group["kind"], group["weight_decay"]) for group in param_groups(model)]
        [('hidden', 0.5), ('embedding', 0.0), ('head', 0.5), ('other', 0.0)]
        >>> param_groups(model, tokens=20 * 101)[0]["weight_decay"]
        2.0
        >>> groups = param_groups(model, overrides={"1.*": {"lr": 1e-4}}, named=True)
        >>> [(group["param_names"], group["lr"]) for group in groups if "lr" in group]
        [(['1.weight'], 0.0001), (['1.bias'], 0.0001)]
    """
    parts = list(parts_of(model))
    omega = _omega(parts, weight_decay, tokens, pretrained)
    changes = _changes(model, overrides or {})
    found: dict[Any, Group] = {}
    for part in parts:
        options: Group = {"kind": part.kind}
        if part.stacked is not None:
            options["stacked"] = part.stacked
        for change in changes.get(id(part.p), ()):
            options |= change
        if options["kind"] != "hidden":
            options.pop("stacked", None)
        options.setdefault("weight_decay", omega if options["kind"] in DECAYING and part.may_decay else 0.0)
        # Matrices apart from other shapes, as Muon needs them.
        apart = options["kind"] == "hidden" and len(part.shape) != 2
        key = (KINDS.index(options["kind"]), apart, *(f"{name}={value!r}" for name, value in sorted(options.items())))
        group = found.setdefault(key, {"params": [], "param_names": [], **options})
        group["params"].append(part.p)
        group["param_names"].append(part.name)
    groups = [found[key] for key in sorted(found)]
    if verbose:
        print(groups_table(groups))
    if not named:
        for group in groups:
            del group["param_names"]
    return groups


def _omega(parts: Iterable[Part], weight_decay: float | None, tokens: float | None, pretrained: bool) -> float:
    if tokens is None:
        return 0.0 if pretrained else OMEGA if weight_decay is None else weight_decay
    if pretrained or weight_decay is not None:
        given = "pretrained=True" if pretrained else f"weight_decay={weight_decay}"
        raise ValueError(f"tokens={tokens} would decide weight decay, and so does {given}: give one of them")
    return omega_of(tokens, sum(math.prod(part.shape) for part in parts))


def _changes(model: nn.Module, overrides: Mapping[Any, str | Mapping[str, Any]]) -> dict[int, list[Group]]:
    """The options that overrides give to parameters, by the parameter's id."""
    changes: dict[int, list[Group]] = {}
    parts: list[Part] = parts_of(model) if overrides else []
    for key, value in overrides.items():
        change = {"kind": value} if isinstance(value, str) else dict(value)
        if change.get("kind", KINDS[0]) not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {change['kind']!r}")
        if isinstance(key, nn.Module):
            inside = {id(p) for p in key.parameters()}
            fitting = [part for part in parts if id(part.p) in inside]
        else:
            fitting = [part for part in parts if fnmatch.fnmatchcase(part.name, key)]
        if not fitting:
            what = f"the module {type(key).__name__}" if isinstance(key, nn.Module) else repr(key)
            raise ValueError(f"no parameter that requires gradients fits {what} in overrides")
        for part in fitting:
            changes.setdefault(id(part.p), []).append(change)
    return changes


def groups_table(groups: Iterable[Mapping[str, Any]]) -> str:
    """What :func:`param_groups` decided, a line per group.

    >>> model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4, bias=False))
    >>> print(groups_table(param_groups(model, named=True)))
    kind       decay  tensors  elements  names
    hidden     0.5    1        16        1.weight
    embedding  0      1        36        0.weight
    """
    rows = [("kind", "decay", "tensors", "elements", "names")]
    for group in groups:
        names = list(group.get("param_names", ()))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        how = {True: " (stacked)", False: " (convolutions)", None: ""}[group.get("stacked")]
        options = {
            key: value
            for key, value in group.items()
            if key not in ("params", "param_names", "kind", "weight_decay", "stacked")
        }
        more = "".join(f" {key}={value!r}" for key, value in options.items())
        elements = sum(p.numel() for p in group["params"])
        rows.append(
            (
                f"{group['kind']}{how}{more}",
                f"{group['weight_decay']:g}",
                f"{len(group['params'])}",
                f"{elements:,}",
                shown,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows)
