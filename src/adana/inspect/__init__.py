"""Look inside: what a text, a run and its optimizer are like, to choose kappa, variant and batch.

1. :mod:`~adana.inspect.hilberg`: the Hilberg exponent of a text, from code lengths (:mod:`~adana.inspect.compression`).
   Beside them stands a trained run, by its loss by position in the context (:mod:`~adana.inspect.context`).
2. :mod:`~adana.inspect.optimizer`: memory, clipping and tau of a run's optimizer, by kind of parameter.
3. :mod:`~adana.inspect.noise`: how noisy a run's gradients are (:mod:`~adana.inspect.gradient_noise`), and alpha~ at
   other batches.
4. :mod:`~adana.inspect.spectrum`: spectra of a run's activations (:mod:`~adana.inspect.activations`,
   :mod:`~adana.inspect.covariance`) and gradients (:mod:`~adana.inspect.gradients`), and their power laws
   (:mod:`~adana.inspect.power_law`).

Each takes names of files or arrays and gives dataclasses. ``adana inspect`` prints and draws them by the module whose
name ends in ``_shown``: ``tables(result)``, ``sentences(result)``, ``figure(result)``.
"""
