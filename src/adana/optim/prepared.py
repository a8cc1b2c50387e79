"""A fused step that was taken before, to be taken again while nothing of its group has changed but the numbers.

On a GPU the host's part of a step is Python, and most of it finds out what the step before knew already: which
parameters have a gradient, what state they have, which are spared, and by which kernels they are updated. What is kept
here are positions, options and addresses. No tensor is held, so that gradients can be freed and state be moved; the
dictionaries of the state are, until the next step or :meth:`load_state_dict`.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from adana.optim.group_checks import Group, Warn
from adana.optim.update import Batch, Taken, fused_step, numbers_of

if TYPE_CHECKING:
    from adana.optim.kernels.tables import Layout

__all__ = ["Part", "Prepared", "prepare"]

# What a group may say that decides which kernels run on which tensors. The rest are numbers, read at every step.
DECIDING = (
    "rule", "form", "state_dtype", "tau_dtype", "param_rounding", "capturable", "differentiable", "foreach", "fused",
    "kappa", "beta3", "eps_root", "weight_decay", "decay_vectors", "param_names",
)  # fmt: skip
_VERSION = operator.attrgetter("_version")


class Part(NamedTuple):
    """Parameters of a group that one layout updates.

    Attributes:
        members: their positions among the group's parameters.
        options: what is other for them than the group says.
        layout: how they are updated.
        places: what is held of those that are rounded.
    """

    members: list[int]
    options: Group
    layout: Layout
    places: list[Any]


class Prepared:
    """One group's fused step.

    Args:
        group: the group.
        state: of the whole optimizer.
        parts: of the group, by layout.
        names: of the state of its parameters.
    """

    def __init__(self, group: Group, state: Mapping[Tensor, Any], parts: Sequence[Part], names: Sequence[str]) -> None:
        self._parts, self._names = parts, names
        self._options = [group.get(name) for name in DECIDING]
        self._all = list(state.values())  # held, so that their identities remain theirs
        self._ids = list(map(id, self._all))
        own = {k for part in parts for k in part.members}
        self._has = [k in own for k in range(len(group["params"]))]
        self._states = [[state[group["params"][k]] for k in part.members] for part in parts]
        self._counts: list[list[int]] = [[] for _ in parts]
        self._versions: list[list[int]] = [[] for _ in parts]

    def take(self, group: Group, state: Mapping[Tensor, Any], warn: Warn) -> list[Tensor] | None:
        """Take the step and return the counts of updates that are to be advanced; None, and nothing done, if it is
        not this one any more."""
        batches = self._batches(group, state)
        if batches is None:
            return None
        for k, (part, batch) in enumerate(zip(self._parts, batches)):
            options = {**group, **part.options} if part.options else group
            # A count that nobody has written to since the last step is one more than then.
            known = list(map(_VERSION, batch.steps)) == self._versions[k]
            counts = self._counts[k] if known else [step.item() for step in batch.steps]
            fused_step(part.layout, batch, options, numbers_of(options, warn), counts)  # type: ignore[arg-type]
            self._counts[k] = [count + 1 for count in counts]  # type: ignore[misc]
        return [step for batch in batches for step in batch.steps]

    def counted(self) -> None:
        """Note that the counts have been advanced."""
        self._versions = [[held["step"]._version for held in states] for states in self._states]

    def _batches(self, group: Group, state: Mapping[Tensor, Any]) -> list[Batch] | None:
        params = group["params"]
        options = [group.get(name) for name in DECIDING]
        if len(params) != len(self._has) or not all(map(operator.is_, options, self._options)):
            return None
        if list(map(id, state.values())) != self._ids:
            return None
        grads = [p.grad for p in params]
        if [g is not None for g in grads] != self._has:
            return None
        batches = []
        for part, states in zip(self._parts, self._states):
            batch = Batch(())
            batch.params = [params[k] for k in part.members]
            batch.grads = [grads[k] for k in part.members]
            batch.buffers = {name: [held.get(name) for held in states] for name in self._names}
            batch.steps = [held["step"] for held in states if "step" in held]
            whole = len(batch.steps) == len(states)
            rounding = group["param_rounding"]
            if not whole or not part.layout.serves(batch.params, batch.grads, batch.buffers, part.places, rounding):
                return None
            batches.append(batch)
        return batches


def prepare(group: Group, state: Mapping[Tensor, Any], taken: Sequence[Taken]) -> Prepared | None:
    """The step that was just taken, where it may be taken again.

    Args:
        group: the group.
        state: of the whole optimizer.
        taken: what was updated.
    """
    if group["capturable"] or not taken:
        return None
    position = {id(p): k for k, p in enumerate(group["params"])}
    parts = []
    for batch, options, layout in taken:
        # A shard, or a complex parameter as a real one, is made anew at every step.
        if layout is None or not layout.lasting or any(id(p) not in position for p in batch.params):
            return None
        parts.append(Part([position[id(p)] for p in batch.params], options, layout, list(batch.places)))
    return Prepared(group, state, parts, list(taken[0].batch.buffers))
