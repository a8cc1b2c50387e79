"""What all experiments promise: described options, one default each, no start of what cannot end."""

from __future__ import annotations

import inspect
import re

import pytest

from adana.docstrings import arguments
from adana.theory import comparison, dana_map, effort, equivalent, kappa_map, monomial, nesterov, ntk, phases
from adana.theory.effort import Effort, longest
from adana.theory.experiments import EXPERIMENTS
from adana.theory.plrf import Plrf
from adana.theory.simulate import Configuration, simulate

# Experiments that hand all their options on to one function of the library.
SAME = {
    "equivalent": equivalent.compare,
    "phases": phases.frontier,
    "monomial": monomial.compare,
    "ntk": ntk.compare,
    "nesterov": nesterov.compare,
    "kappa-map": kappa_map.kappa_map,
    "dana-map": dana_map.dana_map,
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_option_is_described_in_a_sentence(name):
    experiment = EXPERIMENTS[name]
    texts = arguments(experiment)
    assert list(texts) == list(inspect.signature(experiment).parameters)
    for option, text in texts.items():
        assert re.fullmatch(r"[A-Z].*\.", text), option
        assert len(text) > 8 or option == "steps", option
    assert inspect.getdoc(experiment).split("\n")[0].endswith(".")


@pytest.mark.parametrize("name", SAME)
def test_an_option_has_the_default_of_the_function_behind_it(name):
    behind = inspect.signature(SAME[name]).parameters
    shared = [p for p in inspect.signature(EXPERIMENTS[name]).parameters.values() if p.name in behind]
    assert shared
    for option in shared:
        default = behind[option.name].default
        if default is not inspect.Parameter.empty and option.name != "progress":
            assert option.default == default, option.name


HUGE = {
    "plrf": {"steps": 2**31},
    "mixture": {"experts": 2**31},
    "equivalent": {"v": 2**31},
    "phases": {"draws": 2**31},
    "dana": {"steps": 2**31},
    "signsgd": {"d": 2**31},
    "clipping": {"seeds": 2**31},
    "high-line": {"time": 1e12},
    "sign-svd": {"steps": 2**31},
    "monomial": {"v": 2**31},
    "ntk": {"n": 2**31},
    "sparse": {"seeds": 2**31},
    "nesterov": {"d": 2**31},
    "sweep": {"seeds": 2**31},
    "kappa-map": {"horizons": (2**31,)},
    "dana-map": {"horizons": (2**31,)},
}


def test_every_experiment_has_a_case_that_is_too_large():
    assert set(HUGE) | {"figures"} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", HUGE)
def test_what_is_too_large_is_refused_before_it_starts(name):
    with pytest.raises(ValueError, match=r"(GB of memory|hours of one core).*(lower|raise)"):
        EXPERIMENTS[name](**HUGE[name])


def test_the_longest_time_is_the_callers_to_set():
    problem = Plrf(1.0, 0.5, v=40, d=10)
    family = [Configuration("sgd", 0.1)]
    with longest(1e-9), pytest.raises(ValueError, match="--max-hours"):
        simulate(problem, family, total_steps=200)
    simulate(problem, family, total_steps=200)
    with pytest.raises(ValueError, match="max_hours"), longest(float("nan")):
        pass


def test_efforts_add_up():
    one, other = Effort(bytes=8.0, seconds=1.0), Effort(bytes=4.0, seconds=2.0)
    assert one + other == Effort(8.0, 3.0)
    assert other * 3 == Effort(4.0, 6.0)
    assert (
        Effort.of(held=1, calls=1e6, numbers=100).seconds
        > Effort.of(held=1, calls=1e6, numbers=100, device="cpu").seconds / 2
    )
    assert Effort.of(calls=1, numbers=1e9, device="cuda").seconds < Effort.of(calls=1, numbers=1e9).seconds / 10


def test_memory_that_there_is_not_is_refused(monkeypatch):
    monkeypatch.setattr(effort, "free_memory", lambda: 1e9)
    with pytest.raises(ValueError, match=r"a matrix needs about 8\.0 GB of memory and 1\.0 GB are free: lower d"):
        Effort.of(held=1e9).check("a matrix", "lower d")
    monkeypatch.setattr(effort, "free_memory", lambda: None)
    Effort.of(held=1e15).check("a matrix", "lower d")


def test_json_keeps_lists_of_numbers_on_one_line():
    assert comparison.compact({"a": [1, 2.5, float("inf")], "b": [[1], [2]], "c": {}}) == (
        '{\n "a": [1, 2.5, null],\n "b": [\n  [1],\n  [2]\n ],\n "c": {}\n}'
    )
