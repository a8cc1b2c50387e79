"""The optimizers in Hugging Face's ``Trainer`` and in TRL's trainers, which are made of it.

    import adana.hf
    trainer = Trainer(model=model, args=args, train_dataset=data, **adana.hf.arguments("adana", lr=3e-4))

That is ``optimizer_cls_and_kwargs`` and ``callbacks``. Where there are other callbacks, write both out::

    trainer = Trainer(
        ..., optimizer_cls_and_kwargs=adana.hf.factory("adana", lr=3e-4), callbacks=[adana.hf.HorizonCallback(), other]
    )

The factory makes the groups of :func:`adana.param_groups`, whose weight decay is ``weight_decay`` here and not
``args.weight_decay``: that one is 0 unless set, and AdamW's coupled value where it is set. The callback tells the
optimizer the run's length, which the Trainer knows only when training begins. transformers 5 is needed for the
factory; the callback also serves an optimizer that was made in another way.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from adana import catalog
from adana.optim.base import FamilyOptimizer
from adana.optim.pretrained import looks_trained
from adana.train.optimizers import build_optimizer

try:
    from transformers import TrainerCallback
except ImportError:  # so that the page of this module can be read without it
    TrainerCallback = object

__all__ = ["HorizonCallback", "arguments", "factory"]

NO_DECAY = (
    "no weight decay, as {}: decay would erase what it has learned. Pass pretrained=False or a weight_decay (omega) to "
    "adana.hf for decay."
)
MISSING = (
    "the optimizer does not know the run's length yet: pass callbacks=[adana.hf.HorizonCallback()] to the Trainer, "
    "or total_steps to adana.hf.factory"
)


def arguments(optimizer: str = "adana", *, lr: float, **options: Any) -> dict[str, Any]:
    """Keyword arguments for ``Trainer``: the factory of an optimizer, and the callback that tells it the run's length.

    Args:
        optimizer, lr, options: as :func:`factory`.

    Returns:
        ``optimizer_cls_and_kwargs`` and ``callbacks``.

    Raises:
        ValueError, TypeError: as :func:`factory`.

    >>> sorted(arguments("adana", lr=3e-4))
    ['callbacks', 'optimizer_cls_and_kwargs']
    """
    return {
        "optimizer_cls_and_kwargs": factory(optimizer, lr=lr, **options),
        "callbacks": [HorizonCallback()],
    }


def factory(
    optimizer: str = "adana",
    *,
    lr: float,
    weight_decay: float | None = None,
    pretrained: bool | None = None,
    total_steps: float | None = None,
    **options: Any,
) -> tuple[Any, dict[str, Any]]:
    """What ``Trainer(optimizer_cls_and_kwargs=...)`` takes.

    Args:
        optimizer: name as in ``adana race``.
        lr: peak learning rate; ``args.learning_rate`` is not used. The Trainer's scheduler scales it.
        weight_decay: omega of hidden matrices and the head. Default: none for a pretrained model, else the
            optimizer's own default.
        pretrained: whether the weights come from an earlier training, which decay would erase. Default: whether the
            model was made by ``from_pretrained``, or has trained gains of norms when :class:`HorizonCallback` is told
            that a new run begins.
        total_steps: horizon T in optimizer steps; :class:`HorizonCallback` sets it when training begins. AdEMAMix and
            AMCS cannot be made without.
        options: further keywords of the optimizer's class.

    Returns:
        A callable that makes the optimizer of a model, and the arguments that the Trainer passes on to it.

    Raises:
        ValueError: no such optimizer, or a value that it refuses.
        TypeError: an option that it does not have.

    >>> make, kwargs = factory("adana", lr=3e-4, weight_decay=1.0)
    >>> optimizer = make()(nn.Linear(4, 4), **kwargs)
    >>> [(group["kind"], group["weight_decay"]) for group in optimizer.param_groups]
    [('hidden', 1.0), ('other', 0.0)]
    """
    if weight_decay is not None and pretrained:
        raise ValueError(
            f"pretrained=True is for no weight decay: leave out weight_decay={weight_decay!r}, or pretrained"
        )
    own = {**options, "weight_decay": weight_decay, "pretrained": pretrained, "total_steps": total_steps}
    make = _Factory(optimizer)
    with warnings.catch_warnings():  # the optimizer itself will warn
        warnings.simplefilter("ignore")
        make()(nn.Linear(2, 2), lr=lr, **own)  # what it refuses is refused here, not after the model has been loaded
    return make, {"lr": lr, **own}


# Optimizers whose weight decay nobody has asked for: the callback turns it off where weights turn out to be trained.
_undecided: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()


class _Factory:
    """What transformers calls twice: once for the factory, then with the model."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"adana.hf.factory({self.name!r})"

    def __call__(self, *groups: Any, **options: Any) -> Any:
        if groups or options:
            raise RuntimeError(
                "this transformers gives optimizers groups of its own in place of the model: adana.hf.factory needs "
                "transformers 5; with an older one pass optimizers=(optimizer, None) to the Trainer"
            )
        return self._make

    def _make(
        self,
        model: nn.Module,
        *,
        lr: float,
        weight_decay: float | None,
        pretrained: bool | None,
        total_steps: float | None,
        **options: Any,
    ) -> torch.optim.Optimizer:
        undecided = weight_decay is None and pretrained is None
        if weight_decay is None and catalog.find(self.name).decay:
            where = _trained_before(model)
            if pretrained or (pretrained is None and where):
                weight_decay = 0.0
                if pretrained is None:
                    warnings.warn(NO_DECAY.format(f"the model was loaded from {where}"), stacklevel=2)
            else:
                weight_decay = catalog.find(self.name).options["weight_decay"].default
        if weight_decay is not None:
            options["weight_decay"] = weight_decay
        optimizer = build_optimizer(self.name, model, lr=lr, options=options, total_steps=total_steps)
        if undecided and weight_decay:
            _undecided.add(optimizer)
        if total_steps is None and catalog.find(self.name).decay and weight_decay:
            optimizer.register_step_pre_hook(_check_horizon)
        return optimizer


