"""AdEMAMix, whose long average mirrors ADana's schedules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim.base import FamilyOptimizer, options_of
from adana.optim.storage import ParamRounding, StateFormat
from adana.schedules import DecayName

__all__ = ["AdEMAMix"]


class AdEMAMix(FamilyOptimizer):
    """AdEMAMix with the paper's warm-ups, which make it mirror ADana's schedules.

    ``u = (m3^ + alpha(t) m1) / (sqrt(v^) + eps)``: ``m3`` a short average (``beta3``) and ``v`` (``beta2``)
    bias-corrected, ``m1`` a long one with ``beta1(t)`` warmed up to ``1 - delta/T`` and not corrected,
    ``alpha(t) = min(t/T, 1) T^(1-kappa)``.

    Args:
        params: parameters, named parameters or parameter groups; any option below may differ by group.
        lr: peak learning rate, a number or a one-element tensor. Schedulers scale it from there. May be left out
            where every group has its own.
        total_steps: horizon T in optimizer steps (not micro-batches). Needed by the default weight decay;
            ``set_horizon`` changes it in mid-run, and the decay from that step on.
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the short average, in (0, 1).
        kappa: spectral dimension, >= 0; the paper's best is 0.85 at every scale it tried.
        delta: log-time constant, > 0.
        weight_decay: omega, >= 0; independent of ``lr`` (not AdamW's coupled value). A group without one of its own
            decays what ``param_groups`` would if it is ``model.parameters()``, else matrices (no named embeddings).
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
        ValueError: as elsewhere in the family, or ``total_steps`` is not above ``delta``.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``.

    Source: Algorithm 6 and Section J.

    Chosen where the paper prints two things: Algorithm 6 prints ``sqrt(v + eps)`` and a decay that would grow the
    weights; here ``sqrt(v) + eps``, and the decay shrinks them. ``docs/choices.md`` lists every such place.

    Example:
        >>> import torch
        >>> from adana import AdEMAMix
        >>> optimizer = AdEMAMix(torch.nn.Linear(4, 4).parameters(), lr=1e-3, total_steps=1000)
    """

    rule_name = "ademamix"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float,
        beta2: float = 0.999,
        beta3: float = 0.9,
        kappa: float = 0.85,
        delta: float = 8.0,
        weight_decay: float = 0.5,
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
        super().__init__(params, options_of(locals()))
