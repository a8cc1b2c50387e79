"""Log-time momentum for language models: the optimizers, the lab and the theory of ADana.

Names are loaded on first use, so ``import adana`` costs next to nothing and ``from adana import ADana``
costs torch and nothing besides.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from adana.catalog import OPTIMIZERS

if TYPE_CHECKING:
    from adana import schedules as schedules

    # Each from its own file: mypy does not follow names through two such imports in a package that imports itself.
    from adana.optim.adamw import *  # noqa: F403
    from adana.optim.adana import *  # noqa: F403
    from adana.optim.ademamix import *  # noqa: F403
    from adana.optim.amcs import *  # noqa: F403
    from adana.optim.components import component_groups as component_groups
    from adana.optim.convert import from_adamw as from_adamw
    from adana.optim.dana import *  # noqa: F403
    from adana.optim.dana_star import *  # noqa: F403
    from adana.optim.groups import param_groups as param_groups
    from adana.optim.in_backward import step_in_backward as step_in_backward
    from adana.optim.muon import *  # noqa: F403
    from adana.suggestions import omega_from_adamw as omega_from_adamw
    from adana.suggestions import suggest as suggest

__version__ = "0.1.0"

TORCH = "pip install 'adana[torch]'"
"""What brings PyTorch, which is no dependency: ``adana.optax`` works without it."""

_HOME = {
    **{entry.torch_class: entry.torch_module for entry in OPTIMIZERS.values() if entry.torch},
    "component_groups": "adana.optim.components",
    "from_adamw": "adana.optim.convert",
    "omega_from_adamw": "adana.suggestions",
    "param_groups": "adana.optim.groups",
    "step_in_backward": "adana.optim.in_backward",
    "suggest": "adana.suggestions",
}

__all__ = ["__version__", "schedules", *sorted(_HOME)]


if not TYPE_CHECKING:  # a type checker would take it for every name there may be

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            try:
                return getattr(importlib.import_module(_HOME[name]), name)
            except ModuleNotFoundError as error:
                if error.name == "torch":
                    raise ImportError(f"adana.{name} needs PyTorch: {TORCH}") from None
                raise
        if name == "schedules":
            return importlib.import_module("adana.schedules")
        raise AttributeError(f"module 'adana' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
