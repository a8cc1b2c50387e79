"""The theory bench: problems in which everything can be computed.

One idea a module; each says in its own description the equations, whether they are exact, derived or recalled, in
what range they were checked, and where they come from.

* Problems and simulation: :mod:`~adana.theory.plrf`, :mod:`~adana.theory.mixture`, :mod:`~adana.theory.simulate`
  (many configurations of the package's own rules on one stream, by :mod:`~adana.theory.replay`).
* Exact means: :mod:`~adana.theory.recursion` (linear methods), :mod:`~adana.theory.volterra` (SGD).
* At scale: :mod:`~adana.theory.equivalent` (no W), :mod:`~adana.theory.phases`, :mod:`~adana.theory.dana`.
* Other limits: :mod:`~adana.theory.signsgd`, :mod:`~adana.theory.clipping`, :mod:`~adana.theory.highline`,
  :mod:`~adana.theory.spectral`, :mod:`~adana.theory.monomial`, :mod:`~adana.theory.ntk`.
* Momentum itself: :mod:`~adana.theory.sparse`, :mod:`~adana.theory.nesterov`.
* Experiments: :mod:`~adana.theory.sweeps`, :mod:`~adana.theory.kappa_map`, :mod:`~adana.theory.figures`.

Risk is half the mean-square error everywhere: what is named ``risk`` is R, and P = 2R. Needs the extra ``theory``.
"""
