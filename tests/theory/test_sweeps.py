"""The published sweeps at the bench's sizes: what reproduces, what does not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adana.theory import figures, plots, sweeps
from adana.theory.experiments import EXPERIMENTS
from adana.theory.kappa_map import kappa_map, optimum
from adana.theory.plrf import Plrf
from adana.theory.sweeps import SWEEPS, paper_scale, run_sweep, search

# One learning rate for all rules, as in the published figures.
ONE_RATE = {"betas": ((0.9, 0.999),), "deltas": (8.0,)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_kappa_sweep_on_plrf_at_one_learning_rate(seed):
    setting = replace(SWEEPS["figure-8-left"], optimizers=("adana", "dana-mk4"), lrs=(1e-3,), **ONE_RATE)
    found = run_sweep(setting, seed=seed, records=2)
    adam = found.risk_at("adamw")
    for kappa in (0.0, 0.1):
        assert found.risk_at("adana", kappa) > 10 * found.start
    best = found.risk_at("adana", 0.6)
    assert best < 1.6 * found.least
    assert best < 0.65 * adam
    assert found.best("adana")[0] in (0.5, 0.6, 0.7)
    flat = [found.risk_at("dana-mk4 clip 0.25", kappa) for kappa in setting.kappas if kappa <= 0.7]
    assert flat[0] < 0.16
    assert max(flat) / min(flat) < 1.1
    clips = [found.risk_at(f"dana-mk4 clip {clip}", 0.0) for clip in ("0.25", "1", "4")]
    assert clips == sorted(clips)
    assert clips[-1] < found.risk_at("adana", 0.0)
    assert abs(found.risk_at("adana", 1.0) / adam - 1) < 0.25
    # The ablation of log time: more memory alone gains nothing, undamped Nesterov diverges.
    assert found.risk_at("log-nadamw") > 10 * found.start
    assert abs(found.risk_at("log-adamw") / adam - 1) < 0.25
    assert best < 0.6 * min(adam, found.risk_at("log-adamw"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share", "seed"), [("figure-9", 0.05, 1), ("figure-8-centre", 0.6, 2)])
def test_the_kappa_sweep_under_sparse_gradients_at_one_learning_rate(name, share, seed):
    found = run_sweep(replace(SWEEPS[name], lrs=(4e-3,), plain=("adamw",), **ONE_RATE), seed=seed, records=2)
    kappas = found.setting.kappas
    for label in ("adana", "ademamix", "dana-mk4 clip 2"):
        assert found.risk_at(label, found.predicted) > 5 * found.start
    for label in ("dana-star", "dana-star-mk4"):
        assert found.risk_at(label, found.predicted) < share * found.start
    assert found.best("dana-star")[0] in (1 / 3, 0.5)
    mk4 = [found.risk_at("dana-star-mk4", kappa) for kappa in kappas if kappa < 0.7]
    assert max(mk4) / min(mk4) < 1.35
    star = [found.risk_at("dana-star", kappa) for kappa in kappas]
    assert star[0] > 1.5 * min(star)


def small(**changes):
    setting = replace(SWEEPS["figure-8-left"], v=40, d=10, total_steps=60, kappas=(0.2, 0.6, 1.0), clips=(1.0,))
    more = {"lrs": (1e-3,), "extend": 0, "betas": ((0.9, 0.999),), "deltas": (8.0,), "plain": ("adamw",)}
    return replace(setting, **{**more, **changes})


def test_a_sweep_reports_every_configuration():
    found = run_sweep(small(lrs=(1e-3, 1e-2)), seed=1)
    assert {label: table.shape for label, table in found.risk.items()} == {
        "adamw": (1, 2),
        **dict.fromkeys(("adana", "dana-mk4 clip 1", "ademamix", "dana-star-mk4"), (3, 2)),
    }
    for label, table in found.risk.items():
        np.testing.assert_array_equal(table, found.curves[label][..., -1])
        assert found.document()["risk"][label] == [[float(f"{x:.4g}") for x in row] for row in table]
    with pytest.raises(ValueError, match="no 'lion' in this sweep"):
        found.risk_at("lion")


def test_a_sweep_in_blocks_is_the_sweep_in_one(monkeypatch):
    setting = small(experts=3, batch=2, lrs=(1e-3, 4e-3, 1.6e-2), optimizers=sweeps._STAR, clips=(2.0,))
    whole = run_sweep(setting, seed=1)
    monkeypatch.setattr(sweeps, "_BLOCK", 1)
    parts = run_sweep(setting, seed=1)
    for label, table in whole.risk.items():
        np.testing.assert_allclose(parts.risk[label], table, rtol=1e-4)


@pytest.mark.parametrize("name", SWEEPS)
def test_every_rule_of_a_sweep_is_searched_equally(name):
    rules = SWEEPS[name].rules()
    assert len({len(rule.values) for rule in rules.values()}) == 1
    assert all(len(set(rule.values)) == len(rule.values) for rule in rules.values())
    for rule in rules.values():
        for value in rule.values:
            one = rule.at(value, 0.25)
            assert one.lr == 0.25
            assert getattr(one, rule.option) == value
            assert replace(one, label="", lr=1.0, **{rule.option: getattr(rule.base, rule.option)}) == rule.base


def test_a_search_widens_the_grid_for_all_rules_until_the_best_rates_lie_inside():
    setting = small(lrs=(1e-4, 2e-4), extend=12)
    found = search(setting, seeds=(1, 2))
    assert len({sweep.setting.lrs for sweep in found}) == 1
    lrs = found[0].setting.lrs
    assert set(setting.lrs) < set(lrs)
    np.testing.assert_allclose(np.diff(np.log2(lrs)), 1)
    for sweep in found:
        for label in sweep.risk:
            best = sweep.finite_risk(label).argmin(axis=1)
            assert (best > 0).all()
            assert (best < len(lrs) - 1).all()
    # It is the sweep over the widened grid: each seed saw the same samples at every rate.
    again = run_sweep(found[1].setting, seed=2, records=2)
    for label, table in again.risk.items():
        np.testing.assert_allclose(found[1].risk[label], table, rtol=1e-4)


def test_a_search_stops_where_it_is_told_to():
    assert len(search(small(lrs=(1e-4,), extend=2))[0].lrs) <= 5
    assert search(small(lrs=(1e-4,), extend=0))[0].setting.lrs == (1e-4,)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"lrs": (0.0, 1.0)}, "lrs"),
        ({"lrs": ()}, "lrs"),
        ({"kappas": (0.5, 0.4)}, "kappas"),
        ({"extend": -1}, "extend"),
    ],
)
def test_bad_sweeps_are_refused_by_name(change, match):
    with pytest.raises(ValueError, match=match):
        small(**change)


def test_the_learning_rate_is_scaled_by_the_trace_where_asked():
    setting = small(rho=0.4, scale_lr=True)
    trace = Plrf(setting.rho, setting.eta, setting.v, setting.d, seed=1).eigenvalues.sum()
    assert trace > 1
    assert run_sweep(setting, seed=1).lrs[0] == pytest.approx(1e-3 / trace)


def test_the_published_sizes():
    left, centre = paper_scale("figure-8-left"), paper_scale("figure-8-centre")
    assert (left.v, left.d, left.total_steps, left.delta) == (10_000, 5000, 1_000_000, 6.0)
    assert left.betas == ((0.99, 0.999),)
    assert left.lrs == centre.lrs == (1e-3,)
    assert (centre.experts, centre.batch, centre.total_steps) == (1000, 10, 1_000_000)
    with pytest.raises(ValueError, match="figure-7"):
        paper_scale("figure-7")


def test_the_kappa_map_interpolates_and_tells_its_edges():
    found = kappa_map(
        rhos=(1.0, 0.45), batches=(2,), horizons=(50, 100), lrs=(1e-2,), kappas=(0.3, 0.6, 0.9), v=40, d=10, seeds=2
    )
    assert [(p.rho, p.horizon) for p in found.points] == [(1.0, 50), (1.0, 100), (0.45, 50), (0.45, 100)]
    assert [p.predicted for p in found.points] == [0.5, 0.5, None, None]
    grid = np.array([0.2, 0.4, 0.6, 0.8])
    assert optimum(grid, np.exp((grid - 0.47) ** 2))[0] == pytest.approx(0.47)
    assert optimum(grid, np.array([np.inf, np.nan, 1.0, 2.0]))[0] == pytest.approx(0.6, abs=0.2)
    assert optimum(grid, np.array([1.0, 2.0, 3.0, 4.0]))[0] == 0.2


@pytest.mark.parametrize(
    ("change", "match"),
    [({"rhos": ()}, "rhos"), ({"kappas": (0.5, 0.4, 0.6)}, "kappas"), ({"kappas": (0.5,)}, "kappas")],
)
def test_bad_maps_are_refused_by_name(change, match):
    with pytest.raises(ValueError, match=match):
        EXPERIMENTS["kappa-map"](**change)


@pytest.mark.slow
def test_figures_are_written_with_their_captions_and_numbers(tmp_path, monkeypatch):
    mixture = small(experts=3, batch=2, optimizers=sweeps._STAR)
    settings = {"figure-8-left": small(), "figure-8-centre": mixture, "figure-9": mixture}
    monkeypatch.setattr(figures, "SWEEPS", settings)
    names = ("figure-8-left", "figure-8-centre", "figure-9", "schedules")
    made = figures.make_figures(tmp_path / "new", only=names)
    assert set(made) == set(names)
    for name in names:
        text = (tmp_path / "new" / f"{name}.svg").read_text()
        assert "<svg" in text
        assert json.loads((tmp_path / "new" / f"{name}.json").read_text())["caption"] == made[name]["caption"]
    assert "One problem decides nothing" in made["figure-8-centre"]["caption"]
    assert sorted(path.suffix for path in (tmp_path / "new").iterdir()) == [".json"] * 4 + [".svg"] * 4
    first = (tmp_path / "new" / "figure-8-left.svg").read_bytes()
    figures.make_figures(tmp_path / "again", only=("figure-8-left",))
    assert (tmp_path / "again" / "figure-8-left.svg").read_bytes() == first


def test_the_phase_diagram_names_every_phase():
    figure = plots.phase_diagram(points=80)
    assert {text.get_text() for text in figure.axes[0].texts} == set(figures.phases.PHASES)


def test_unknown_figures_are_refused(tmp_path):
    with pytest.raises(ValueError, match="figure-10"):
        figures.make_figures(tmp_path, only=("figure-10",))
    with pytest.raises(ValueError, match="suffix"):
        figures.make_figures(tmp_path, suffix=".bmp")
