"""The family for JAX: Optax gradient transformations that run the same rules as the torch optimizers.

Two layers, as in Optax: ``scale_by_adana`` and its like are the bare rules, ``adana`` and its like add the
learning rate and independent weight decay. Both share one :class:`ScaleByRuleState` with one ``count``.

    adana/rules.py, adana/schedules.py     the arithmetic, shared with torch
    engine.py                              trees, dtypes, the state, learning rate and decay around a rule
    family.py                              the elementwise optimizers and their ``scale_by_*``
    muon.py                                matrices orthogonalised, everything else by a fallback
"""

from __future__ import annotations

try:
    import jax as _jax  # noqa: F401
    import optax as _optax  # noqa: F401
except ImportError as error:
    raise ImportError(f"adana.optax needs JAX and Optax ({error}): pip install 'adana[jax]'") from error

from adana.optax import family as _family
from adana.optax import muon as _muon
from adana.optax.engine import ScaleByRuleState
from adana.optax.family import *  # noqa: F403 - a function is exported by the `__all__` of its own file
from adana.optax.muon import *  # noqa: F403

__all__ = ["ScaleByRuleState"]
__all__ += _family.__all__
__all__ += _muon.__all__
