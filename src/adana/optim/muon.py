"""Muon for hidden matrices, with any of the family for everything else, in one optimizer."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor

from adana.optim import family
from adana.optim.base import FamilyOptimizer, options_of
from adana.optim.family import AdamW
from adana.optim.model_parts import KINDS
from adana.optim.state import dtype_name
from adana.optim.storage import ParamRounding, StateFormat
from adana.schedules import DampingName, DecayName

__all__ = ["Muon"]

_BY_NAME = {name: getattr(family, name) for name in family.__all__}


class Muon(FamilyOptimizer):
    """Momentum orthogonalised by Newton-Schulz on hidden matrices; a fallback on everything else.

    ``M' = mu M + G``, ``M~ = G + mu M'`` (``nesterov``), ``O = NewtonSchulz(M~ / (|M~|_F + eps))``,
    ``W' = (1 - gamma lambda) W - gamma lr rms sqrt(max(A, B)) O`` for ``W`` of shape (A, B).
    With ``log_time``: ``M' = beta(t) M + (1-beta(t)) G`` and ``M~ = G + alpha(t) M'``.

    Newton-Schulz runs in bf16 on an accelerator and in the arithmetic's own dtype (float32 or float64)
    on the CPU. Matrices always take the single-tensor loop; ``foreach`` serves the fallback's parameters.

    Args:
        params: groups tagged ``kind`` as :func:`adana.param_groups` makes them. Groups of kind ``"hidden"`` holding
            matrices take Muon, and convolutions and stacks of matrices where the group says so (``stacked``); all
            others (untagged vectors, too) the fallback.
        lr: peak learning rate, a number or a one-element tensor. May be left out where every group has its own.
        total_steps: horizon T in optimizer steps; needed by the default weight decay.
        momentum: mu, in [0, 1).
        ns_steps: Newton-Schulz iterations, >= 1.
        nesterov: mix the gradient into the momentum before orthogonalising.
        rms: rho, the root mean square of an update of learning rate 1, > 0.
        log_time: momentum in log time with damping, in place of ``momentum`` and ``nesterov``.
        fallback: class of the family for the other parameters, or a ``functools.partial`` of one that
            sets its own options, such as ``partial(AdamW, betas=(0.9, 0.95))``.
        fallback_lr: its peak learning rate; default ``lr``.
        kappa: spectral dimension, >= 0; the paper's best is 0.85 at every scale it tried.
        delta: log-time constant, > 0.
        damping_scale: alpha-tilde, > 0; 1 at 65,536 tokens per batch.
        damping: as in :class:`ADana` (``log_time`` only).
        weight_decay: omega, >= 0; independent of ``lr`` (not AdamW's coupled value).
        weight_decay_offset: t0 in steps, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.
        eps: added to the root of the second moment.
        peak_lr: the lr that gamma(t) = min(lr/peak_lr, 1) is measured by. Default: ``max_lr`` where OneCycleLR
            wrote one, else the lr the group had when it was added. CyclicLR and lr=0 need it. A rate above the
            peak moves weights further and decays them no faster.
        state_dtype: how averages are stored, as a dtype or by name. Default: float64 for float64 parameters,
            else float32, whatever the parameters' own dtype. ``"bfloat16"`` rounds them stochastically (2 bytes
            per average); ``"int16"`` codes them in blocks of 256 with a scale each (2.016 bytes per average,
            vectors stay float32), measured close to float32 to 200,000 steps.
        param_rounding: for float16 and bfloat16 parameters, whose arithmetic is float32 and rounded once:
            ``"stochastic"``; ``"kahan"`` keeps what rounding to nearest leaves over in a bfloat16
            ``compensation``; ``"nearest"`` loses every update below half a spacing.
        rounding_seed: of the random bits, a function of (seed, step, parameter, element): a resumed run rounds as
            an uninterrupted one, a sharded one as a whole one. Default: 0; an optimizer of a single parameter,
            as hooks have them, takes the next number of its process. Give several optimizers of one run a seed
            each.
        foreach: one kernel over many tensors. Default: where torch's own default is (on accelerators).
        fused: the whole step in one pass over memory, over all parameters of a group at once: machine code by
            LLVM on the CPU (``pip install 'adana[fused]'``), Triton on CUDA. The same numbers to a last bit or
            two, the same state and random bits. Default: wherever it is available, if ``foreach`` is not given
            (on CUDA that takes Triton 3.4, which comes with torch 2.8). A step under ``torch.compile`` is left
            to that compiler.
        maximize: ascend instead.
        capturable: keep the step on the device, for graph capture. Works on the CPU too.
        differentiable: let autograd through ``step()``.

    Raises:
        ValueError: as elsewhere in the family; a 2-D parameter in an untagged group; complex parameters.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``.

    Source: Algorithm 5 and Section D.4; log time is the conjecture of the paper's conclusion.

    Example:
        >>> import torch
        >>> from adana import Muon, param_groups
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4))
        >>> optimizer = Muon(param_groups(model), lr=1e-3, total_steps=1000)
        >>> [group["rule"] for group in optimizer.param_groups]
        ['muon', 'adamw', 'adamw']
    """

    rule_name = "muon"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float | None = None,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms: float = 0.2,
        log_time: bool = False,
        fallback: Any = AdamW,
        fallback_lr: float | Tensor | None = None,
        kappa: float = 0.85,
        delta: float = 8.0,
        damping_scale: float = 1.0,
        damping: DampingName = "power",
        weight_decay: float = 4.0,
        weight_decay_offset: float | None = None,
        decay: DecayName = "log",
        eps: float = 1e-8,
        peak_lr: float | None = None,
        state_dtype: torch.dtype | StateFormat | None = None,
        param_rounding: ParamRounding = "stochastic",
        rounding_seed: int | None = None,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = options_of(locals())
        # Kept by name and as plain numbers, so that a checkpoint holds the fallback whole.
        defaults["fallback"], defaults["fallback_options"] = _named_fallback(fallback)
        super().__init__(params, defaults)
        if not any(group["rule"] == self.rule_name for group in self.param_groups):
            self._warn_once(
                "no matrix",
                f"none of Muon's groups holds a hidden matrix, so {defaults['fallback']} updates everything. Weights "
                "that FSDP1 or ZeRO-3 flattened are no matrices any more: shard with torch's fully_shard, or make "
                "groups of kind='hidden' from matrices.",
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: matrices tagged ``kind="hidden"`` to Muon, the rest to the fallback.

        Tensors of more dimensions take Muon where the group says how matrices lie in them: ``stacked=True`` for
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
                "Muon does not take complex parameters: orthogonalisation is defined here for real matrices"
            )
        matrices = [p.ndim == 2 for p in tensors if isinstance(p, Tensor)]
        if kind is None and any(matrices):
            raise ValueError(
                "Muon must know which matrices are hidden: build its groups with adana.param_groups(model), or tag "
                "each group with kind='hidden', 'embedding', 'head', 'adapter' or 'other'"
            )
        if kind == "hidden" and any(matrices) and not all(matrices):
            raise ValueError("a hidden group mixes matrices with other shapes: put them into groups of their own")
        options = self.defaults["fallback_options"]
        if "fallback" in group:
            group["fallback"], options = _named_fallback(group["fallback"])
        deeper = group.get("stacked") is not None and all(p.ndim > 2 for p in tensors if isinstance(p, Tensor))
        if kind == "hidden" and (all(matrices) or deeper):
            group["rule"] = self.rule_name
        else:
            group["rule"] = _BY_NAME[group.get("fallback", self.defaults["fallback"])].rule_name
            for name, value in options.items():
                group.setdefault(name, value)
            if self.defaults["fallback_lr"] is not None and "lr" not in group:
                group["lr"] = self.defaults["fallback_lr"]
                group.setdefault("peak_lr", None)  # the optimizer's own is the peak of its `lr`
        super().add_param_group(group)

    def _rule_name(self, param_group: dict[str, Any]) -> str:
        name: str = param_group["rule"]
        return name

    def _option_names(self, group: dict[str, Any]) -> set[str]:
        own = super()._option_names(group)
        return own if group["rule"] == self.rule_name else own | set(_named_fallback(group["fallback"])[1])

    def _takes_rule(self, group: dict[str, Any], rule: str) -> bool:
        # The fallback is an option like others, so a checkpoint brings its own.
        return self.rule_name not in (rule, group["rule"]) or rule == group["rule"]


def _named_fallback(fallback: Any) -> tuple[str, dict[str, Any]]:
    """A fallback by name, and its own hyper-parameters: those asked for, then those Muon does not share with it."""
    chosen: dict[str, Any] = {}
    if isinstance(fallback, functools.partial):
        if fallback.args:
            raise ValueError(f"a partial fallback takes keywords only, got {fallback!r}")
        chosen, fallback = dict(fallback.keywords), fallback.func
    name = fallback if isinstance(fallback, str) else getattr(fallback, "__name__", None)
    if name not in _BY_NAME or fallback not in (name, _BY_NAME[name]):
        raise ValueError(
            f"fallback must be an elementwise class of the family ({', '.join(_BY_NAME)}), got {fallback!r}"
        )
    signature = inspect.signature(_BY_NAME[name]).parameters
    unknown = sorted(set(chosen) - (set(signature) - {"params", "lr"}))
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; use fallback_lr for its learning rate")
    if "state_dtype" in chosen:
        chosen["state_dtype"] = dtype_name(chosen["state_dtype"])
    shared = set(inspect.signature(Muon).parameters) - {"nesterov"}
    return name, {key: p.default for key, p in signature.items() if key not in shared} | chosen
