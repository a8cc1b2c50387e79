"""Muon for hidden matrices, with any of the family for everything else, in one optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim.adamw import AdamW
from adana.optim.base import options_of
from adana.optim.matrices import MatrixOptimizer
from adana.optim.storage import ParamRounding, StateFormat
from adana.schedules import DampingName, DecayName

__all__ = ["LogMuon", "Muon"]


class Muon(MatrixOptimizer):
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


class LogMuon(MatrixOptimizer):
    """Muon in log time: damped Nesterov momentum whose memory grows, orthogonalised by Newton-Schulz.

    ``M' = beta M + (1-beta) G`` with ``beta(t) = t/(delta + t)``,
    ``M~ = G + alpha(t) M'`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``,
    ``O = NewtonSchulz(M~ / (|M~|_F + eps))``,
    ``W' = (1 - gamma lambda) W - gamma lr rms sqrt(max(A, B)) O`` for ``W`` of shape (A, B).
    The size of ``M~`` is lost in ``O``: alpha decides how the newest gradient and the past are mixed, and nothing else.
    (:class:`Muon`'s mixture is that of ``beta1=0.95`` and a constant alpha of 19, once bias correction has worn off.)

    Newton-Schulz runs in bf16 on an accelerator and in the arithmetic's own dtype (float32 or float64)
    on the CPU. Matrices always take the single-tensor loop; ``foreach`` serves the fallback's parameters.

    Args:
        params: groups tagged ``kind`` as :func:`adana.param_groups` makes them. Groups of kind ``"hidden"`` holding
            matrices take Muon, and convolutions and stacks of matrices where the group says so (``stacked``); all
            others (untagged vectors, too) the fallback.
        lr: peak learning rate, a number or a one-element tensor. May be left out where every group has its own.
        total_steps: horizon T in optimizer steps; needed by the default weight decay.
        kappa: spectral dimension, >= 0; the paper's best is 0.85 at every scale it tried.
        delta: log-time constant, > 0.
        damping_scale: alpha-tilde, > 0; 1 at 65,536 tokens per batch.
        damping: ``"power"`` for alpha(t) as above, ``"linear"`` for ``damping_scale T^-kappa t``, ``"nesterov"`` for
            ``(delta + t)/delta``. ``kappa=1`` keeps alpha at ``damping_scale``.
        gradient_term: False drops ``G`` from ``M~`` (an ablation).
        beta1: a constant momentum coefficient with bias correction instead of log time (an ablation).
        ns_steps: Newton-Schulz iterations, >= 1.
        rms: rho, the root mean square of an update of learning rate 1, > 0.
        fallback: class of the family for the other parameters, or a ``functools.partial`` of one that
            sets its own options, such as ``partial(ADana, kappa=0.75)``. It shares the horizon, the decay and
            ``eps``; ``kappa`` and all else that shapes the momentum here is not the fallback's.
        fallback_lr: its peak learning rate; default ``lr``.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
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
        ValueError: as elsewhere in the family; a 2-D parameter in an untagged group; complex parameters.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``.

    Source: Algorithm 5 and Section D.4 for the orthogonalisation; log time is the conjecture of the paper's conclusion,
    and the mixture above is ours.

    Example:
        >>> import torch
        >>> from adana import ADana, LogMuon, param_groups
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4))
        >>> optimizer = LogMuon(param_groups(model), lr=1e-2, total_steps=1000, fallback=ADana, fallback_lr=1e-3)
        >>> [group["rule"] for group in optimizer.param_groups]
        ['log-muon', 'adana', 'adana']
    """

    rule_name = "log-muon"

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
        gradient_term: bool = True,
        beta1: float | None = None,
        ns_steps: int = 5,
        rms: float = 0.2,
        fallback: Any = AdamW,
        fallback_lr: float | Tensor | None = None,
        cooldown: float | None = None,
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
