"""The theory bench: problems in which everything can be computed.

One idea per module. Each module's description has its equations, says whether they are exact, derived or recalled
from the literature, in what range they were checked, and where they come from. ``README.md`` in this folder shows how
the modules work together.

* Problems and simulation: :mod:`~adana.theory.plrf`, :mod:`~adana.theory.mixture`, :mod:`~adana.theory.simulate`
  (many configurations of the package's own rules on one stream, stepped by :mod:`~adana.theory.engines` and
  :mod:`~adana.theory.replay`).
* Exact means: :mod:`~adana.theory.recursion` (linear methods), :mod:`~adana.theory.volterra` (SGD).
* At scale: :mod:`~adana.theory.equivalent` (no W), :mod:`~adana.theory.phases`, :mod:`~adana.theory.dana`.
* Other limits: :mod:`~adana.theory.signsgd`, :mod:`~adana.theory.clipping`, :mod:`~adana.theory.highline`,
  :mod:`~adana.theory.spectral`, :mod:`~adana.theory.monomial`, :mod:`~adana.theory.ntk`.
* Momentum itself: :mod:`~adana.theory.sparse`, :mod:`~adana.theory.nesterov`.
* Searches: :mod:`~adana.theory.sweeps` and :mod:`~adana.theory.ranking` (each rule at its own learning rate),
  :mod:`~adana.theory.kappa_map`, :mod:`~adana.theory.dana_map`.
* Experiments as the command has them: :mod:`~adana.theory.experiments`, with estimates of their cost in
  :mod:`~adana.theory.effort`; shown by :mod:`~adana.theory.tables`, :mod:`~adana.theory.plots` and
  :mod:`~adana.theory.figures`.

Risk is half the mean-square error everywhere: what is named ``risk`` is R, and P = 2R. Needs the extra ``theory``.
"""