def _trained_before(model: nn.Module) -> str:
    """Where a model's weights were loaded from; empty where they are new."""
    return str(getattr(getattr(model, "config", None), "name_or_path", "") or "")


def _check_horizon(optimizer: torch.optim.Optimizer, *step: Any) -> None:
    if any(group["total_steps"] is None for group in optimizer.param_groups):
        raise RuntimeError(MISSING)


class HorizonCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Tells the optimizer the run's length in optimizer steps when the Trainer has computed it.

    Where nobody has said whether the weights are trained, and the gains of norms show that they are, it turns weight
    decay off, with a warning.

    The length is ``args.max_steps``, or what ``args.num_train_epochs`` come to. A run that goes on from a checkpoint
    with more steps than before gets the new length.

    >>> import types
    >>> from adana import ADana
    >>> optimizer = ADana([torch.nn.Parameter(torch.ones(3))], lr=0.1, total_steps=100)
    >>> HorizonCallback().on_train_begin(None, types.SimpleNamespace(max_steps=200), None, optimizer=optimizer)
    >>> optimizer.param_groups[0]["total_steps"]
    200
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = _family(kwargs.get("optimizer"))
        if optimizer is None:
            return
        optimizer.set_horizon(state.max_steps)
        # Not when the optimizer is made: a run that goes on has its weights by then, and keeps its decay.
        begins = not getattr(state, "global_step", 0)
        if optimizer in _undecided and begins and looks_trained(p for g in optimizer.param_groups for p in g["params"]):
            for group in optimizer.param_groups:
                group["weight_decay"] = 0.0
            warnings.warn(NO_DECAY.format("the gains of the model's norms are trained"), stacklevel=2)


def _family(optimizer: Any) -> FamilyOptimizer | None:
    """One of ours, within the wrapper of accelerate."""
    while optimizer is not None and not isinstance(optimizer, FamilyOptimizer):
        inner: Mapping[str, Any] = getattr(optimizer, "__dict__", {})
        optimizer = inner.get("optimizer")
    return optimizer
