"""ADana, the paper's optimizer, with its ablations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim.base import FamilyOptimizer, options_of
from adana.optim.storage import ParamRounding, StateFormat
from adana.rules import FormName
from adana.schedules import DampingName, DecayName

__all__ = ["ADana"]


class ADana(FamilyOptimizer):
    """Adaptive damped Nesterov acceleration: AdamW in logarithmic time.

    ``m' = beta m + (1-beta) g``, ``v' = beta v + (1-beta) g^2`` with ``beta(t) = t/(delta + t)``,
    ``u = (g + alpha(t) m') / (sqrt(v') + eps)`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``,
    ``p' = p - gamma(t) (lr u + lambda(t) p)``.

    Args:
        params: parameters, named parameters or parameter groups; any option below may differ by group.
        lr: peak learning rate, a number or a one-element tensor. Schedulers scale it from there. May be left out
            where every group has its own.
        total_steps: horizon T in optimizer steps (not micro-batches). Needed by the default weight decay;
            ``set_horizon`` changes it in mid-run, and the decay from that step on.
        kappa: spectral dimension, >= 0; the paper's best is 0.85 at every scale it tried.
        delta: log-time constant, > 0.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        weight_decay: omega, >= 0; independent of ``lr`` (not AdamW's coupled value). A group without one of its own
            decays what ``param_groups`` would if it is ``model.parameters()``, else matrices (no named embeddings).
        weight_decay_offset: t0 in steps, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.
        damping_scale: alpha-tilde, > 0; 1 at 65,536 tokens per batch.
        damping: ``"power"`` as above, ``"linear"`` for ``damping_scale T^-kappa t``, ``"nesterov"`` for
            ``(delta + t)/delta`` (unstable; an ablation).
        gradient_term: False drops ``g`` from ``u`` (unstable; an ablation, Figure 3).
        beta1: a constant momentum coefficient with bias correction instead of log time (an ablation).
        beta2: a constant second-moment coefficient with bias correction instead of log time (ADANA 3).
        beta3: replaces ``g`` in ``u`` by its bias-corrected short average (ADANA 7).
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it (momentum weight
            alpha + 1, clock at t + 1, decay on the new parameter).
        eps: added to the root of the second moment.
        eps_root: added to the second moment under its root (an ablation, as Algorithm 1 prints it with ``eps=0``).
            Default: nothing.
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
        ValueError: a value is out of range, or weight decay is on without what its schedule needs.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``, both of these, or ``fused=True`` where it
            is not available.

    Source: Algorithm 1; Algorithm 12 and Table 9 for the ablations.

    Chosen where the paper prints two things: Algorithm 1 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as equation
    (1) and the authors' code. Linear damping is Table 9's; other places print ``1 + t`` or ``delta + t`` for ``t``.
    ``docs/choices.md`` lists every such place.

    Example:
        >>> import torch
        >>> from adana import ADana
        >>> weight = torch.nn.Parameter(torch.ones(1, 3))
        >>> optimizer = ADana([weight], lr=0.1, total_steps=100)
        >>> weight.pow(2).sum().backward()
        >>> optimizer.step()
        >>> weight.data  # u = (g + m')/sqrt(v') = 2 at the first step, and lambda(0) = 1/20
        tensor([[0.7500, 0.7500, 0.7500]])
    """

    rule_name = "adana"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float | None = None,
        kappa: float = 0.85,
        delta: float = 8.0,
        cooldown: float | None = None,
        weight_decay: float = 0.5,
        weight_decay_offset: float | None = None,
        decay: DecayName = "log",
        damping_scale: float = 1.0,
        damping: DampingName = "power",
        gradient_term: bool = True,
        beta1: float | None = None,
        beta2: float | None = None,
        beta3: float | None = None,
        eps: float = 1e-8,
        eps_root: float | None = None,
        form: FormName = "paper",
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
        super().__init__(params, options_of(locals()))
