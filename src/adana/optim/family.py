"""The elementwise optimizers: constructors that validate nothing themselves and name every option."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.docstrings import documented
from adana.optim.base import FamilyOptimizer
from adana.optim.storage import ParamRounding, StateFormat
from adana.rules import FormName
from adana.schedules import DampingName, DecayName

__all__ = [
    "ADana",
    "AdEMAMix",
    "AdamW",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LogAdamW",
    "LogNAdamW",
]

# Said once, shown in every class: the arguments that mean the same throughout the family.
ARGUMENTS = {
    "schedule": """\
        params: parameters, named parameters or parameter groups; any option below may differ by group.
        lr: peak learning rate, a number or a one-element tensor. Schedulers scale it from there. May be left out
            where every group has its own.
        total_steps: horizon T in optimizer steps (not micro-batches). Needed by the default weight decay;
            changing ``group["total_steps"]`` in mid-run changes the decay from that step on.""",
    "log_time": """\
        kappa: spectral dimension, >= 0; the paper's best is 0.85 at every scale it tried.
        delta: log-time constant, > 0.""",
    "damping": """\
        damping_scale: alpha-tilde, > 0; 1 at 65,536 tokens a batch.""",
    "decay": """\
        weight_decay: omega, >= 0; independent of ``lr`` (not AdamW's coupled value).
        weight_decay_offset: t0 in steps, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.""",
    "common": """\
        eps: added to the root of the second moment.
        peak_lr: the lr that gamma(t) = lr/peak_lr is measured by. Default: ``max_lr`` where OneCycleLR
            wrote one, else the lr the group had when it was added. CyclicLR and lr=0 need it. gamma(t) is at
            most 1: a rate above the peak moves weights further and decays them no faster.
        state_dtype: how averages are stored, of equal meaning as dtype or name. Default: float64 for float64
            parameters, else float32, whatever the parameters' own dtype. ``bfloat16`` rounds them
            stochastically (2 bytes an average); ``"int16"`` codes them in blocks of 256 with a scale each
            (2.016 bytes an average, vectors stay float32), which stays close to float32 at any horizon.
        param_rounding: for float16 and bfloat16 parameters, whose arithmetic is float32 and rounded once:
            ``"stochastic"``; ``"kahan"`` keeps what rounding to nearest leaves over in a bfloat16
            ``compensation``; ``"nearest"`` loses every update below half a spacing.
        rounding_seed: of the random bits, a function of (seed, step, parameter, element): a resumed run
            rounds as an uninterrupted one, a sharded one as a whole one. Default: 0; an optimizer of a single
            parameter, as hooks have them, takes the next number of its process. Several optimizers of one run
            need a seed each.
        foreach: one kernel over many tensors. Default: where torch's own default is (on accelerators).
        fused: the whole step in one pass over memory, over all parameters of a group at once: machine code by
            LLVM on the CPU (``pip install 'adana[fused]'``), Triton on CUDA. The same numbers to a last bit or
            two, the same state and random bits. Default: wherever it can be had, if ``foreach`` is not given (on CUDA
            that takes Triton 3.4, which comes with torch 2.8). A step under ``torch.compile`` is left to that
            compiler.
        maximize: ascend instead.
        capturable: keep the step on the device, for graph capture. Works on the CPU too.
        differentiable: let autograd through ``step()``.""",
    "raises": """\
        ValueError: a value is out of range, or weight decay is on without what its schedule needs.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``, both of these, or ``fused=True`` where
            it cannot be had.""",
}


@documented(ARGUMENTS)
class ADana(FamilyOptimizer):
    """Adaptive damped Nesterov acceleration: AdamW in logarithmic time.

    ``m' = beta m + (1-beta) g``, ``v' = beta v + (1-beta) g^2`` with ``beta(t) = t/(delta + t)``,
    ``u = (g + alpha(t) m') / (sqrt(v') + eps)`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``,
    ``p' = p - gamma(t) (lr u + lambda(t) p)``.

    Args:
        {schedule}
        {log_time}
        {decay}
        {damping}
        damping: ``"power"`` as above, ``"linear"`` for ``damping_scale T^-kappa t``, ``"nesterov"`` for
            ``(delta + t)/delta`` (unstable; an ablation).
        gradient_term: False drops ``g`` from ``u`` (unstable; an ablation, Figure 3).
        beta2: a constant second-moment coefficient with bias correction instead of log time (ADANA 3).
        beta3: replaces ``g`` in ``u`` by its bias-corrected short average (ADANA 7).
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it (momentum weight
            alpha + 1, clock at t + 1, decay on the new parameter).
        {common}

    Raises:
        {raises}

    Source: Algorithm 1; Algorithm 12 and Table 9 for the ablations.

    Example:
        >>> import torch
        >>> from adana import ADana
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> optimizer = ADana([weight], lr=0.1, total_steps=100)
        >>> weight.pow(2).sum().backward()
        >>> optimizer.step()
        >>> weight.data  # u = (g + m')/sqrt(v') = 2 at the first step, and lambda(0) = 4/10
        tensor([0.4000, 0.4000, 0.4000])
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
        weight_decay: float = 4.0,
        weight_decay_offset: float | None = None,
        decay: DecayName = "log",
        damping_scale: float = 1.0,
        damping: DampingName = "power",
        gradient_term: bool = True,
        beta2: float | None = None,
        beta3: float | None = None,
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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class DanaMK4(FamilyOptimizer):
    """ADana whose momentum term is clipped by its signal-to-noise ratio: forgiving about kappa.

    ``norm = 1/(sqrt(v') + eps)``, ``mfac = |m'| norm``, ``afac = min(damping_scale t^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (afac + mfac)``.

    Args:
        {schedule}
        {log_time}
        {decay}
        {damping}
        clip_snr: bound on the clipped factor, > 0.
        form: ``"paper"`` or ``"released"``, as in :class:`ADana`.
        {common}

    Raises:
        {raises}

    Source: Algorithm 10 and Section N.2.

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
        weight_decay: float = 4.0,
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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class DanaStar(FamilyOptimizer):
    """ADana on each parameter's effective time, for gradients that are mostly absent.

    ``tau' = beta tau + (1-beta) |g|/(|g| + sqrt(v') + eps)``, ``t_eff = max(t tau', 1)``,
    ``c = min(tau', 1/2)``, ``tau~ = max(c/(1-c), 1/(1+t))``,
    ``u = sqrt(tau~) (g + damping_scale (1 + t_eff)^(1-kappa) m') / (sqrt(v') + eps)``.

    Args:
        {schedule}
        {log_time}
        {decay}
        {damping}
        form: ``"paper"`` or ``"released"``, as in :class:`ADana`.
        {common}

    Raises:
        {raises}

    Source: Algorithm 9 and Section N.1.

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
        weight_decay: float = 4.0,
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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class DanaStarMK4(FamilyOptimizer):
    """DanaStar and DanaMK4 together: effective time and clipped momentum.

    With ``tau~`` and ``t_eff`` of :class:`DanaStar`: ``norm = sqrt(tau~)/(sqrt(v') + eps)``,
    ``mfac = |m'| norm / tau~``, ``afac = min(damping_scale t_eff^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (tau~ afac + |m'| norm)``.

    Args:
        {schedule}
        {log_time}
        {decay}
        {damping}
        clip_snr: bound on the clipped factor, > 0.
        form: ``"paper"`` or ``"released"``, as in :class:`ADana`.
        {common}

    Raises:
        {raises}

    Source: Algorithm 11 and Section N.2.

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
        weight_decay: float = 4.0,
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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class LogAdamW(FamilyOptimizer):
    """AdamW with log-time averages and nothing else: ``u = m' / (sqrt(v') + eps)``.

    Shows that log-time momentum alone does not help (Figure 3); use :class:`ADana` to train.

    Args:
        {schedule}
        delta: log-time constant, > 0.
        {decay}
        {common}

    Raises:
        {raises}

    Source: Algorithm 3.

    Example:
        >>> import torch
        >>> from adana import LogAdamW
        >>> optimizer = LogAdamW(torch.nn.Linear(4, 4).parameters(), lr=1e-3, total_steps=1000)
    """

    rule_name = "log-adamw"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float | None = None,
        delta: float = 8.0,
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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class LogNAdamW(FamilyOptimizer):
    """Undamped Nesterov momentum in log time: ``u = (g + (delta+t)/delta m') / (sqrt(v') + eps)``.

    Shows the instability that damping cures (Figure 3); use :class:`ADana` to train.

    Args:
        {schedule}
        delta: log-time constant, > 0.
        {decay}
        {common}

    Raises:
        {raises}

    Source: Algorithm 4.

    Example:
        >>> import torch
        >>> from adana import LogNAdamW
        >>> optimizer = LogNAdamW(torch.nn.Linear(4, 4).parameters(), lr=1e-3, total_steps=1000)
    """

    rule_name = "log-nadamw"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float | None = None,
        delta: float = 8.0,
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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class AdamW(FamilyOptimizer):
    """AdamW as the paper runs it: bias correction, independent decay, constant or in log time.

    ``u = m^ / (sqrt(v^) + eps)``, or ``(m^ + g) / (sqrt(v^) + eps)`` with ``nesterov`` (NAdamW), the hats
    being bias-corrected averages; ``p' = p - gamma(t) (lr u + lambda(t) p)``.

    Args:
        {schedule}
        betas: coefficients of the two averages, in [0, 1).
        nesterov: add the gradient to the bias-corrected momentum (NAdamW, Section 3).
        {decay}
        {common}

    Raises:
        {raises}

    Source: Algorithm 2 and Section 3.1.

    Example:
        >>> import torch
        >>> from adana import AdamW
        >>> model = torch.nn.Linear(4, 4)
        >>> optimizer = AdamW(model.parameters(), lr=1e-3, total_steps=1000, decay="constant")
    """

    rule_name = "adamw"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        nesterov: bool = False,
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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class AdEMAMix(FamilyOptimizer):
    """AdEMAMix with the paper's warm-ups, which make it mirror ADana's schedules.

    ``u = (m3^ + alpha(t) m1) / (sqrt(v^) + eps)``: ``m3`` a short average (``beta3``) and ``v`` (``beta2``)
    bias-corrected, ``m1`` a long one with ``beta1(t)`` warmed up to ``1 - delta/T`` and not corrected,
    ``alpha(t) = min(t/T, 1) T^(1-kappa)``.

    Args:
        {schedule}
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the short average, in (0, 1).
        {log_time}
        {decay}
        {common}

    Raises:
        ValueError: as elsewhere in the family, or ``total_steps`` is not above ``delta``.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``.

    Source: Algorithm 6 and Section J.

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
        super().__init__(params, _options(locals()))


@documented(ARGUMENTS)
class Dana(FamilyOptimizer):
    """Damped Nesterov acceleration without a second moment and without decay: SGD's relative.

    ``m' = beta m + (1-beta) g``, ``p' = p - gamma(t) lr (g + alpha(t) m')``. The damping decides:
    ``"power"`` (DANA-decaying), ``"linear"`` for ``damping_scale T^-kappa (1+t)`` (DANA-constant),
    ``"nesterov"`` for ``(delta+t)/delta`` (Algorithm 7, diverges with noisy gradients).

    Args:
        params: parameters, named parameters or parameter groups; any option may differ by group.
        lr: learning rate, a number or a one-element tensor.
        total_steps: horizon T in steps (``"linear"`` only).
        {log_time}
        {damping}
        damping: one of ``"power"``, ``"linear"``, ``"nesterov"``.
        {common}

    Raises:
        {raises}

    Source: Algorithms 7 and 8.

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
        super().__init__(params, _options(locals()))


def _options(arguments: dict[str, Any]) -> dict[str, Any]:
    """A constructor's keyword arguments, as the defaults of its groups."""
    return {name: value for name, value in arguments.items() if name not in ("self", "params", "__class__")}
