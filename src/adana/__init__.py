"""Log-time momentum for language models: the optimizers, the lab and the theory of ADana.

Names are loaded on first use, so ``import adana`` costs next to nothing and ``from adana import ADana``
costs torch and nothing besides.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adana import schedules as schedules
    from adana.optim import AdamW as AdamW
    from adana.optim import ADana as ADana
    from adana.optim import AdEMAMix as AdEMAMix
    from adana.optim import Dana as Dana
    from adana.optim import DanaMK4 as DanaMK4
    from adana.optim import DanaStar as DanaStar
    from adana.optim import DanaStarMK4 as DanaStarMK4
    from adana.optim import LogAdamW as LogAdamW
    from adana.optim import LogNAdamW as LogNAdamW
    from adana.optim import Muon as Muon
    from adana.optim.convert import from_adamw as from_adamw
    from adana.optim.groups import param_groups as param_groups

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(
        (
            "ADana",
            "AdEMAMix",
            "AdamW",
            "Dana",
            "DanaMK4",
            "DanaStar",
            "DanaStarMK4",
            "LogAdamW",
            "LogNAdamW",
            "Muon",
        ),
        "adana.optim",
    ),
    "from_adamw": "adana.optim.convert",
    "param_groups": "adana.optim.groups",
}

__all__ = ["__version__", "schedules", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "schedules":
        return importlib.import_module("adana.schedules")
    raise AttributeError(f"module 'adana' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
