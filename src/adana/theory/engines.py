"""How :mod:`adana.theory.simulate` steps a stack of configurations: in NumPy, in place, or on a torch device.

1. Configurations of one family (same direction function, form and buffers) stand side by side in the stack.
2. Scalars that all of them share stay numbers; those that differ become columns; those that change from step to step
   become tables, computed for many steps at a time.
3. Each step takes the gradients of the whole stack on one sample, then steps family by family.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adana import rules
from adana.theory.checks import Floats
from adana.theory.replay import Replay

__all__ = ["Engine", "InPlace", "OnTorch", "Samples", "Stepped", "family", "flushing_denormals"]


class Samples(NamedTuple):
    """Samples of some steps: ``features`` (steps, runs, B, d), ``targets`` (steps, runs, B), and which expert
    each goes to, (steps, runs, B), where there are experts."""

    features: Any
    targets: Any
    experts: NDArray[np.int64] | None


class Stepped(Protocol):
    """One configuration, as far as stepping it needs: :class:`adana.theory.simulate.Configuration`."""

    @property
    def form(self) -> str: ...
    @property
    def rule(self) -> rules.Rule: ...
    def options(self, total_steps: int) -> dict[str, Any]: ...
    def scalars(self, step: Any, total_steps: int) -> dict[str, Any]: ...


@contextlib.contextmanager
def flushing_denormals() -> Iterator[None]:
    """Round numbers below 1e-38 to zero in this thread.

    Averages of experts that are not routed to sink below that, stay there, and make every product several times
    slower. Torch holds the processor's switch for NumPy too.
    """
    import torch

    before = np.float32(1e-39) * np.float32(0.5) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(bool(before))


def family(one: Stepped) -> tuple[str, str, str]:
    """Configurations with the same key run together: same direction function, same buffers."""
    state = one.rule.state(one.options(1))
    return one.rule.direction.__name__, f"{one.form} {' '.join(state)}", str("clip_snr" in one.options(1))


class Engine(Protocol):
    """Steps all configurations at once."""

    def __init__(self, ordered: Sequence[Stepped], stack: Floats, total_steps: int, device: str | None): ...
    def prepare(self, steps: Floats, samples: Samples) -> None: ...
    def step(self, i: int) -> None: ...
    def parameters(self) -> Floats: ...
    def norm_squared(self) -> float: ...
    def norms_squared(self) -> Floats: ...


def _groups(ordered: Sequence[Stepped]) -> list[slice]:
    keys = [family(one) for one in ordered]
    starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(keys)])]


def _fixed(group: Sequence[Stepped], total_steps: int, rank: int) -> dict[str, float | Floats | None]:
    """Every scalar of the group: its number where all share it, a column where each has its own, None if it changes."""
    found = [one.scalars(np.ones(1), total_steps) for one in group]
    fixed: dict[str, float | Floats | None] = {}
    for name in found[0]:
        values = [scalars[name] for scalars in found]
        if any(isinstance(x, np.ndarray) for x in values):
            fixed[name] = None
        elif all(x == values[0] for x in values):
            fixed[name] = values[0]
        else:
            fixed[name] = np.array(values, dtype=np.float64).reshape(-1, *[1] * rank)
    return fixed


def _tables(
    group: Sequence[Stepped], names: Sequence[str], steps: Floats, total_steps: int, rank: int
) -> dict[str, Floats]:
    """The scalars that change, in float64: (steps,) where all share them, else (steps, configurations, 1, ...)."""
    found = [one.scalars(steps, total_steps) for one in group]
    tables = {}
    for name in names:
        columns = [np.broadcast_to(scalars[name], steps.shape) for scalars in found]
        if all(np.array_equal(columns[0], column) for column in columns[1:]):
            tables[name] = columns[0]
        else:
            tables[name] = np.stack(columns, axis=1).reshape(len(steps), len(group), *[1] * rank)
    return tables


class InPlace:
    """NumPy: every rule replayed in place (:mod:`adana.theory.replay`)."""

    def __init__(self, ordered: Sequence[Stepped], stack: Floats, total_steps: int, device: str | None) -> None:
        self._stack, self._total_steps = stack, total_steps
        self._gradient = np.zeros_like(stack)
        self._touched: NDArray[np.int64] | None = None
        self._groups: list[tuple[Sequence[Stepped], list[str], Replay]] = []
        for part in _groups(ordered):
            group = ordered[part]
            parameters = stack[:, part]
            fixed = _fixed(group, total_steps, stack.ndim - 2)
            names = group[0].rule.state(group[0].options(total_steps))
            state = {name: np.zeros_like(parameters) for name in names}
            replay = Replay(group[0].rule, fixed, group[0].form, parameters, self._gradient[:, part], state)
            self._groups.append((group, [name for name, x in fixed.items() if x is None], replay))

    def prepare(self, steps: Floats, samples: Samples) -> None:
        self._samples = samples
        rank = self._stack.ndim - 2
        for group, names, replay in self._groups:
            replay.prepare(_tables(group, names, steps, self._total_steps, rank))

    def step(self, i: int) -> None:
        features, targets, experts = self._samples
        if experts is None:
            _dense_gradient(self._stack, features[i], targets[i], self._gradient)
        else:
            self._touched = _routed_gradient(
                self._stack, features[i], targets[i], experts[i], self._gradient, self._touched
            )
        for _, _, replay in self._groups:
            replay.step(i)

    def parameters(self) -> Floats:
        return self._stack.astype(np.float64)

    def norm_squared(self) -> float:
        return float(np.vdot(self._stack, self._stack))

    def norms_squared(self) -> Floats:
        return np.asarray(np.einsum("...i,...i->...", self._stack, self._stack))


def _dense_gradient(theta: Floats, x: Floats, y: Floats, out: Floats) -> None:
    batch = x.shape[1]
    residual = np.matmul(theta, x.transpose(0, 2, 1))
    residual -= y[:, None]
    if batch == 1:
        np.multiply(residual, x, out=out)
    else:
        residual /= batch
        np.matmul(residual, x, out=out)


def _routed_gradient(
    theta: Floats, x: Floats, y: Floats, experts: NDArray[np.int64], out: Floats, touched: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Gradients of the experts the samples went to; all others are zero, as they were before."""
    every = np.arange(len(theta))
    if touched is not None:
        for b in range(touched.shape[1]):
            out[every, :, touched[:, b]] = 0
    for b in range(experts.shape[1]):
        chosen = experts[:, b]
        residual = np.matmul(theta[every, :, chosen], x[:, b, :, None]) - y[:, b, None, None]
        residual /= experts.shape[1]
        out[every, :, chosen] += residual * x[:, b, None]
    return experts


