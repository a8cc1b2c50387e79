"""The bench's experiments, each a function of plain numbers and names: what ``adana theory`` runs.

The names, defaults and descriptions of a command's options are those of its function here; there is no second list.
Each function imports what it needs when it is called, so that the command can list its options without SciPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adana.theory.experiments.limits import clipping, high_line, monomial, ntk, sign_svd, signsgd
from adana.theory.experiments.problems import equivalent, mixture, nesterov, phases, plrf, sparse
from adana.theory.experiments.searches import dana, dana_map, figures, kappa_map, sweep

__all__ = ["EXPERIMENTS"]

EXPERIMENTS: dict[str, Callable[..., Any]] = {
    "plrf": plrf,
    "equivalent": equivalent,
    "phases": phases,
    "dana": dana,
    "mixture": mixture,
    "signsgd": signsgd,
    "clipping": clipping,
    "high-line": high_line,
    "sign-svd": sign_svd,
    "monomial": monomial,
    "ntk": ntk,
    "sparse": sparse,
    "nesterov": nesterov,
    "sweep": sweep,
    "kappa-map": kappa_map,
    "dana-map": dana_map,
    "figures": figures,
}
"""Every experiment by the name of its command."""
