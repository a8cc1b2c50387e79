"""The family for JAX: Optax gradient transformations that run the same rules as the torch optimizers.

Every optimizer here uses the paper's independent decay: ``p' = p - gamma(t) (lr u + lambda(t) p)`` with
``gamma(t) = learning_rate(t)/peak_learning_rate`` and ``weight_decay`` the paper's omega. Optax's own ``adamw``
multiplies decay by the learning rate instead: what is 0.1 there is ``0.1 * learning_rate * total_steps`` here.

Two layers, as in Optax: ``scale_by_adana`` and its like are the bare rules, ``adana`` and its like add the
learning rate and independent weight decay. Both have one :class:`ScaleByRuleState` with one ``count``.

    adana/rules.py, adana/schedules.py     the arithmetic, shared with torch
    engine.py                              trees, dtypes, the state, learning rate and decay around a rule
    masks.py                               which parameters decay
    log_time.py, star.py, baselines.py,
    amcs.py                                the elementwise optimizers and their ``scale_by_*``
    muon.py, log_muon.py, matrices.py      matrices orthogonalised, everything else by a fallback
"""

from __future__ import annotations

try:
    import jax as _jax  # noqa: F401
    import optax as _optax  # noqa: F401
except ImportError as error:
    raise ImportError(f"adana.optax needs JAX and Optax ({error}): pip install 'adana[jax]'") from error

from adana.optax import amcs as _amcs
from adana.optax import baselines as _baselines
from adana.optax import log_muon as _log_muon
from adana.optax import log_time as _log_time
from adana.optax import muon as _muon
from adana.optax import star as _star

# A function is exported by the `__all__` of its own file.
from adana.optax.amcs import *  # noqa: F403
from adana.optax.baselines import *  # noqa: F403
from adana.optax.engine import ScaleByRuleState
from adana.optax.log_muon import *  # noqa: F403
from adana.optax.log_time import *  # noqa: F403
from adana.optax.masks import decay_mask, kinds
from adana.optax.muon import *  # noqa: F403
from adana.optax.star import *  # noqa: F403

__all__ = ["ScaleByRuleState", "decay_mask", "kinds"]
__all__ += _log_time.__all__
__all__ += _star.__all__
__all__ += _baselines.__all__
__all__ += _amcs.__all__
__all__ += _muon.__all__
__all__ += _log_muon.__all__
