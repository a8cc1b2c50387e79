"""What optimizers of matrices share: matrices to their own rule, everything else to a fallback, in one optimizer."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any

from torch import Tensor

from adana import catalog
from adana.optim.base import FamilyOptimizer
from adana.optim.group_checks import Group
from adana.optim.model_parts import KINDS
from adana.optim.state import with_names

__all__ = ["MatrixOptimizer"]


def _fallbacks() -> dict[str, type[FamilyOptimizer]]:
    """The elementwise classes, by name."""
    entries = (entry for entry in catalog.OPTIMIZERS.values() if entry.torch and entry.elementwise)
    return {each.torch_class: getattr(importlib.import_module(each.torch_module), each.torch_class) for each in entries}


class MatrixOptimizer(FamilyOptimizer):
    """Base of the optimizers whose rule takes whole matrices; ``fallback`` updates all other parameters."""

    def __init__(self, params: Any, defaults: Group) -> None:
        # Kept by name and as plain numbers, so that a checkpoint holds the fallback whole.
        defaults["fallback"], defaults["fallback_options"] = self._named_fallback(defaults["fallback"], defaults)
        super().__init__(params, defaults)
        if not any(group["rule"] == self.rule_name for group in self.param_groups):
            self._warn_once(
                "no matrix",
                f"none of {type(self).__name__}'s groups holds a hidden matrix, so {defaults['fallback']} updates "
                "everything. Weights that FSDP1 or ZeRO-3 flattened are no matrices any more: shard with torch's "
                "fully_shard, or make groups of kind='hidden' from matrices.",
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: matrices tagged ``kind="hidden"`` to the rule of matrices, the rest to the fallback.

        Tensors of more dimensions count as matrices where the group says how matrices lie in them: ``stacked=True`` for
        one along each of the leading dimension, ``stacked=False`` for the first dimension by all others.
        """
        group = dict(param_group)
        params = group["params"]
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        tensors = [p[1] if isinstance(p, tuple) else p for p in group["params"]]
        kind = group.setdefault("kind", None)
        if kind not in (None, *KINDS):
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
        if any(isinstance(p, Tensor) and p.is_complex() for p in tensors):
            raise ValueError(
                f"{type(self).__name__} does not take complex parameters: orthogonalisation is defined here for real "
                "matrices"
            )
        matrices = [p.ndim == 2 for p in tensors if isinstance(p, Tensor)]
        if kind is None and any(matrices):
            raise ValueError(
                f"{type(self).__name__} must know which matrices are hidden: build its groups with "
                "adana.param_groups(model), or tag each group with kind='hidden', 'embedding', 'head', 'adapter' or "
                "'other'"
            )
        if kind == "hidden" and any(matrices) and not all(matrices):
            raise ValueError("a hidden group mixes matrices with other shapes: put them into groups of their own")
        options = self.defaults["fallback_options"]
        if "fallback" in group:
            group["fallback"], options = self._named_fallback(group["fallback"], self.defaults)
        deeper = group.get("stacked") is not None and all(p.ndim > 2 for p in tensors if isinstance(p, Tensor))
        if kind == "hidden" and (all(matrices) or deeper):
            group["rule"] = self.rule_name
        else:
            group["rule"] = _fallbacks()[group.get("fallback", self.defaults["fallback"])].rule_name
            for name, value in options.items():
                group.setdefault(name, value)
            if self.defaults["fallback_lr"] is not None and "lr" not in group:
                group["lr"] = self.defaults["fallback_lr"] * group.get("lr_factor", 1.0)
                group.setdefault("peak_lr", None)  # the optimizer's own is the peak of its `lr`
        super().add_param_group(group)

    def _rule_name(self, param_group: dict[str, Any]) -> str:
        name: str = param_group["rule"]
        return name

    def _option_names(self, group: dict[str, Any]) -> set[str]:
        own = super()._option_names(group)
        return (
            own
            if group["rule"] == self.rule_name
            else own | set(self._named_fallback(group["fallback"], self.defaults)[1])
        )

    def _takes_rule(self, group: dict[str, Any], rule: str) -> bool:
        # The fallback is an option like others, so a checkpoint brings its own.
        return self.rule_name not in (rule, group["rule"]) or rule == group["rule"]

    def _named_fallback(self, fallback: Any, defaults: Group) -> tuple[str, dict[str, Any]]:
        """A fallback by name, and its own hyper-parameters: those asked for, then those not among ``defaults``."""
        chosen: dict[str, Any] = {}
        if isinstance(fallback, functools.partial):
            if fallback.args:
                raise ValueError(f"a partial fallback takes keywords only, got {fallback!r}")
            chosen, fallback = dict(fallback.keywords), fallback.func
        name = fallback if isinstance(fallback, str) else getattr(fallback, "__name__", None)
        known = _fallbacks()
        if name not in known or fallback not in (name, known[name]):
            raise ValueError(
                f"fallback must be an elementwise class of the family ({', '.join(known)}), got {fallback!r}"
            )
        signature = inspect.signature(known[name]).parameters
        unknown = sorted(set(chosen) - (set(signature) - {"params", "lr"}))
        if unknown:
            raise ValueError(f"{name} has no option {', '.join(unknown)}; use fallback_lr for its learning rate")
        chosen = with_names(chosen)
        shared = {"params", *defaults} - set(catalog.of_rule(self.rule_name).apart)
        return name, {key: p.default for key, p in signature.items() if key not in shared} | chosen