class OnTorch:
    """A torch device: the rules as they are, configurations stacked."""

    def __init__(self, ordered: Sequence[Stepped], stack: Floats, total_steps: int, device: str | None) -> None:
        import torch

        self._torch, self._device, self._total_steps = torch, torch.device(device or "cpu"), total_steps
        self._stack = torch.from_numpy(stack).to(self._device)
        self._groups: list[Any] = []
        for part in _groups(ordered):
            group = ordered[part]
            names = group[0].rule.state(group[0].options(total_steps))
            state = {name: torch.zeros_like(self._stack[:, part]) for name in names}
            fixed = {
                name: torch.from_numpy(x).to(self._device, self._stack.dtype) if isinstance(x, np.ndarray) else x
                for name, x in _fixed(group, total_steps, stack.ndim - 2).items()
            }
            self._groups.append([part, group, fixed, state, {}])

    def prepare(self, steps: Floats, samples: Samples) -> None:
        self._samples: Any = [None if x is None else self._torch.from_numpy(x).to(self._device) for x in samples]
        for entry in self._groups:
            _, group, fixed, _, _ = entry
            names = [name for name, x in fixed.items() if x is None]
            tables = _tables(group, names, steps, self._total_steps, self._stack.ndim - 2)
            entry[4] = {
                name: self._torch.tensor(x, dtype=self._stack.dtype, device=self._device) for name, x in tables.items()
            }

    def step(self, i: int) -> None:
        features, targets, experts = self._samples
        gradient = self._gradient(features[i], targets[i], None if experts is None else experts[i])
        for part, group, fixed, state, tables in self._groups:
            scalars = {name: tables[name][i] if x is None else x for name, x in fixed.items()}
            lr, decay = scalars.pop("lr"), scalars.pop("decay")
            direction, new = group[0].rule.direction(self._torch, gradient[:, part], state, scalars)
            state.update(new)
            self._stack[:, part] = rules.descend(
                self._stack[:, part], direction, lr=lr, decay=decay, form=group[0].form
            )

    def _gradient(self, x: Any, y: Any, experts: Any) -> Any:
        torch, theta, batch = self._torch, self._stack, x.shape[1]
        if experts is None:
            return torch.matmul((torch.matmul(theta, x.transpose(1, 2)) - y[:, None]) / batch, x)
        gradient = torch.zeros_like(theta)
        every = torch.arange(len(theta), device=self._device)
        for b in range(batch):
            chosen = experts[:, b]
            residual = (torch.matmul(theta[every, :, chosen], x[:, b, :, None]) - y[:, b, None, None]) / batch
            gradient[every, :, chosen] += residual * x[:, b, None]
        return gradient

    def parameters(self) -> Floats:
        return np.asarray(self._stack.cpu().numpy().astype(np.float64))

    def norm_squared(self) -> float:
        return float(self._stack.square().sum())

    def norms_squared(self) -> Floats:
        return np.asarray(self._stack.square().sum(-1).cpu().numpy().astype(np.float64))
