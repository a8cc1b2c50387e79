"""Damped momentum in log time without a second moment, and with a clipped momentum term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim.base import FamilyOptimizer, options_of
from adana.optim.storage import ParamRounding, StateFormat
from adana.rules import FormName
from adana.schedules import DampingName, DecayName

__all__ = ["Dana", "DanaMK4"]


class Dana(FamilyOptimizer):
    """Damped Nesterov acceleration without a second moment and without decay: SGD's relative.

    ``m' = beta m + (1-beta) g``, ``p' = p - gamma(t) lr (g + alpha(t) m')``. The damping decides:
    ``"power"`` (DANA-decaying), ``"linear"`` for ``damping_scale T^-kappa (1+t)`` (DANA-constant),
    ``"nesterov"`` for ``(delta+t)/delta`` (Algorithm 7, diverges with noisy gradients).

    Args:
        params: parameters, named parameters or parameter groups; any option may differ by group.
        lr: learning rate, a number or a one-element tensor.
        total_steps: horizon T in steps (``"linear"`` only).
        kappa: spectral dimension, >= 0; the paper's best is 0.85 at every scale it tried.
        delta: log-time constant, > 0.
        damping_scale: alpha-tilde, > 0; 1 at 65,536 tokens per batch.
        damping: one of ``"power"``, ``"linear"``, ``"nesterov"``.
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

    Source: Algorithms 7 and 8.

    Chosen where the paper prints two things: linear damping is Algorithm 8's ``1 + t``; :class:`ADana` has Table 9's
    ``t``. ``docs/choices.md`` lists every such place.

    Example:
        >>> import torch
        >>> from adana import Dana
        >>> optimizer = Dana(torch.nn.Linear(4, 4).parameters(), lr=1e-2)
    """

    rule_name = "dana"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float | None = None,
        kappa: float = 0.85,
        delta: float = 8.0,
        damping_scale: float = 1.0,
        damping: DampingName = "power",
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


class DanaMK4(FamilyOptimizer):
    """ADana whose momentum term is clipped by its signal-to-noise ratio: forgiving about kappa.

    ``norm = 1/(sqrt(v') + eps)``, ``mfac = |m'| norm``, ``afac = min(damping_scale t^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (afac + mfac)``.

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
        clip_snr: bound on the clipped factor, > 0.
        form: ``"paper"`` or ``"released"``, as in :class:`ADana`.
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
        ValueError: a value is out of range, or weight decay is on without what its schedule needs.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``, both of these, or ``fused=True`` where it
            is not available.

    Source: Algorithm 10 and Section N.2.

    Chosen where the paper prints two things: the text of Section 4 replaces the momentum by its clipped form; here the
    unclipped ``mfac`` stays beside it, as Algorithm 10 has it. ``t^(1-kappa)`` is Algorithm 10's; Algorithm 1 has
    ``(1+t)^(1-kappa)``. ``docs/choices.md`` lists every such place.

    Example:
        >>> import torch
        >>> from adana import DanaMK4
        >>> optimizer = DanaMK4(torch.nn.Linear(4, 4).parameters(), lr=1e-3, total_steps=1000)
    """

    rule_name = "dana-mk4"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float | None = None,
        kappa: float = 0.85,
        delta: float = 8.0,
        clip_snr: float = 2.0,
        cooldown: float | None = None,
        weight_decay: float = 0.5,
        weight_decay_offset: float | None = None,
        decay: DecayName = "log",
        damping_scale: float = 1.0,
        eps: float = 1e-8,
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
