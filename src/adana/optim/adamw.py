"""AdamW and NAdamW, with constant coefficients and in log time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim.base import FamilyOptimizer, options_of
from adana.optim.storage import ParamRounding, StateFormat
from adana.schedules import DecayName

__all__ = ["AdamW", "LogAdamW", "LogNAdamW"]


class AdamW(FamilyOptimizer):
    """AdamW as the paper runs it: bias correction, independent decay, constant or in log time.

    ``u = m^ / (sqrt(v^) + eps)``, or ``(m^ + g) / (sqrt(v^) + eps)`` with ``nesterov`` (NAdamW), the hats
    being bias-corrected averages; ``p' = p - gamma(t) (lr u + lambda(t) p)``.

    Args:
        params: parameters, named parameters or parameter groups; any option below may differ by group.
        lr: peak learning rate, a number or a one-element tensor. Schedulers scale it from there. May be left out
            where every group has its own.
        total_steps: horizon T in optimizer steps (not micro-batches). Needed by the default weight decay;
            ``set_horizon`` changes it in mid-run, and the decay from that step on.
        betas: coefficients of the two averages, in [0, 1).
        nesterov: add the gradient to the bias-corrected momentum (NAdamW, Section 3).
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
        ValueError: a value is out of range, or weight decay is on without what its schedule needs.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``, both of these, or ``fused=True`` where it
            is not available.

    Source: Algorithm 2 and Section 3.1.

    Chosen where the paper prints two things: Algorithm 2 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as Section 3
    and ``torch.optim.AdamW``. Of beta2 the paper has three values, .99, .999 and .95; the default is torch's.
    ``docs/choices.md`` lists every such place.

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


class LogAdamW(FamilyOptimizer):
    """AdamW with log-time averages and nothing else: ``u = m' / (sqrt(v') + eps)``.

    Shows that log-time momentum alone does not help (Figure 3); use :class:`ADana` to train.

    Args:
        params: parameters, named parameters or parameter groups; any option below may differ by group.
        lr: peak learning rate, a number or a one-element tensor. Schedulers scale it from there. May be left out
            where every group has its own.
        total_steps: horizon T in optimizer steps (not micro-batches). Needed by the default weight decay;
            ``set_horizon`` changes it in mid-run, and the decay from that step on.
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
        ValueError: a value is out of range, or weight decay is on without what its schedule needs.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``, both of these, or ``fused=True`` where it
            is not available.

    Source: Algorithm 3.

    Chosen where the paper prints two things: Algorithm 3 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as in every
    rule of the family. ``docs/choices.md`` lists every such place.

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


class LogNAdamW(FamilyOptimizer):
    """Undamped Nesterov momentum in log time: ``u = (g + (delta+t)/delta m') / (sqrt(v') + eps)``.

    Shows the instability that damping cures (Figure 3); use :class:`ADana` to train.

    Args:
        params: parameters, named parameters or parameter groups; any option below may differ by group.
        lr: peak learning rate, a number or a one-element tensor. Schedulers scale it from there. May be left out
            where every group has its own.
        total_steps: horizon T in optimizer steps (not micro-batches). Needed by the default weight decay;
            ``set_horizon`` changes it in mid-run, and the decay from that step on.
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
        ValueError: a value is out of range, or weight decay is on without what its schedule needs.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``, both of these, or ``fused=True`` where it
            is not available.

    Source: Algorithm 4.

    Chosen where the paper prints two things: Algorithm 4 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as in every
    rule of the family. ``docs/choices.md`` lists every such place.

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
