"""Somebody else's optimizer as an entry of the catalogue.

It is named ``package.module:Class``, or by a name that an installed package offers in the entry point group
``adana.optimizers``. What it takes is read from its signature; nothing of it is known before it is imported.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adana.catalog import Optimizer

__all__ = [
    "GROUP",
    "allow",
    "check_allowed",
    "code_of",
    "entry_of",
    "import_module",
    "is_foreign",
    "load",
    "offered",
    "stored",
]

GROUP = "adana.optimizers"
"""Entry points of this group name optimizers: ``name = "package.module:Class"``."""

_NOT_OPTIONS = ("self", "params", "lr")

_allowed: set[str] = set()


def allow(name: str) -> None:
    """Let recipes in files name this optimizer, ``package.module:Class``, whose code is then imported."""
    _allowed.add(name)


def check_allowed(name: str, where: object) -> None:
    """Refuse a name that stands in a file alone: importing it would run code that nobody has asked for.

    Raises:
        ValueError: ``package.module:Class`` that was neither typed nor allowed.
    """
    if ":" in name and name not in _allowed:
        raise ValueError(
            f"{where} names the optimizer {name!r}, whose code would be imported: write --optimizer {name} to allow it "
            f"(in Python: adana.foreign.allow({name!r}))"
        )


def import_module(name: str) -> ModuleType:
    """Import a user's module. The current folder can be imported from."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # an `adana` that is a script has its own folder there, not the user's
    return importlib.import_module(name)


def is_foreign(name: str) -> bool:
    """Whether a name is of an optimizer that is none of ours."""
    return ":" in name or name in offered()


def offered() -> dict[str, str]:
    """What installed packages offer: name to ``package.module:Class``."""
    from importlib import metadata  # slow to import, and rarely asked

    return {one.name: one.value for one in metadata.entry_points(group=GROUP)}


@functools.cache
def load(name: str) -> Any:
    """The class, or the function that makes an optimizer, of a name. The current folder can be imported from.

    Raises:
        ValueError: it cannot be imported, or is nothing that makes an optimizer.
    """
    where = name if ":" in name else offered()[name]
    module, _, attribute = where.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise ValueError(f"optimizer {name!r}: write package.module:Class, such as torch.optim:NAdam")
    try:
        found: Any = import_module(module)
    except Exception as error:  # whatever somebody's module does while it is imported
        raise ValueError(f"optimizer {name!r}: {module} cannot be imported: {_said(error)}") from None
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise ValueError(f"optimizer {name!r}: {module} has no {attribute}") from None
    from torch.optim import Optimizer

    if not callable(found) or (inspect.isclass(found) and not issubclass(found, Optimizer)):
        raise ValueError(f"optimizer {name!r} is no torch.optim.Optimizer, and no function that makes one")
    if found is Optimizer:
        raise ValueError(f"optimizer {name!r} is the base class of optimizers: name a class of its own")
    return found


def entry_of(name: str) -> Optimizer:
    """The entry of an optimizer, from its signature.

    Its grids are those of its options that are numbers, and ``beta2`` where it has ``betas``. A search starts at the
    power of two nearest its own default learning rate.

    Raises:
        ValueError: as :func:`load`, or its signature cannot be read or has no ``lr``.
    """
    return _entry(name, load(name))


@functools.cache
def _entry(name: str, kind: Any) -> Optimizer:
    from adana.catalog import REQUIRED, START, Optimizer, Option, power_of_two

    try:
        parameters = dict(inspect.signature(kind).parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"optimizer {name!r}: its signature cannot be read: {_said(error)}") from None
    variadic = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    if "lr" not in parameters and not variadic:
        raise ValueError(f"optimizer {name!r} has no lr, which this package schedules")
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [(key, one) for key, one in parameters.items() if one.kind in by_name and key not in _NOT_OPTIONS]
    first = next(iter(parameters), "params")  # the parameters, whatever they are called
    options = {
        key: Option(REQUIRED if one.default is inspect.Parameter.empty else one.default)
        for key, one in named
        if key != first
    }
    grids = [key for key, option in options.items() if _is_number(option.default)]
    if isinstance(getattr(options.get("betas"), "default", None), tuple):
        grids.append("beta2")
    lr: Any = parameters["lr"].default if "lr" in parameters else None
    return Optimizer(
        name,
        "",
        options,
        torch=name if ":" in name else offered()[name],
        grids=tuple(grids),
        start=power_of_two(lr) if _is_number(lr) and lr > 0 else START,
        foreign=True,
        more_options=variadic,
    )


def stored(name: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """Tensors as large as the parameter that it stores of a matrix and of a vector, counted after one step.

    Raises:
        ValueError: it cannot be made, or takes no step.
    """
    import torch

    counts = []
    for shape in ((4, 8), (8,)):
        p = torch.nn.Parameter(torch.zeros(shape))
        p.grad = torch.ones(shape)
        try:
            optimizer = load(name)([p], lr=1e-3, **options)
            optimizer.step()
        except Exception as error:
            raise ValueError(f"{name} takes no step on a tensor of shape {shape}: {_said(error)}") from None
        states = optimizer.state[p].values()
        counts.append(sum(isinstance(x, torch.Tensor) and x.numel() == p.numel() for x in states))
    return counts[0], counts[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def code_of(name: str) -> dict[str, str | None]:
    """What tells one state of an optimizer's code from another.

    Returns:
        ``sha256`` of the source of its module, and the installed ``package`` it is from with its ``version``, None for
        code that is no installed package's.

    Raises:
        ValueError: as :func:`load`.
    """
    from importlib import metadata

    kind = load(name)
    while isinstance(kind, functools.partial):
        kind = kind.func
    module = inspect.getmodule(kind)
    try:
        source = inspect.getsource(module if module is not None else kind).encode()
    except (OSError, TypeError):  # compiled: its file instead
        path = getattr(module, "__file__", None)
        source = Path(path).read_bytes() if path else repr(kind).encode()
    top = kind.__module__.partition(".")[0]
    package = next(iter(metadata.packages_distributions().get(top, ())), None)
    version = None if package is None else metadata.version(package)
    return {"sha256": hashlib.sha256(source).hexdigest(), "package": package, "version": version}


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
