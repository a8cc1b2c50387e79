"""The rules again, over lists of tensors, in place: one launch per operation instead of one per parameter.

Held to :mod:`adana.rules` by ``tests/optim/test_foreach.py``. The numbers ``s[...]`` are floats where the
step can be read (parameters at different steps are then updated in turns), or lists with one 0-d tensor a
parameter under compilation and graph capture; ``torch._foreach_*`` takes either.

Temporaries: no more than one tensor per parameter, as torch's own foreach AdamW has. What needs more (a bounded
gradient beside a denominator, the Star rules, wide copies of narrow tensors) takes the list in chunks, so that the
peak stays the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adana import rules
from adana.optim.storage import Stored

Tensors = list[Tensor] | tuple[Tensor, ...]
Numbers = dict[str, Any]


def has_foreach(rule: rules.Rule) -> bool:
    """Whether a rule is written here; one that is not takes the loop."""
    return rule.direction in _KERNELS


def foreach_update(
    cells: list[Stored],
    grads: Tensors,
    steps: Tensors,
    rule: rules.Rule,
    scalars: Callable[[Tensor, torch.dtype], Numbers],
    *,
    form: str,
    maximize: bool,
    on_device: bool,
) -> None:
    """Update all parameters of a group, one bucket of equal device, dtypes and step at a time."""
    buckets: dict[Any, list[int]] = {}
    for i, cell in enumerate(cells):
        stored = [x.dtype for x in cell.averages.values()]
        key = (cell.p.device, cell.p.dtype, grads[i].dtype, len(cell.beside), *stored)
        buckets.setdefault(key if on_device else (*key, steps[i].item()), []).append(i)
    for members in buckets.values():
        first = cells[members[0]]
        dtype = first.compute_dtype()
        stored = [first.p.dtype, *(x.dtype for x in first.averages.values())]
        rounding = 0 if first.randomness is None else 2
        copies = sum(x != dtype for x in stored) + 2 + ("tau" in first.averages) + rounding
        for chunk in _chunks(cells, members, copies * dtype.itemsize / first.p.dtype.itemsize):
            _update_chunk(
                [cells[i] for i in chunk],
                [grads[i] for i in chunk],
                rule,
                _numbers([scalars(steps[i], dtype) for i in (chunk if on_device else chunk[:1])], on_device),
                dtype,
                form,
                maximize,
            )


def _chunks(cells: list[Stored], members: list[int], parts: float) -> list[list[int]]:
    """The members in runs of at most one part of their elements, or of one parameter larger than that."""
    most = sum(cells[i].p.numel() for i in members) / parts
    chunks: list[list[int]] = [[]]
    size = 0
    for i in members:
        if chunks[-1] and size + cells[i].p.numel() > most:
            chunks.append([])
            size = 0
        chunks[-1].append(i)
        size += cells[i].p.numel()
    return chunks


def _numbers(each: list[Numbers], on_device: bool) -> Numbers:
    if not on_device:
        return each[0]
    return {name: [s[name] for s in each] if isinstance(x, Tensor) else x for name, x in each[0].items()}


def _update_chunk(
    cells: list[Stored],
    grads: Tensors,
    rule: rules.Rule,
    s: Numbers,
    dtype: torch.dtype,
    form: str,
    maximize: bool,
) -> None:
    g = _bounded(grads if grads[0].dtype == dtype else [x.to(dtype) for x in grads], cells[0].largest_gradient())
    if maximize:
        torch._foreach_neg_(g)
    read = [cell.read(dtype) for cell in cells]
    p = [value for value, _ in read]
    state: dict[str, Tensors] = {name: [averages[name] for _, averages in read] for name in read[0][1]}
    _KERNELS[rule.direction](p, g, state, s, form)
    del g
    if cells[0].randomness is not None:
        for i, cell in enumerate(cells):
            cell.write(p[i], {name: values[i] for name, values in state.items()})
        return
    _write(p, [cell.p for cell in cells])
    for name, values in state.items():
        _write(values, [cell.averages[name] for cell in cells])


def _bounded(g: Tensors, largest: float) -> Tensors:
    """:func:`adana.rules.bounded` of them, as new tensors."""
    kept = torch._foreach_clamp_max(g, largest)
    torch._foreach_clamp_min_(kept, -largest)
    torch._foreach_add_(kept, g, alpha=0.0)
    return kept


def _write(computed: Tensors, stored: Tensors) -> None:
    if stored[0] is not computed[0]:
        torch._foreach_copy_(stored, computed)


def _product(a: Any, b: Any) -> Any:
    if isinstance(a, list) or isinstance(b, list):
        n = len(a) if isinstance(a, list) else len(b)
        first = a if isinstance(a, list) else [a] * n
        second = b if isinstance(b, list) else [b] * n
        return [x * y for x, y in zip(first, second)]
    return a * b


def _map(f: Callable[[Any], Any], a: Any) -> Any:
    return [f(x) for x in a] if isinstance(a, list) else f(a)


def _subtract_quotient(p: Tensors, a: Tensors, make_b: Callable[[], Tensors], b: Tensors | None, c: Any) -> Tensors:
    """``p -= c * a / b`` in place; returns ``b``, made anew only if it had to be spent."""
    b = make_b() if b is None else b
    if isinstance(c, Tensor):  # a tensor lr with every other number constant
        c = [c] * len(p)
    if isinstance(c, list):
        torch._foreach_div_(b, [-x for x in c])
        torch._foreach_addcdiv_(p, a, b)
        return make_b()
    torch._foreach_addcdiv_(p, a, b, value=-c)
    return b


def _subtract(p: Tensors, x: Tensors) -> None:
    torch._foreach_sub_(p, x)


def _shrink(p: Tensors, decay: Any) -> None:
    if not (isinstance(decay, float) and decay == 0.0):
        torch._foreach_mul_(p, _map(lambda d: 1 - d, decay))


def _moments(g: Tensors, state: dict[str, Tensors], s: Numbers) -> Callable[[], Tensors]:
    """Update both averages; returns a maker of ``sqrt(v'/correction) + eps`` that reuses one temporary."""
    torch._foreach_lerp_(state["exp_avg"], g, s["weight"])
    scratch = torch._foreach_mul(g, g)
    torch._foreach_lerp_(state["exp_avg_sq"], scratch, s["weight_sq"])

    def denominator() -> Tensors:
        torch._foreach_copy_(scratch, state["exp_avg_sq"])
        correction = s.get("correction_sq", 1.0)
        if not (isinstance(correction, float) and correction == 1.0):
            torch._foreach_div_(scratch, correction)
        if "eps_root" in s:
            torch._foreach_add_(scratch, s["eps_root"])
        torch._foreach_sqrt_(scratch)
        torch._foreach_add_(scratch, s["eps"])
        return scratch

    return denominator


def _adana(p: Tensors, g: Tensors, state: dict[str, Tensors], s: Numbers, form: str) -> None:
    make = _moments(g, state, s)
    lr = s["lr"]
    if "exp_avg_short" in state:
        torch._foreach_lerp_(state["exp_avg_short"], g, s["weight_short"])
        g = state["exp_avg_short"]
        gradient = _product(_product(lr, s["gradient"]), _map(lambda c: 1 / c, s["correction_short"]))
    else:
        gradient = _product(lr, s["gradient"])
    _shrink(p, s["decay"])
    b: Tensors | None = None
    if not (isinstance(s["gradient"], float) and s["gradient"] == 0.0):
        b = _subtract_quotient(p, g, make, b, gradient)
    _subtract_quotient(p, state["exp_avg"], make, b, _product(lr, s["momentum"]))


def _dana(p: Tensors, g: Tensors, state: dict[str, Tensors], s: Numbers, form: str) -> None:
    torch._foreach_lerp_(state["exp_avg"], g, s["weight"])
    u = torch._foreach_mul(state["exp_avg"], s["momentum"])
    torch._foreach_add_(u, g)
    torch._foreach_mul_(u, s["lr"])
    _subtract(p, u)


def _clamp(x: Tensors, bound: Any) -> None:
    torch._foreach_clamp_max_(x, bound)
    torch._foreach_clamp_min_(x, _map(lambda b: -b, bound))


def _as_bound(a: Any, like: Tensors) -> Any:
    """clamp takes Python numbers or tensors of the list's length; a lone 0-d tensor becomes a list."""
    return [a] * len(like) if isinstance(a, Tensor) else a


def _dana_mk4(p: Tensors, g: Tensors, state: dict[str, Tensors], s: Numbers, form: str) -> None:
    make = _moments(g, state, s)
    lr = s["lr"]
    _shrink(p, s["decay"])
    x = _subtract_quotient(p, g, make, None, lr)
    torch._foreach_reciprocal_(x)
    torch._foreach_mul_(x, state["exp_avg"])
    torch._foreach_mul_(x, lr)
    _subtract(p, x)
    torch._foreach_mul_(x, s["momentum"])
    _clamp(x, _as_bound(_product(lr, s["clip_snr"]), x))
    _subtract(p, x)


def _update_tau(g: Tensors, denominator: Tensors, state: dict[str, Tensors], s: Numbers) -> None:
    presence = torch._foreach_abs(g)
    torch._foreach_reciprocal_(presence)  # 1/0 is inf, and 1/(1 + inf * denominator) the right 0
    torch._foreach_mul_(presence, denominator)
    torch._foreach_add_(presence, 1.0)
    torch._foreach_reciprocal_(presence)
    torch._foreach_lerp_(state["tau"], presence, s["weight"])


def _probability(tau: Tensors, s: Numbers) -> Tensors:
    x = torch._foreach_clamp_max(tau, 0.5)
    torch._foreach_reciprocal_(x)
    torch._foreach_sub_(x, 1.0)
    torch._foreach_reciprocal_(x)
    torch._foreach_clamp_min_(x, _as_bound(_map(lambda t: 1 / (1 + t), s["clock"]), x))
    return x


def _effective_growth(tau: Tensors, s: Numbers, shift: float) -> Tensors:
    x = torch._foreach_mul(tau, s["clock"])
    torch._foreach_clamp_min_(x, 1.0)
    if shift:
        torch._foreach_add_(x, shift)
    torch._foreach_pow_(x, s["exponent"])
    return x


def _star_denominator(g: Tensors, state: dict[str, Tensors], s: Numbers) -> Callable[[], Tensors]:
    make = _moments(g, state, s)
    _update_tau(g, make(), state, s)

    def denominator() -> Tensors:
        root = _probability(state["tau"], s)
        torch._foreach_sqrt_(root)
        b = make()
        torch._foreach_div_(b, root)
        return b

    return denominator


def _dana_star(p: Tensors, g: Tensors, state: dict[str, Tensors], s: Numbers, form: str) -> None:
    make = _star_denominator(g, state, s)
    _shrink(p, s["decay"])
    b = _subtract_quotient(p, g, make, None, s["lr"])
    x = _effective_growth(state["tau"], s, 1.0)
    torch._foreach_mul_(x, _product(s["lr"], s["damping_scale"]))
    torch._foreach_mul_(x, state["exp_avg"])
    torch._foreach_div_(x, b)
    _subtract(p, x)


def _dana_star_mk4(p: Tensors, g: Tensors, state: dict[str, Tensors], s: Numbers, form: str) -> None:
    make = _star_denominator(g, state, s)
    lr = s["lr"]
    _shrink(p, s["decay"])
    x = _subtract_quotient(p, g, make, None, lr)
    torch._foreach_reciprocal_(x)
    torch._foreach_mul_(x, state["exp_avg"])
    torch._foreach_mul_(x, lr)
    _subtract(p, x)
    _clipped_star_term(p, x, state["tau"], s, shift=0.0, scale=s["damping_scale"], bound=_product(lr, s["clip_snr"]))


def _clipped_star_term(
    p: Tensors, x: Tensors, tau: Tensors, s: Numbers, *, shift: float, scale: float, bound: Any
) -> None:
    """``p -= sign(x) min(scale * growth(tau) |x|, bound * tau~)``; spends ``x``."""
    growth = _effective_growth(tau, s, shift)
    torch._foreach_mul_(growth, scale)
    torch._foreach_mul_(x, growth)
    del growth
    limit = _probability(tau, s)
    torch._foreach_mul_(limit, bound)
    torch._foreach_minimum_(x, limit)
    torch._foreach_neg_(limit)
    torch._foreach_maximum_(x, limit)
    _subtract(p, x)


def _released(p: Tensors, g: Tensors, state: dict[str, Tensors], s: Numbers, form: str) -> None:
    """``u = g norm + alpha~ (m norm + clip(a m norm, clip_snr tau~))``, decay on the new parameter."""
    star = "tau" in state
    make = _star_denominator(g, state, s) if star else _moments(g, state, s)
    x = _subtract_quotient(p, g, make, None, s["lr"])
    torch._foreach_reciprocal_(x)
    torch._foreach_mul_(x, state["exp_avg"])
    rate = _product(s["lr"], s["damping_scale"])
    torch._foreach_mul_(x, rate)
    _subtract(p, x)
    if star and "clip_snr" in s:
        _clipped_star_term(p, x, state["tau"], s, shift=0.0, scale=1.0, bound=_product(rate, s["clip_snr"]))
    else:
        torch._foreach_mul_(x, _effective_growth(state["tau"], s, 0.0) if star else s["growth"])
        if "clip_snr" in s:
            _clamp(x, _as_bound(_product(rate, s["clip_snr"]), x))
        _subtract(p, x)
    _shrink(p, s["decay"])


_KERNELS: dict[Callable[..., Any], Callable[..., None]] = {
    rules.adana: _adana,
    rules.dana: _dana,
    rules.dana_mk4: _dana_mk4,
    rules.dana_star: _dana_star,
    rules.dana_star_mk4: _dana_star_mk4,
    rules.released: _released,
}
