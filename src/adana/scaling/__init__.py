"""What stored runs say together, and what the paper's runs said: laws, multipliers, plans.

1. ``reading``: finished runs (``runs``), from run folders or tables (``columns``), in one form.
2. ``learning_rate``, ``loss``, ``damping``: a law fitted to them, with intervals; ``multiplier``: compute against a
   baseline; ``size_tokens``, ``rate_batch``, ``overtraining``: the same over several horizons and batches.
   ``fitting`` goes from 1 to here and says the result as plain data.
3. ``laws`` and ``published``: the two laws as functions, and every one the paper prints.
4. ``planning``: from a size to a whole run by 2 or 3.

Names are loaded on first use: a plan needs no SciPy, and a multiplier nothing beyond NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adana.scaling.damping import fit_damping as fit_damping
    from adana.scaling.laws import LearningRateLaw as LearningRateLaw
    from adana.scaling.laws import LossLaw as LossLaw
    from adana.scaling.learning_rate import fit_learning_rates as fit_learning_rates
    from adana.scaling.loss import fit_losses as fit_losses
    from adana.scaling.multiplier import budget_multipliers as budget_multipliers
    from adana.scaling.multiplier import compute_multiplier as compute_multiplier
    from adana.scaling.planning import plan as plan
    from adana.scaling.plans import Plan as Plan
    from adana.scaling.reading import read_runs as read_runs
    from adana.scaling.runs import Run as Run

_HOME = {
    "LearningRateLaw": "laws",
    "LossLaw": "laws",
    "Plan": "plans",
    "Run": "runs",
    "compute_multiplier": "multiplier",
    "fit_damping": "damping",
    "fit_learning_rates": "learning_rate",
    "fit_losses": "loss",
    "budget_multipliers": "multiplier",
    "plan": "planning",
    "read_runs": "reading",
}

__all__ = sorted(_HOME)

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(importlib.import_module(f"adana.scaling.{_HOME[name]}"), name)
        raise AttributeError(f"module 'adana.scaling' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
