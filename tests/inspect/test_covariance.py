"""Covariance spectra in pieces: the exact ones are NumPy's, the randomised ones within the errors that they state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.inspect.covariance import Exact, Randomised, covariance_spectrum

WIDTH = 96


def pieces(exponent: float = 1.2, width: int = WIDTH, count: int = 16, rows: int = 200) -> list[np.ndarray]:
    """Gaussian vectors whose covariance falls as a power, in a random basis and not centred."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    scales = np.arange(1, width + 1) ** (-exponent / 2)
    return [rng.normal(size=(rows, width)) * scales @ turn + 3 for _ in range(count)]


def eigenvalues(x: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh(np.atleast_2d(np.cov(x.T, bias=True)))[::-1]


@given(width=st.integers(1, 12), rows=st.lists(st.integers(1, 9), min_size=3, max_size=6))
@settings(max_examples=20)
def test_exact_sums_give_the_covariance_of_all_and_of_some(width, rows):
    rng = np.random.default_rng(sum(rows))
    found = Exact(width, 3)
    parts: list[list[np.ndarray]] = [[], [], []]
    for i, n in enumerate(rows):
        x = rng.normal(size=(n, width)) + 1
        parts[i % 3].append(x)
        found.add(torch.from_numpy(x), i % 3)
    everything = np.concatenate([x for part in parts for x in part])
    np.testing.assert_allclose(found.eigen().values, eigenvalues(everything), atol=1e-10)
    assert found.total() == pytest.approx(everything.var(0).sum(), abs=1e-10)
    some = np.concatenate([*parts[0], *parts[2]])
    np.testing.assert_allclose(found.eigen([0, 2]).values, eigenvalues(some), atol=1e-10)


@pytest.mark.parametrize("exponent", [0.5, 1.2, 2.5])
def test_within_each_stated_error_lies_an_eigenvalue(exponent):
    x = pieces(exponent)
    found = Randomised(WIDTH, 32, 2)
    for number in range(found.passes):
        if number:
            found.next_pass()
        for i, piece in enumerate(x):
            found.add(torch.from_numpy(piece), i % 2)
    truth = eigenvalues(np.concatenate(x))
    eigen = found.eigen()
    assert len(eigen.values) == 16
    for value, error in zip(eigen.values.tolist(), eigen.errors.tolist()):
        assert np.abs(truth - value).min() <= error + 1e-12
    assert (eigen.values.numpy() <= truth[:16] + 1e-12).all()
    np.testing.assert_allclose(eigen.values.numpy()[:4], truth[:4], rtol=0.02)


@pytest.mark.parametrize("exact_up_to", [WIDTH, WIDTH - 1], ids=["exact", "randomised"])
def test_the_exponent_of_a_known_covariance_is_found(exact_up_to):
    found = covariance_spectrum(pieces(rows=800), exact_up_to=exact_up_to, modes=48)
    assert found.method == ("exact" if exact_up_to == WIDTH else "randomised")
    assert found.law.holds
    assert found.law.exponent == pytest.approx(1.2, abs=0.04)
    assert found.interval is not None
    assert found.interval.low < found.law.exponent < found.interval.high
    assert found.interval.high - found.interval.low < 0.1
    assert found.samples == 16 * 800
    assert found.total == pytest.approx(np.sum(np.arange(1, WIDTH + 1) ** -1.2), rel=0.05)
    assert (found.error == 0) == (found.method == "exact")


def test_interval_covers_what_a_new_text_gives_most_of_the_time():
    hits = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scales = np.arange(1, 33) ** -0.5
        found = covariance_spectrum([rng.normal(size=(64, 32)) * scales for _ in range(16)])
        assert found.interval is not None
        truth = np.arange(found.law.first, found.law.last + 1)
        hits += -np.polyfit(np.log(truth), np.log(truth**-1.0), 1)[0] in found.interval
    assert hits >= 15


def test_random_vectors_have_no_power_law():
    rng = np.random.default_rng(0)
    assert not covariance_spectrum([rng.normal(size=(400, 32)) for _ in range(8)]).law.holds


def test_vectors_in_few_directions_have_a_spectrum_and_no_law():
    rng = np.random.default_rng(0)
    found = covariance_spectrum([rng.normal(size=(100, 5)) @ rng.normal(size=(5, 20)) for _ in range(8)][:1] * 8)
    assert len(found.eigenvalues) == 5
    assert found.law is None
    assert found.interval is None


def test_pieces_may_come_anew_for_every_pass():
    x, passes = pieces(), []

    def again():
        passes.append(1)
        yield from x

    found = covariance_spectrum(again, exact_up_to=10, modes=48)
    assert len(passes) == Randomised.passes
    assert found == covariance_spectrum(x, exact_up_to=10, modes=48)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([np.ones((4, 20))] * 8, "width 20 needs at least 160 samples .8 per dimension., got 32"),
        ([np.ones((90, 20))] * 7, "8 groups needs as many pieces, got 7"),
        ([], "needs as many pieces, got 0"),
        ([np.ones((90, 20))] * 7 + [np.ones((90, 21))], "all of one width"),
        ([np.ones(20)] * 8, "must be .n, width."),
        ([np.full((90, 20), np.nan)] * 8, "not finite"),
        ([np.full((90, 20), 0.3)] * 8, "all vectors are the same"),
    ],
)
def test_too_little_and_what_is_no_spectrum_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        covariance_spectrum(given)
