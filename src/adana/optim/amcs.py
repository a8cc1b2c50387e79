"""AMCS: two averages of the gradient whose mixture goes from the fast one to the slow one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adana.optim.base import FamilyOptimizer, options_of
from adana.optim.storage import ParamRounding, StateFormat
from adana.schedules import DecayName

__all__ = ["AMCS"]


class AMCS(FamilyOptimizer):
    """Adaptive momentum with component scaling: AdamW whose momentum goes over from a fast average to a slow one.

    ``m = a(t) m_fast^ + (1 - a(t)) m_slow^`` with ``a(t) = max(1 - t/T, 0)``, ``u = m / (sqrt(v^) + eps)``, all three
    averages bias-corrected; ``p' = p - gamma(t) (lr u + lambda(t) p)``.

    The other half is in the groups: :func:`adana.component_groups` scales the learning rates of attention by 1.2 and of
    embeddings by 0.8. The source warms up over the first tenth of a run.

    Args:
        params: parameters, named parameters or parameter groups; any option below may differ by group.
        lr: peak learning rate, a number or a one-element tensor. Schedulers scale it from there. May be left out
            where every group has its own.
        total_steps: horizon T in optimizer steps (not micro-batches): over it the fast average gives way to the slow.
        beta1: coefficient of the slow average, in [0, 1).
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the fast average, in [0, 1).
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
        ValueError: as elsewhere in the family.
        RuntimeError: ``differentiable`` with ``foreach`` or ``fused``.

    Source: "Adaptive Momentum with Component Scaling" (Aardvark, 2025), which gives m, the two coefficients, the linear
    passage and the scales; ``v``, bias correction and decay are AdamW's here, as it compares itself to.

    Example:
        >>> import torch
        >>> from adana import AMCS
        >>> from adana import component_groups
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4))
        >>> optimizer = AMCS(component_groups(model), lr=1e-3, total_steps=1000)
        >>> [(group["component"], round(group["lr"], 6)) for group in optimizer.param_groups]
        [('feed_forward', 0.001), ('embedding', 0.0008), ('feed_forward', 0.001)]
    """

    rule_name = "amcs"

    def __init__(
        self,
        params: Any,
        lr: float | Tensor | None = None,
        *,
        total_steps: float,
        beta1: float = 0.95,
        beta2: float = 0.999,
        beta3: float = 0.9,
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
