"""One rule applied to the parameters of one group: by fused kernels, by foreach or by the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import _default_to_fused_or_foreach

from adana import rules, schedules
from adana.optim import storage
from adana.optim.foreach import foreach_update, has_foreach
from adana.optim.group_checks import Group, Warn, as_float, check_clock, peak_lr
from adana.optim.kernels import fused_update, has_layout, lay_out
from adana.optim.places import Place, real_place, shard, sharded
from adana.optim.randomness import Randomness
from adana.optim.shared_matrices import Shares, on_owners, shares_of
from adana.optim.state import rule_of
from adana.schedules import Decay

if TYPE_CHECKING:
    from adana.optim.kernels.tables import Layout

__all__ = ["Batch", "Taken", "capturing", "fused_step", "numbers_of", "update"]


class Batch:
    """The parameters of a group that have a gradient, with all that a step reads and writes; lists by parameter.

    Attributes:
        params: the parameters.
        grads: their gradients.
        steps: their finished updates.
        places: what is held of parameters that are rounded; None for those that are plainly stored.
        spared: whether they do not decay, whatever their group says.
        buffers: their state by name; None where a parameter has none of that name (vectors have no scales).
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.params: list[Tensor] = []
        self.grads: list[Tensor] = []
        self.steps: list[Tensor] = []
        self.places: list[Place | None] = []
        self.spared: list[bool] = []
        self.buffers: dict[str, list[Any]] = {name: [] for name in names}

    def change(self, f: Callable[[Any], Any]) -> None:
        """Put ``f`` of them in place of parameters and buffers."""
        self.params = [f(p) for p in self.params]
        self.buffers = {name: [f(x) for x in buffer] for name, buffer in self.buffers.items()}

    def keep_local(self) -> None:
        """Only what this rank holds, as plain tensors: all that an elementwise rule needs."""
        self.grads = [shard(g, p) for g, p in zip(self.grads, self.params)]
        self.change(lambda x: shard(x, x))

    def view_as_real(self) -> None:
        """Complex tensors as real ones."""
        self.places = [at and real_place(at, p) for at, p in zip(self.places, self.params)]
        self.grads = [_real(g) for g in self.grads]
        self.change(_real)

    def parts(self) -> tuple[Batch, Batch]:
        """The parameters that are not spared, and those that are."""
        found = Batch(self.buffers), Batch(self.buffers)
        for i, spared in enumerate(self.spared):
            part = found[spared]
            for own, other in zip(part._lists(), self._lists(), strict=True):
                own.append(other[i])
        return found

    def _lists(self) -> tuple[list[Any], ...]:
        return self.params, self.grads, self.steps, self.places, self.spared, *self.buffers.values()

    def cells(self, group: Group, rule: rules.Rule, *, on_device: bool) -> list[storage.Stored]:
        """Every parameter with its state, to be read and written by a rule."""
        averages = rule.state(group)
        rounding = "nearest" if group["differentiable"] else group["param_rounding"]
        cells = []
        for i, (p, step, place) in enumerate(zip(self.params, self.steps, self.places)):
            held = {name: buffer[i] for name, buffer in self.buffers.items() if buffer[i] is not None}
            random = None
            if place is not None and storage.rounds(p, group, rounding):
                random = Randomness(group["rounding_seed"], step if on_device else step.item(), place)
            own = {name: held.pop(name) for name in averages}
            cells.append(storage.Stored(p, own, held, random, rounding))
        return cells


def _real(x: Any) -> Any:
    return torch.view_as_real(x) if x is not None and x.is_complex() else x


class _Numbers:
    """The numbers of a group's rule: computed once for all parameters that are at the same step.

    Args:
        group: the group.
        rule: its rule.
        warn: called with a kind and a message, once for each kind.
        on_device: the step's value cannot be read, so the numbers stay 0-d tensors.
    """

    def __init__(self, group: Group, rule: rules.Rule, warn: Warn, *, on_device: bool) -> None:
        self._group, self._rule, self._warn, self._on_device = group, rule, warn, on_device
        self.lr = group["lr"] if on_device else as_float(group["lr"])
        self.form = group.get("form", "paper")
        self._decay = Decay.of(group) if group.get("weight_decay", 0) != 0 else None
        self._peak = peak_lr(group) if self._decay is not None else 1.0
        self._known: dict[Any, dict[str, Any]] = {}

    def at(self, t: Any, lr: Any) -> dict[str, Any]:
        """The rule's numbers at step ``t``, with the learning rate and gamma(t) lambda(t)."""
        if isinstance(t, int):
            t = float(t)
            check_clock(self._group, t, self._warn)
        s = dict(self._rule.scalars(t, self._group))
        s["lr"] = lr
        s["decay"] = 0.0
        if self._decay is not None:
            gamma = lr / self._peak
            if not self._group["differentiable"]:  # lr at its peak must have a derivative
                gamma = schedules.at_most(gamma, 1.0)
            s["decay"] = gamma * self._decay.at(rules.decay_clock(t, self.form))
        return s

    def of(self, step: Tensor, dtype: torch.dtype) -> dict[str, Any]:
        """For arithmetic in ``dtype``; from float64, where the device has it."""
        if self._on_device:
            t = step.to(torch.float32 if step.device.type == "mps" else torch.float64)
            s = self.at(t, self.lr)
            return {name: x.to(dtype) if isinstance(x, Tensor) else x for name, x in s.items()}
        count = step.item()
        if count not in self._known:
            self._known[count] = self.at(count, self.lr)
        return self._known[count]


