"""A long fit says how far it is."""

from __future__ import annotations

import pytest

from adana.scaling.laws import LearningRateLaw, LossLaw
from adana.scaling.learning_rate import fit_learning_rates
from adana.scaling.loss import fit_losses, hold_outs
from adana.scaling.progress import listening
from adana.scaling.size_tokens_fit import size_tokens_law
from tests.scaling.ladders import losses_of, sweeps_of
from tests.scaling.test_size_tokens import table

LEARNING_RATE = LearningRateLaw(12.8, 1.67e4, -0.515)
LADDER = losses_of({"x": LossLaw(1.04, 2.16, 0.074)}, (6, 8, 12, 16))
FITS = {
    "loss": (lambda: fit_losses(LADDER, bootstrap=5, starts=2, compare=False), {"bootstrap"}),
    "loss hold-outs": (lambda: hold_outs(LADDER), {"hold-outs"}),
    "lr": (lambda: fit_learning_rates(sweeps_of(LEARNING_RATE, (6, 8, 12, 16), seed=0), bootstrap=5), {"bootstrap"}),
    "tokens": (lambda: size_tokens_law(table(), bootstrap=5), {"bootstrap", "hold-outs"}),
}


@pytest.mark.parametrize("name", FITS)
def test_a_long_fit_tells_each_of_its_loops_to_the_end(name):
    fit, loops = FITS[name]
    heard = []
    with listening(lambda what, done, of: heard.append((what, done, of))):
        fit()
    assert {what for what, _, _ in heard} == loops
    for what in loops:
        own = [(done, of) for one, done, of in heard if one == what]
        assert own[0][0] == 0
        assert own[-1][0] == own[-1][1]  # an inner loop is not told, so that nothing goes back
    with listening(lambda *said: heard.append(said)):
        pass
    count = len(heard)
    fit()  # nobody listens any more
    assert len(heard) == count
