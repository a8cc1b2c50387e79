"""Bad values are refused with the value in the message; doubtful habits are named, once."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import pickle
import warnings
from typing import Any

import pytest
import torch

import adana
from adana.catalog import OMEGA
from tests.optim.cases import CLASSES, PLAIN, PLAIN_IDS, T, build

family = pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)
# Where `total_steps` is long enough for no habit to be doubtful.
LONG = 1000

POSITIVE = ("delta", "clip_snr", "damping_scale", "rms", "peak_lr", "total_steps", "weight_decay_offset")
NOT_NEGATIVE = ("lr", "eps", "weight_decay", "kappa")
FRACTIONS = ("beta2", "beta3", "momentum")
CHOICES = ("form", "damping", "decay")
NEVER = [math.nan, math.inf, -1e-9, "0.1"]
BAD: dict[str, list[Any]] = {
    **{option: [*NEVER, 0.0] for option in POSITIVE},
    **dict.fromkeys(NOT_NEGATIVE, NEVER),
    **{option: [*NEVER, 1.0, 1.5] for option in FRACTIONS},
    **{option: ["unheard-of", None, 3] for option in CHOICES},
    "betas": [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan), (0.9,), (0.9, 0.9, 0.9), 0.9, None],
    "ns_steps": [0, -1, 2.5, None],
    "state_dtype": ["int8", torch.int64, "float33", 32, torch.float16],
    "param_rounding": ["unheard-of", None, 3],
    "rounding_seed": [-1, 2**32, 0.5, "0"],
    "fallback": ["SGD", torch.optim.SGD, adana.Muon, None, functools.partial(adana.ADana, 0.1)],
}


def takes(name: str) -> Any:
    return inspect.signature(CLASSES[name]).parameters


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(3, 3))


def bad_cases(of_each: int | None = None) -> list[Any]:
    return [
        pytest.param(name, option, value, id=f"{name}-{option}={value!r}")
        for name in CLASSES
        for option, values in BAD.items()
        if option in takes(name)
        for value in values[:of_each]
    ]


def wrong_part(value: Any) -> Any:
    """Of a pair of coefficients, the one out of range is what the message should show."""
    if isinstance(value, tuple) and len(value) == 2:
        return next(x for x in value if not 0 <= x < 1)
    return value


@pytest.mark.parametrize(("name", "option", "value"), bad_cases())
def test_a_bad_value_is_refused_and_shown(name, option, value):
    arguments = {"lr": 0.01, "total_steps": LONG, option: value}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - what the message must hold is checked below
        build(name, [parameter()], **arguments)
    assert repr(wrong_part(value)) in str(caught.value)
    assert option in str(caught.value)


@pytest.mark.parametrize(("name", "option", "value"), bad_cases(of_each=1))
def test_a_bad_value_in_a_group_is_refused_and_the_optimizer_left_as_it_was(name, option, value):
    optimizer = build(name, [parameter()], lr=0.01, total_steps=LONG)
    before, shown = copy.deepcopy(optimizer.state_dict()), repr(optimizer)
    bad = {"params": [parameter()], "kind": "hidden", option: value}
    given = dict(bad)
    with pytest.raises(ValueError):  # noqa: PT011 - the message is checked above
        optimizer.add_param_group(bad)
    assert len(optimizer.param_groups) == 1
    assert repr(optimizer) == shown
    assert optimizer.state_dict() == before
    assert bad.keys() == given.keys(), "the group given is not written into either"
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3, 3)
    optimizer.step()


@pytest.mark.parametrize("lr", [torch.tensor(-1.0), torch.tensor(math.nan), torch.ones(2)], ids=repr)
def test_a_bad_tensor_lr_is_refused(lr):
    with pytest.raises(ValueError, match="lr"):
        build("adana", [parameter()], lr=lr, total_steps=LONG)


@family
def test_differentiable_excludes_foreach_in_a_group_too(name, options):
    optimizer = build(name, [parameter()], differentiable=True, **options)
    with pytest.raises(RuntimeError, match="differentiable"):
        optimizer.add_param_group({"params": [parameter()], "kind": "hidden", "foreach": True})
    assert len(optimizer.param_groups) == 1


DECAYING = [name for name in CLASSES if "weight_decay" in takes(name)]
NO_HORIZON_NEEDED = [name for name in DECAYING if takes(name)["total_steps"].default is None]


@pytest.mark.parametrize("name", NO_HORIZON_NEEDED)
def test_decay_without_a_horizon_says_what_to_pass_and_why(name):
    with pytest.raises(ValueError, match=r"total_steps/10.*pass total_steps .*or weight_decay_offset.*set_horizon"):
        first_step(name)
    with pytest.raises(ValueError, match=r"weight_decay/total_steps.*pass total_steps.*set_horizon"):
        first_step(name, decay="constant")
    with pytest.raises(ValueError, match="pass total_steps"):
        first_step(name, decay="constant", weight_decay_offset=50)


@pytest.mark.parametrize("name", NO_HORIZON_NEEDED)
def test_a_horizon_that_is_given_before_the_first_step_is_as_good_as_one_given_at_once(name):
    early, late = parameter(), parameter()
    at_once = build(name, [early], lr=0.01, total_steps=LONG)
    optimizer = build(name, [late], lr=0.01)
    assert "total_steps is not known yet" in repr(optimizer)
    optimizer.set_horizon(LONG)
    assert repr(optimizer) == repr(at_once)
    for p, one in ((early, at_once), (late, optimizer)):
        p.grad = torch.ones_like(p)
        one.step()
        one.step()
    assert torch.equal(early, late)


def test_what_is_unlikely_to_be_meant_is_said_when_the_horizon_is_known():
    optimizer = adana.ADana([parameter()], lr=0.01, weight_decay=0.1)  # and not earlier
    with pytest.warns(UserWarning, match=r"coupled \* lr \* total_steps = 100 here"):
        optimizer.set_horizon(100_000)


def test_a_checkpoint_brings_the_horizon_to_an_optimizer_without_one():
    p, twin = parameter(), parameter()
    saved = adana.ADana([p], lr=0.01, total_steps=LONG)
    p.grad = torch.ones_like(p)
    saved.step()
    optimizer = adana.ADana([twin], lr=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.load_state_dict(saved.state_dict())
    assert optimizer.param_groups[0]["total_steps"] == LONG


def first_step(name, **options):
    p = parameter()
    optimizer = build(name, [p], lr=0.01, **options)
    p.grad = torch.ones_like(p)
    optimizer.step()


@pytest.mark.parametrize("name", NO_HORIZON_NEEDED)
def test_no_horizon_is_asked_for_that_nothing_needs(name):
    build(name, [parameter()], lr=0.01, weight_decay=0.0)
    build(name, [parameter()], lr=0.01, weight_decay=0.0, decay="constant")
    build(name, [parameter()], lr=0.01, weight_decay_offset=50)


@pytest.mark.parametrize("name", [name for name in CLASSES if "damping" in takes(name)])
def test_linear_damping_without_a_horizon_says_what_to_pass(name):
    options = {"weight_decay": 0.0} if name in DECAYING else {}
    with pytest.raises(ValueError, match=r"total_steps\*\*-kappa: pass total_steps"):
        first_step(name, damping="linear", **options)


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0)], ids=["number", "tensor"])
def test_lr_zero_cannot_be_the_peak_that_scales_decay(name, lr):
    with pytest.raises(ValueError, match=r"lr=.*0.*pass peak_lr"):
        build(name, [parameter()], lr=lr, total_steps=LONG)
    build(name, [parameter()], lr=lr, total_steps=LONG, peak_lr=0.01)
    build(name, [parameter()], lr=lr, total_steps=LONG, weight_decay=0.0)


RELEASED = [name for name in CLASSES if "form" in takes(name)]
NOT_RELEASED = {"beta1": 0.9, "eps_root": 1e-8, "beta2": 0.9, "beta3": 0.9, "damping": "linear", "cooldown": 0.2}


@pytest.mark.parametrize(
    ("option", "value"), [*NOT_RELEASED.items(), ("damping", "nesterov"), ("gradient_term", False)]
)
def test_the_released_form_has_none_of_the_ablations(option, value):
    with pytest.raises(ValueError, match=rf"released.*{option}={value!r}"):
        adana.ADana([parameter()], lr=0.01, total_steps=LONG, form="released", **{option: value})


def test_the_released_form_names_every_option_it_lacks():
    with pytest.raises(
        ValueError, match=r"beta1=0.9, beta2=0.9, beta3=0.9, damping='linear', cooldown=0.2, eps_root=1e-08"
    ):
        adana.ADana([parameter()], lr=0.01, total_steps=LONG, form="released", **NOT_RELEASED)


def test_only_the_four_published_rules_have_a_released_form():
    assert RELEASED == ["adana", "dana-mk4", "dana-star", "dana-star-mk4"]


@pytest.mark.parametrize("options", [{"damping_scale": 2.0}, {"damping_scale": 0.5}], ids=repr)
@pytest.mark.parametrize("name", [name for name in CLASSES if "damping" in takes(name)])
def test_nesterov_damping_takes_no_scale(name, options):
    with pytest.raises(ValueError, match=f"damping_scale.*{options['damping_scale']}"):
        build(name, [parameter()], lr=0.01, total_steps=LONG, damping="nesterov", **options)


def test_a_short_average_of_a_gradient_that_is_dropped_is_refused():
    with pytest.raises(ValueError, match=r"beta3.*gradient_term"):
        adana.ADana([parameter()], lr=0.01, total_steps=LONG, beta3=0.9, gradient_term=False)


@pytest.mark.parametrize("horizon", [8.0, 7, 1])
def test_ademamix_needs_a_horizon_above_delta(horizon):
    with pytest.raises(ValueError, match=f"total_steps must be above delta=8.0, got {horizon!r}"):
        adana.AdEMAMix([parameter()], lr=0.01, total_steps=horizon, weight_decay=0.0)
    muon = functools.partial(adana.Muon, lr=0.01, weight_decay=0.0, fallback=adana.AdEMAMix)
    with pytest.raises(ValueError, match=f"got {horizon!r}"):
        muon([{"params": [parameter()], "kind": "head"}], total_steps=horizon)


def test_ademamix_says_which_of_its_numbers_is_missing():
    with pytest.raises(TypeError, match="total_steps"):
        adana.AdEMAMix([parameter()], lr=0.01)
    with pytest.raises(ValueError, match=r"total_steps.*None"):
        adana.AdEMAMix([parameter()], lr=0.01, total_steps=None, weight_decay=0.0)
    for option in ("beta2", "beta3"):
        with pytest.raises(ValueError, match=f"{option}.*None"):
            adana.AdEMAMix([parameter()], lr=0.01, total_steps=LONG, **{option: None})
    with pytest.raises(ValueError, match=r"beta3.*0\.0"):
        adana.AdEMAMix([parameter()], lr=0.01, total_steps=LONG, beta3=0.0)


def test_muon_wants_to_know_which_matrices_are_hidden():
    with pytest.raises(ValueError, match=r"adana\.param_groups\(model\).*kind='hidden'"):
        adana.Muon([parameter()], lr=0.01, total_steps=LONG)
    with pytest.raises(ValueError, match=r"kind must be one of .*'hidden'.* got 'matrix'"):
        adana.Muon([{"params": [parameter()], "kind": "matrix"}], lr=0.01, total_steps=LONG)


def test_muon_refuses_a_hidden_group_of_mixed_shapes():
    mixed = [parameter(), torch.nn.Parameter(torch.ones(3))]
    with pytest.raises(ValueError, match="mixes matrices"):
        adana.Muon([{"params": mixed, "kind": "hidden"}], lr=0.01, total_steps=LONG)


def test_a_fallback_is_refused_an_option_it_does_not_have():
    with pytest.raises(ValueError, match="AdamW has no option kappa"):
        adana.Muon([torch.nn.Parameter(torch.ones(3))], lr=0.01, total_steps=LONG,
                   fallback=functools.partial(adana.AdamW, kappa=0.5))  # fmt: skip
    with pytest.raises(ValueError, match=r"lr.*fallback_lr"):
        adana.Muon([torch.nn.Parameter(torch.ones(3))], lr=0.01, total_steps=LONG,
                   fallback=functools.partial(adana.AdamW, lr=0.5))  # fmt: skip


def test_a_bad_option_of_the_fallback_is_refused():
    vector = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match=r"betas\[0\].*1\.5"):
        adana.Muon([vector], lr=0.01, total_steps=LONG, fallback=functools.partial(adana.AdamW, betas=(1.5, 0.9)))
    with pytest.raises(ValueError, match="-1"):
        adana.Muon([vector], lr=0.01, total_steps=LONG, fallback_lr=-1.0)


def test_state_of_complex_parameters_must_have_a_complex_partner():
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))
    optimizer = adana.ADana([p], lr=0.01, total_steps=LONG, state_dtype=torch.bfloat16)
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match="bfloat16"):
        optimizer.step()


# --- what the decay in force is -----------------------------------------------------------------------


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize(
    ("options", "formula"),
    [
        ({}, f"lambda(t) = {OMEGA:g} / (100 + t)"),
        ({"weight_decay": 2.5, "weight_decay_offset": 30.0}, "lambda(t) = 2.5 / (30 + t)"),
        ({"decay": "constant"}, f"lambda = {OMEGA:g} / 1000"),
        ({"weight_decay": 0.0}, "none"),
    ],
    ids=["log", "offset", "constant", "none"],
)
def test_repr_shows_the_decay_in_force(name, options, formula):
    optimizer = build(name, [parameter()], total_steps=LONG, **options)
    assert f"decay in force: {formula}\n" in repr(optimizer)


def test_repr_shows_the_decay_of_every_group():
    groups = [{"params": [parameter()]}, {"params": [parameter()], "weight_decay": 0.0}]
    shown = repr(adana.ADana(groups, lr=0.01, total_steps=LONG))
    assert (
        shown.index(f"lambda(t) = {OMEGA:g} / (100 + t)")
        < shown.index("Parameter Group 1")
        < shown.index("force: none")
    )


# --- habits -------------------------------------------------------------------------------------------


@family
def test_the_defaults_warn_of_nothing(name, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = build(name, [parameter()], **{**options, "total_steps": LONG})
        optimizer.add_param_group({"params": [parameter()], "kind": "hidden"})
        optimizer.param_groups[0]["params"][0].grad = torch.ones(3, 3)
        optimizer.step()


@pytest.mark.parametrize("name", DECAYING)
def test_a_decay_that_looks_like_adamws_is_named_with_the_conversion(name):
    with pytest.warns(UserWarning, match="coupled") as caught:
        build(name, [parameter()], lr=0.002, total_steps=LONG, weight_decay=0.1)
    message = str(caught[0].message)
    assert len(caught) == 1
    assert "weight_decay=0.1" in message
    assert "omega = coupled * lr * total_steps = 0.2" in message


@pytest.mark.parametrize("omega", [0.0, 0.5, 4.0])
def test_a_decay_of_zero_or_of_half_and_more_is_taken_as_meant(omega):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build("adana", [parameter()], total_steps=LONG, weight_decay=omega)


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize(
    "options",
    [
        {"total_steps": 10, "weight_decay": 1.0},
        {"total_steps": LONG, "weight_decay_offset": 0.5},
        {"total_steps": 40, "weight_decay": 5},
    ],
    ids=["short", "offset", "strong"],
)
def test_a_decay_that_would_turn_signs_is_named(name, options):
    with pytest.warns(UserWarning, match="sign.*total_steps.*weight_decay_offset") as caught:
        build(name, [parameter()], **options)
    assert len(caught) == 1


def test_a_constant_decay_that_would_turn_signs_is_named():
    with pytest.warns(UserWarning, match="sign"):
        build("adana", [parameter()], total_steps=12, weight_decay=13, decay="constant")


def test_each_habit_is_named_once_an_optimizer_however_many_groups_have_it():
    def many() -> list[dict[str, Any]]:
        return [{"params": [parameter()]} for _ in range(20)]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = adana.ADana(many(), lr=0.01, total_steps=LONG, weight_decay=0.1, weight_decay_offset=0.05)
        optimizer.add_param_group({"params": [parameter()]})
        assert len(caught) == 2, "one of each kind"
        adana.ADana(many(), lr=0.01, total_steps=LONG, weight_decay=0.1)
        assert len(caught) == 3, "another optimizer is another matter"


def test_what_has_been_said_is_no_part_of_a_copy():
    with pytest.warns(UserWarning, match="coupled"):
        optimizer = adana.ADana([parameter()], lr=0.01, total_steps=LONG, weight_decay=0.1)
    twin = pickle.loads(pickle.dumps(optimizer))
    with pytest.warns(UserWarning, match="coupled"):
        twin.add_param_group({"params": [parameter()]})


def test_a_habit_is_named_at_the_line_that_built_the_optimizer():
    with pytest.warns(UserWarning, match="coupled") as caught:
        optimizer = adana.ADana([parameter()], lr=0.01, total_steps=LONG, weight_decay=0.1)
    line = inspect.currentframe().f_lineno - 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    with pytest.warns(UserWarning, match="sign") as caught:
        optimizer.add_param_group({"params": [parameter()], "weight_decay_offset": 0.05})
    line = inspect.currentframe().f_lineno - 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


def test_a_group_without_total_steps_still_shows_the_conversion():
    with pytest.warns(UserWarning, match=r"coupled \* lr \* total_steps\."):
        adana.ADana([parameter()], lr=0.01, weight_decay=0.1, weight_decay_offset=T)