class Taken(NamedTuple):
    """Parameters that were updated together, what was other for them than their group says, and by which kernels."""

    batch: Batch
    options: Group
    layout: Layout | None


def update(batch: Batch, group: Group, warn: Warn) -> list[Taken]:
    """Take the step: write the parameters and averages of a batch, which is spent."""
    if not any(batch.spared):
        return [Taken(batch, {}, _update(batch, group, warn))]
    return [
        Taken(part, options, _update(part, {**group, **options}, warn))
        for part, options in zip(batch.parts(), ({}, {"weight_decay": 0.0}))
        if part.params
    ]


def _update(batch: Batch, group: Group, warn: Warn) -> Layout | None:
    rule = rule_of(group)
    if not rule.elementwise:
        _check_matrices(batch, group)
    # Every matrix of a stack is a rank's own, as every element is to an elementwise rule.
    apart = rule.elementwise or group.get("stacked")
    shares = None if apart or group["differentiable"] or torch.compiler.is_compiling() else shares_of(batch.params)
    if (apart or shares) and not group["differentiable"] and any(map(sharded, batch.params)):
        batch.keep_local()
    if any(p.is_complex() for p in batch.params):
        batch.view_as_real()
    # Inside a trace, a capture or a graph the step's value cannot be read: the schedules stay tensors.
    on_device = torch.compiler.is_compiling() or group["capturable"] or group["differentiable"]
    numbers = _Numbers(group, rule, warn, on_device=on_device)
    layout = _fused_layout(batch, rule, group)
    if layout is not None:
        fused_step(layout, batch, group, numbers)
        return layout
    cells, grads, steps = batch.cells(group, rule, on_device=on_device), batch.grads, batch.steps
    if rule.elementwise and not torch.compiler.is_compiling():
        cells, grads, steps = storage.split(cells, grads, steps)
    if shares is not None:
        _on_owners(shares, cells, grads, steps, numbers, group)
    elif has_foreach(rule) and _wants_foreach(batch, group):
        foreach_update(
            cells,
            grads,
            steps,
            rule,
            numbers.of,
            form=numbers.form,
            maximize=group["maximize"],
            on_device=on_device,
        )
    else:
        _loop(cells, grads, steps, rule, numbers, group)
    return None


def fused_step(
    layout: Layout, batch: Batch, group: Group, numbers: _Numbers, counts: Sequence[int] | None = None
) -> None:
    """Update a batch by fused kernels; ``counts`` are the values of its steps, where they are known."""
    fused_update(
        layout,
        batch.steps,
        rule_of(group),
        numbers.at,
        lr=numbers.lr,
        form=numbers.form,
        maximize=group["maximize"],
        capturable=group["capturable"],
        seed=group["rounding_seed"],
        counts=counts,
    )
    torch.autograd.graph.increment_version(batch.params)


def numbers_of(group: Group, warn: Warn) -> _Numbers:
    """The numbers of a group's rule, where the values of steps can be read."""
    return _Numbers(group, rule_of(group), warn, on_device=False)


def _loop(
    cells: list[storage.Stored],
    grads: list[Tensor],
    steps: list[Tensor],
    rule: rules.Rule,
    numbers: _Numbers,
    group: Group,
) -> None:
    for cell, grad, step in zip(cells, grads, steps):
        dtype = cell.compute_dtype()
        s = numbers.of(step, dtype)
        direction = rule.direction
        if not rule.elementwise:
            s = {**s, "orthogonalize": _orthogonalize}
            direction = _per_matrix(direction, bool(group.get("stacked")))
        g = rules.bounded(torch, grad.to(dtype), cell.largest_gradient())
        p, state = cell.read(dtype)
        u, new = direction(torch, -g if group["maximize"] else g, state, s)
        old = p.clone() if group["differentiable"] else p  # backward needs it as it was
        cell.write(rules.descend(old, u, lr=s["lr"], decay=s["decay"], form=numbers.form), new)


