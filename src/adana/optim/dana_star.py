"""ADana on each parameter's effective time, for gradients that are mostly absent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim.base import FamilyOptimizer, options_of
from adana.optim.storage import ParamRounding, StateFormat, TauFormat
from adana.rules import FormName
from adana.schedules import DecayName

__all__ = ["DanaStar", "DanaStarMK4"]


class DanaStar(FamilyOptimizer):
    """ADana on each parameter's effective time, for gradients that are mostly absent.

    ``tau' = beta tau + (1-beta) |g|/(|g| + sqrt(v') + eps)``, ``t_eff = max(t tau', 1)``,
    ``c = min(tau', 1/2)``, ``tau~ = max(c/(1-c), 1/(1+t))``,
    ``u = sqrt(tau~) (g + damping_scale (1 + t_eff)^(1-kappa) m') / (sqrt(v') + eps)``.

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
        form: ``"paper"`` or ``"released"``, as in :class:`ADana`.
        eps: added to the root of the second moment.
        peak_lr: the lr that gamma(t) = min(lr/peak_lr, 1) is measured by. Default: ``max_lr`` where OneCycleLR
            wrote one, else the lr the group had when it was added. CyclicLR and lr=0 need it. A rate above the
            peak moves weights further and decays them no faster.
        state_dtype: how averages are stored, as a dtype or by name. Default: float64 for float64 parameters,
            else float32, whatever the parameters' own dtype. ``"bfloat16"`` rounds them stochastically (2 bytes
            per average); ``"int16"`` codes them in blocks of 256 with a scale each (2.016 bytes per average,
            vectors stay float32), measured close to float32 to 200,000 steps.
        tau_dtype: how ``tau`` is stored. Default: as the other averages. ``"float16"`` rounds it stochastically, in 2
            bytes instead of 4, complex parameters' excepted; it is for memory: on a CPU the rounding may cost more time
            than the bytes save.
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

    Source: Algorithm 9 and Section N.1.

    Chosen where the paper prints two things: tau is averaged by ``delta/(delta + t)``, as in Algorithm 9; equation (95)
    has ``delta/(t + 1)``, which starts above 1. ``docs/choices.md`` lists every such place.

    Example:
        >>> import torch
        >>> from adana import DanaStar
        >>> optimizer = DanaStar(torch.nn.Embedding(9, 4).parameters(), lr=1e-3, total_steps=1000)
    """

    rule_name = "dana-star"

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
        eps: float = 1e-8,
        form: FormName = "paper",
        peak_lr: float | None = None,
        state_dtype: torch.dtype | StateFormat | None = None,
        tau_dtype: torch.dtype | TauFormat | None = None,
        param_rounding: ParamRounding = "stochastic",
        rounding_seed: int | None = None,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, options_of(locals()))


class DanaStarMK4(FamilyOptimizer):
    """DanaStar and DanaMK4 together: effective time and clipped momentum.

    With ``tau~`` and ``t_eff`` of :class:`DanaStar`: ``norm = sqrt(tau~)/(sqrt(v') + eps)``,
    ``mfac = |m'| norm / tau~``, ``afac = min(damping_scale t_eff^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (tau~ afac + |m'| norm)``.

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
        tau_dtype: how ``tau`` is stored. Default: as the other averages. ``"float16"`` rounds it stochastically, in 2
            bytes instead of 4, complex parameters' excepted; it is for memory: on a CPU the rounding may cost more time
            than the bytes save.
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

    Source: Algorithm 11 and Section N.2.

    Chosen where the paper prints two things: tau is averaged by ``delta/(delta + t)``, as in Algorithm 11 and not in
    equation (95), and the unclipped ``mfac`` stays, as Algorithm 11 has it and the text of Section 4 does not.
    ``docs/choices.md`` lists every such place.

    Example:
        >>> import torch
        >>> from adana import DanaStarMK4
        >>> optimizer = DanaStarMK4(torch.nn.Linear(4, 4).parameters(), lr=1e-3, total_steps=1000)
    """

    rule_name = "dana-star-mk4"

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
        tau_dtype: torch.dtype | TauFormat | None = None,
        param_rounding: ParamRounding = "stochastic",
        rounding_seed: int | None = None,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, options_of(locals()))
