"""The elementwise rules in one pass over memory: what ``fused`` does.

1. :mod:`~adana.optim.kernels.trace` calls a function of :mod:`adana.rules` with symbols: the rule as a graph.
2. On the CPU, :mod:`~adana.optim.kernels.llvm` turns the graph into machine code when it is first needed
   and :mod:`~adana.optim.kernels.cpu` runs it over all parameters of a group, on torch's number of threads.
3. On a GPU the graph is a Triton kernel, printed beforehand by :mod:`~adana.optim.kernels.generate` into
   ``generated.py``, and :mod:`~adana.optim.kernels.gpu` launches it over all parameters of a group at once.

What is stored narrow is rounded in the same pass. A bucket of :mod:`~adana.optim.kernels.tables` says for every array
how it is stored; :mod:`~adana.optim.kernels.formats` is :mod:`adana.optim.formats` on vectors, and
:mod:`~adana.optim.kernels.triton_formats` is it in Triton:

* bfloat16 and float16 parameters, bfloat16 averages and compensations stay one loop over elements. Their random bits
  are computed from the element's number and four words a tensor, so no thread, shard or layout changes them.
* ``"int16"`` codes need a block's maximum before they can be written, so a block of 256 elements is taken whole: decode
  and take the step; encode magnitudes, and divide the signed averages by the root of what was stored; encode these.
  On the CPU these are three passes in the nearest cache, on a GPU all of it stays in registers. Threads and programs
  part between blocks.

Nothing of this, nor LLVM nor Triton, is imported before a step is fused.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from adana import rules
from adana.optim.places import Place

if TYPE_CHECKING:
    from adana.optim.kernels.tables import Layout

__all__ = ["fused_update", "has_layout", "lay_out", "missing", "unfit"]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int16)


@functools.cache
def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@functools.cache
def _triton_lacks() -> str | None:
    if not _installed("triton"):
        return "triton is not installed: pip install triton"
    try:
        found = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:  # nightly builds go by other names
        return None
    if tuple(map(int, found.split(".")[:2])) < (3, 4):
        return f"triton {found} cannot compile the kernels: they need 3.4, which comes with torch 2.8"
    return None


def missing(device: torch.device) -> str | None:
    """What fused kernels lack on such a device and how to get it; None where they can run."""
    if device.type == "cpu":
        return None if _installed("llvmlite") else "llvmlite is not installed: pip install 'adana[fused]'"
    if device.type == "cuda":
        return _triton_lacks()
    return f"there is no fused kernel for {device.type} devices: leave fused=None"


def unfit(tensors: Iterable[Tensor], places: Iterable[Place | None]) -> str | None:
    """Why fused kernels cannot update these tensors of one group, rounded where ``places`` are given; None where
    they can."""
    devices, dtypes = set(), set()
    for x in tensors:
        if type(x) not in (Tensor, torch.nn.Parameter) or x.layout is not torch.strided:
            return f"a {type(x).__name__} of layout {x.layout} is not plain memory"
        if x.dtype not in _DTYPES:
            return f"there is no fused kernel for {x.dtype}"
        devices.add(x.device)
        dtypes.add(x.dtype)
    for device in devices:
        lack = missing(device)
        if lack:
            return lack
    if any(place is not None and place.strides is not None for place in places):
        return "a parameter that is rounded and sharded along another dimension than 0 has no fused kernel"
    if torch.device("cpu") in devices and torch.float16 in dtypes:
        from adana.optim.kernels import llvm

        if not llvm.converts_float16():
            return "this processor does not convert float16"
    return None


def lay_out(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    buffers: Mapping[str, list[Any]],
    places: Sequence[Place | None],
    param_rounding: str,
) -> Layout | str:
    """How the tensors of a group are updated by fused kernels, or why they cannot be; every list by parameter.

    What was found is good for every step that finds the tensors where they lay.

    Args:
        params: parameters.
        grads: their gradients.
        steps: their finished updates.
        buffers: their state by name; None where a parameter has no such tensor.
        places: what is held of parameters that are rounded; None for those that are plainly stored.
        param_rounding: how float16 and bfloat16 parameters are rounded that have a place.
    """
    from adana.optim.kernels.tables import Layout

    known: Layout | None = _layouts.get(steps[0])
    if known is not None and known.serves(params, grads, buffers, places, param_rounding):
        return known
    tensors = (x for x in itertools.chain(params, grads, *buffers.values()) if x is not None)
    reason = unfit(tensors, places)
    if reason:
        return reason
    layout = Layout(params, grads, buffers, places, param_rounding)
    if layout.lasting:
        _layouts[steps[0]] = layout
    return layout


# By the step of a group's first parameter, which lives as long as the optimizer's state.
_layouts: Any = WeakIdKeyDictionary()


def has_layout(steps: list[Tensor]) -> bool:
    """Whether a step of this group has been laid out before."""
    return steps[0] in _layouts


def fused_update(
    layout: Layout,
    steps: list[Tensor],
    rule: rules.Rule,
    scalars: Callable[[Any, Any], Mapping[str, Any]],
    *,
    lr: Any,
    form: str,
    maximize: bool,
    capturable: bool,
    seed: int,
    counts: Sequence[int] | None = None,
) -> None:
    """Update all parameters of a layout by fused kernels.

    Args:
        layout: what :func:`lay_out` found for this step.
        steps: finished updates of its parameters.
        rule: the rule.
        scalars: ``scalars(step, lr)`` gives the numbers of a step.
        lr: the learning rate, a number or a tensor.
        form: the rule's form.
        maximize: whether to ascend.
        capturable: leave steps on a device.
        seed: ``rounding_seed`` of the group.
        counts: the values of ``steps``, where they are known without reading them.
    """
    for bucket in layout.buckets:
        on_device = capturable and bucket.device.type != "cpu"
        rate = lr if on_device else float(lr)

        more = {"ascent": -1.0 if maximize else 1.0, "largest": bucket.largest_gradient}

        def numbers(step: Any, rate: Any = rate, more: dict[str, float] = more) -> dict[str, Any]:
            return {**scalars(step, rate), **more}

        own = [steps[k] for k in bucket.members]
        read = None if counts is None else [counts[k] for k in bucket.members]
        if bucket.device.type == "cpu":
            from adana.optim.kernels import cpu

            cpu.update(bucket, own, rule, numbers, form, seed=seed, counts=read)
        else:
            from adana.optim.kernels import gpu

            gpu.update(bucket, own, rule, numbers, form, capturable=on_device, seed=seed, counts=read)
    layout.put_back()