def _on_owners(
    shares: Shares,
    cells: list[storage.Stored],
    grads: list[Tensor],
    steps: list[Tensor],
    numbers: _Numbers,
    group: Group,
) -> None:
    """:func:`_loop` of matrices of which this rank holds some rows of each."""
    read, mixed = [], []
    for cell, grad, step in zip(cells, grads, steps):
        dtype = cell.compute_dtype()
        s = {**numbers.of(step, dtype), "orthogonalize": _orthogonalize}
        g = rules.bounded(torch, grad.to(dtype), cell.largest_gradient())
        p, state = cell.read(dtype)
        mixture, new = rules.muon_mixture(-g if group["maximize"] else g, state, s)
        read.append((cell, p, new, s))
        mixed.append(mixture.flatten(1))
    updates: list[Any] = [None] * len(cells)
    for dtype in {x.dtype: None for x in mixed}:  # an exchange is of one dtype
        members = [k for k, x in enumerate(mixed) if x.dtype == dtype]

        def work(k: int, matrix: Tensor, members: list[int] = members) -> Tensor:
            u: Tensor = rules.muon_update(torch, matrix, read[members[k]][3])
            return u

        for k, u in zip(members, on_owners(shares.of(members), [mixed[k] for k in members], work)):
            updates[k] = u
    for (cell, p, new, s), u in zip(read, updates):
        cell.write(rules.descend(p, u.view_as(p), lr=s["lr"], decay=s["decay"], form=numbers.form), new)


def _check_matrices(batch: Batch, group: Group) -> None:
    """Refuse what is no matrix any more, or of which this rank holds but a part of each."""
    for p in batch.params:
        if p.ndim < 2:
            raise RuntimeError(
                f"Muon takes matrices, and a parameter of its groups now has shape {tuple(p.shape)}: DeepSpeed's ZeRO "
                "and FSDP1 flatten weights. Shard with torch's fully_shard, or use an elementwise optimizer"
            )
        cut = [x for x in getattr(p, "placements", ()) if getattr(x, "dim", 0) != 0]
        if group.get("stacked") and cut:
            raise RuntimeError(
                f"Muon takes a stack of matrices whole or sharded along dimension 0, got {tuple(p.shape)} sharded as "
                f"{tuple(getattr(p, 'placements', ()))}"
            )


def _per_matrix(direction: Callable[..., Any], stacked: bool) -> Callable[..., Any]:
    """A rule of matrices for tensors of more dimensions: a stack of matrices, or the first dimension by all others."""

    def of(xp: Any, g: Tensor, state: dict[str, Tensor], s: Any) -> tuple[Tensor, dict[str, Tensor]]:
        if g.ndim == 2:
            return direction(xp, g, state, s)  # type: ignore[no-any-return]
        if stacked:
            return torch.vmap(lambda g, state: direction(xp, g, state, s))(g, state)  # type: ignore[no-any-return]
        u, new = direction(xp, g.flatten(1), {name: x.flatten(1) for name, x in state.items()}, s)
        return u.view_as(g), {name: x.view_as(g) for name, x in new.items()}

    return of


def _orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Newton-Schulz in bf16 on an accelerator, where it is many times faster, else as it comes."""
    work = matrix if matrix.device.type == "cpu" else matrix.bfloat16()
    result: Tensor = rules.newton_schulz(work, steps)
    return result.to(matrix.dtype)


def _wants_foreach(batch: Batch, group: Group) -> bool:
    if group["foreach"] is not None:
        return bool(group["foreach"])
    _, foreach = _default_to_fused_or_foreach(batch.params, group["differentiable"])
    return bool(foreach)


def _fused_layout(batch: Batch, rule: rules.Rule, group: Group) -> Layout | None:
    """What fused kernels update, where this step is fused: where asked for, and by default wherever it can be.

    A compiled step never is: the compiler fuses the rule itself.
    """
    asked = group["fused"]
    if torch.compiler.is_compiling() or group["differentiable"] or not rule.elementwise or asked is False:
        return None
    # A captured launch needs tables that a step before it has made: who asked for it is told so, who did not goes on.
    if asked is None and (group["foreach"] is not None or (capturing() and not has_layout(batch.steps))):
        return None
    if as_float(group.get("kappa", 0.0)) > 50:
        layout: Any = f"kappa={group['kappa']!r} is beyond the range of the kernels' power"
    elif group.get("eps_root") is not None and any(p.is_cuda for p in batch.params):
        layout = "eps_root is an ablation without a kernel for a GPU"
    else:
        layout = lay_out(batch.params, batch.grads, batch.steps, batch.buffers, batch.places, group["param_rounding"])
    if not isinstance(layout, str):
        return layout  # type: ignore[no-any-return]
    if asked:
        raise RuntimeError(f"fused=True cannot be had: {layout}")
    return None


def capturing() -> bool:
    """Whether this step is being captured into a CUDA graph: nothing may be read from the device then."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
