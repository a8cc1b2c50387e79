from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adana import schedules
from adana.catalog import OPTIMIZERS, trainable
from adana.models import EnokiConfig, build, count, flops_per_token
from adana.scaling import plan
from adana.scaling.fits import DampingLaws, from_json
from adana.scaling.planning import VARIANTS
from adana.train.optimizers import build_optimizer
from tests.models.tables import TABLE_1, TABLE_7, as_printed

GOLDEN_LR = [
    ("adamw", None, "", 1.91e-4, "eq. (39)"),
    ("ademamix", None, "", 8.70e-5, "eq. (41)"),
    ("muon", None, "", 2.70e-4, "eq. (42)"),
    ("dana-star-mk4", 0.75, "", 2.6e-5, "eq. (43)"),
    ("dana-mk4", 0.85, "", 3.06e-5, "eq. (49)"),
    ("dana-mk4", 0.75, "", 1.30e-5, "eq. (40)"),
]


@pytest.mark.parametrize(("optimizer", "kappa", "variant", "lr", "source"), GOLDEN_LR)
def test_the_learning_rates_at_40_heads(optimizer, kappa, variant, lr, source):
    found = plan(40, optimizer, kappa=kappa, variant=variant)
    assert found.lr == pytest.approx(lr, rel=0.01)
    assert found.lr_source == source
    assert found.lr_low < found.lr < found.lr_high
    assert any("lr is extrapolated" in warning and "up to 41" in warning for warning in found.warnings)


def test_sizes_steps_and_compute_are_the_papers_tables():
    for heads, total, non_embedding, tokens, compute in TABLE_7:
        found = plan(heads, "adamw")
        assert as_printed(found.total_parameters, total) == total
        assert as_printed(found.non_embedding_parameters, non_embedding) == non_embedding
        assert as_printed(found.tokens, tokens) == tokens
        assert as_printed(found.pf_days, compute) == compute or heads == 12  # Table 7's own slip
    for _, layers, heads, _, compute in TABLE_1:
        found = plan(heads, "adamw")
        assert (found.layers, as_printed(found.pfh, compute)) == (layers, compute)
    assert plan(6).steps == 13950
    assert plan(6, batch_tokens=256 * 2048).steps == 1743
    assert plan(24, batch_tokens=256 * 2048).steps == 25335


def test_flops_are_of_the_whole_run_by_each_formula():
    found, config = plan(8), EnokiConfig(8)
    for value, formula in ((found.flops_6p, "6P"), (found.flops_6n, "6N"), (found.flops_m, "M")):
        assert value == found.tokens * flops_per_token(config, formula=formula)
    assert found.model_parameters == count(config).model_parameters > found.total_parameters


def test_predicted_losses_are_the_tables_and_absent_elsewhere_with_a_reason():
    found = plan(40, "adamw")
    assert found.predicted_loss == pytest.approx(2.517, abs=1e-3)
    assert "Table 11" in found.predicted_loss_source
    assert found.predicted_loss_low < found.predicted_loss < found.predicted_loss_high
    assert plan(17, "dana-mk4", arch="qwen3").predicted_loss == pytest.approx(2.493, abs=0.03)
    for options, reason in [
        ({"optimizer": "adamw-dw"}, "has loss laws for adamw, adana"),
        ({"optimizer": "adana", "kappa": 0.75}, "for kappa 0.85, not 0.75"),
        ({"optimizer": "adana", "variant": "5"}, "leave out variant 5"),
        ({"optimizer": "adana", "batch_tokens": 1048576}, "for 65,536 tokens per step"),
        ({"optimizer": "adana", "tokens_per_parameter": 100}, "for 20 tokens per parameter, not 100"),
        ({"optimizer": "ademamix", "arch": "qwen3"}, "qwen3 has loss laws for"),
    ]:
        missing = plan(12, **options)
        assert missing.predicted_loss is None
        assert missing.predicted_loss_low is None
        assert reason in missing.predicted_loss_source


def test_there_is_no_silent_nearest_law():
    for options, reason in [
        ({"optimizer": "dana-star"}, "no learning-rate law for dana-star on enoki"),
        ({"optimizer": "muon", "arch": "qwen3"}, "no learning-rate law for muon on qwen3"),
        ({"optimizer": "ademamix", "arch": "qwen3"}, "no learning-rate law for ademamix on qwen3"),
        ({"optimizer": "adana", "kappa": 0.83}, "for kappa 0.75, 0.8, 0.85, 0.9, not 0.83"),
        ({"optimizer": "adana", "head_dim": 32}, "the laws are of the paper's sizes: you have heads of 32, not 64"),
    ]:
        missing = plan(12, **options)
        assert missing.lr is None
        assert missing.lr_low is None
        assert reason in missing.lr_source
        assert (
            f"this plan cannot be run as it is: no learning rate to write into a recipe ({missing.lr_source})"
            in (missing.warnings[-1])
        )


NEAREST = [
    ("adana", 0.85, 524_288, 1_048_576),  # nearer by ratio; 65,536 is nearer by distance
    ("adana", 0.85, 262_144, 65_536),  # equally near by ratio: the smaller batch
    ("adana", 0.85, 262_145, 1_048_576),
    ("adana", 0.85, 1_024, 65_536),
    ("adana", 0.85, 8_388_608, 1_048_576),
    ("adana", 0.75, 1_048_576, 65_536),
    ("muon", None, 131_072, 65_536),
]


@pytest.mark.parametrize(("optimizer", "kappa", "batch", "nearest"), NEAREST)
def test_another_batch_takes_the_law_that_is_nearest_in_ratio_and_says_so(optimizer, kappa, batch, nearest):
    found, there = (plan(12, optimizer, kappa=kappa, batch_tokens=tokens) for tokens in (batch, nearest))
    assert (found.lr, found.lr_source) == (there.lr, there.lr_source)
    law = there.lr_source.removeprefix("eq. ")
    said = f"lr: no published law is for {batch:,} tokens per step; the nearest in ratio, {law}, is for {nearest:,}"
    assert said in found.warnings
    assert not any("nearest in ratio" in warning for warning in there.warnings)


def test_the_laws_of_batch_512_come_with_their_damping():
    found = plan(24, "adana", batch_tokens=512 * 2048)
    assert found.lr == pytest.approx(85.3 * (3.04e4 + 509607936) ** -0.654)
    assert found.damping_scale == pytest.approx(2.5, rel=0.01)
    assert "H.3" in found.lr_source
    assert not any("damping_scale" in warning for warning in found.warnings)


@pytest.mark.parametrize("sequences", [16, 1024])
def test_damping_outside_the_measured_batches_is_marked(sequences):
    found = plan(24, "adana", batch_tokens=sequences * 2048)
    assert found.damping_scale == pytest.approx((sequences / 32) ** 0.33)
    assert any("damping_scale is extrapolated" in warning for warning in found.warnings)
    assert plan(24, "adamw", batch_tokens=sequences * 2048).damping_scale is None


def test_sizes_and_horizons_outside_a_law_are_marked():
    assert any("6 to 24 heads, not 5" in warning for warning in plan(5, "adamw").warnings)
    assert any("predicted_loss is extrapolated" in warning for warning in plan(42, "adamw").warnings)
    assert any("at 100 a law in size alone" in w for w in plan(12, "adamw", tokens_per_parameter=100).warnings)
    assert any("kappa inferred" in warning for warning in plan(12, "dana-mk4", kappa=0.75).warnings)
    assert plan(12, "adamw").warnings == ()


def test_decay_and_warm_up_are_what_the_schedules_do():
    found = plan(6, "adana")
    assert (found.weight_decay, found.weight_decay_offset) == (4.0, 1395.0)
    assert found.warmup_steps == 279
    assert plan(6, "amcs").warmup_steps == 1395  # its own rule, a tenth of the run
    assert plan(6, "adamw").weight_decay_offset is None
    assert plan(6, "dana").weight_decay is None
    assert float(schedules.gamma(found.warmup_steps, found.steps)) == pytest.approx(1.0)
    assert float(schedules.gamma(found.warmup_steps * 0.9, found.steps)) < 1


STATES = [(name, "") for name in trainable()] + [("adana", v) for v in VARIANTS]


@pytest.mark.parametrize(("name", "variant"), STATES, ids=["".join(row) for row in STATES])
def test_the_state_is_as_large_as_the_optimizer_really_makes_it(name, variant):
    config = EnokiConfig(2, vocab_size=64)
    model = build(config)
    optimizer = build_optimizer(name, model, lr=1e-3, total_steps=100, options=VARIANTS.get(variant, {}))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    # The steps are one number a parameter.
    made = 0
    stack = [optimizer.state_dict()["state"]]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, torch.Tensor) and value.numel() > 1:
            made += value.numel()
    assert plan(2, name, variant=variant, vocab_size=64).state_bytes["float32"] == 4 * made


def test_every_optimizer_can_be_planned_and_trained():
    assert trainable() == tuple(OPTIMIZERS)


def test_memory_and_hours_add_up():
    found = plan(40, "adana", flops_per_second=1e15)
    assert found.weights_bytes == found.gradients_bytes == 4 * found.model_parameters
    a_parameter = {dtype: size / found.model_parameters for dtype, size in found.state_bytes.items()}
    assert a_parameter == pytest.approx({"float32": 8, "bfloat16": 4, "int16": 4.03125})
    assert found.gpu_hours == pytest.approx(found.pfh)
    assert plan(40, "adamw").gpu_hours == pytest.approx(626, rel=0.05)  # Table 17


def test_every_number_of_a_plan_has_its_equation():
    found = plan(12)
    numbers = {name for name, value in vars(found).items() if isinstance(value, int | float)}
    without = numbers - set(found.equations)
    assert without <= {
        *("heads", "vocab_size", "seq_len", "kappa", "tokens_per_parameter", "batch_tokens", "flops_per_second"),
        *("lr_low", "lr_high", "predicted_loss_low", "predicted_loss_high"),
    }


def evaluated(equation, values):
    """An equation of a plan as a number: what stands before a comma or the number of the paper's equation."""
    formula = re.sub(r"(?<=\d),(?=\d)", "", equation.removeprefix("your fit: "))
    formula = re.sub(r"( \((\d\d\)|Table|[A-Z]\.)|, ).*", "", formula)
    for words, code in (("total parameters", "total"), ("FLOP/s", "speed"), (" x ", " * "), ("^", "**")):
        formula = formula.replace(words, code)
    return eval(re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", formula), dict(values))


@pytest.mark.parametrize("arch", ["enoki", "qwen3"])
def test_the_printed_equations_give_the_numbers_beside_them(arch):
    laws = [own(OWN_LOSS, b=0.4, c=0.2), own(OWN_LR)]
    for found, formula in ((plan(12, "adamw", arch=arch), "6n"), (plan(12, "adana", arch=arch, laws=laws), "6p")):
        values = {name: getattr(found, name) for name in ("heads", "layers", "width", "tokens", "flops_6p", "flops_6n")}
        values |= {"P": found.non_embedding_parameters, "total": found.total_parameters}
        values |= {"C": values[f"flops_{formula}"] / 3.6e18, "speed": found.flops_per_second}
        names = ["width", "hidden", "non_embedding_parameters", "total_parameters", "tokens", "pfh", "pf_days"]
        names += ["flops_6p", "flops_6n", "flops_m", "lr", "predicted_loss", "gpu_hours"]
        for name in names + ["model_parameters"] * (arch == "enoki"):
            assert evaluated(found.equations[name], values) == pytest.approx(getattr(found, name), rel=1e-12), name


def test_a_weight_decay_says_whether_it_is_given_the_papers_or_that_of_your_runs():
    mine = [own(OWN_LR, options={"weight_decay": 1.0})]
    for options, omega, source in [
        ({}, 4.0, "the paper's is 4"),
        ({"laws": mine}, 1.0, "as in the runs of your fit"),
        ({"laws": mine, "weight_decay": 2.0}, 2.0, "given"),
    ]:
        found = plan(12, "adana", **options)
        assert found.weight_decay == omega
        assert f"; {source}" in found.equations["weight_decay"]


def test_an_own_damping_scale_taken_outside_the_measured_batches_is_marked():
    for measured, wanted, marked in ((512.0, 4096, True), (65536.0, 1048576, False), (65536.0, 32768, True)):
        law = replace(own(OWN_LR, options={"damping_scale": 2.0}), batch_tokens=measured)
        found = plan(12, "adana", batch_tokens=wanted, laws=[law])
        assert found.damping_scale == pytest.approx(2 * (wanted / measured) ** 0.33)
        assert any("damping_scale is extrapolated" in warning for warning in found.warnings) == marked
    law = replace(law, batch_tokens=512.0)
    assert not any("damping_scale" in warning for warning in plan(12, batch_tokens=512, laws=[law]).warnings)
    short = plan(12, "adana", seq_len=512, lr=1e-3).warnings
    assert any("damping_scale is extrapolated" in w and "in sequences of 512" in w for w in short)


def test_another_vocabulary_or_sequence_is_counted_and_no_published_law_is_taken_for_it():
    found, config = plan(2, "adana", vocab_size=256, seq_len=512, batch_tokens=65536), EnokiConfig(2, vocab_size=256)
    assert found.total_parameters == config.total_parameters
    assert found.flops_m == found.tokens * flops_per_token(config, formula="M", seq_len=512)
    assert "256" in found.equations["total_parameters"]
    assert "512" in found.equations["flops_m"]
    assert found.predicted_loss is None
    assert any("a vocabulary of 256, not 50,304 and sequences of 512" in warning for warning in found.warnings)
    assert any(
        "fitted on enoki with a vocabulary of 256, not enoki with a vocabulary of 50,304" in warning
        for warning in plan(12, laws=[replace(own(OWN_LR), models=("enoki with a vocabulary of 256",))]).warnings
    )


OWN_LR = {
    "law": "lr",
    "horizon": "20 tokens per total parameter",
    "tokens_per_parameter": 20.0,
    "batch_tokens": 65536.0,
    "models": [],
    "laws": [
        {
            "optimizer": "adana",
            "kappa": 0.85,
            "options": {},
            "a": 1.0,
            "b": 0.0,
            "d": -0.5,
            "b_identified": False,
            "intervals": {"a": [0.9, 1.1], "b": None, "d": [-0.6, -0.4]},
            "loss": 0.0,
            "points": [],
            "unbracketed": [],
            "sizes": [1e6, 1e8],
            "samples": [[0.0, 0.0, -0.5], [0.1, 0.0, -0.5], [-0.1, 0.0, -0.5]],
        }
    ],
}
OWN_LOSS = {
    "law": "loss",
    "formula": "L = a + e C^-f",
    "compute": "6p",
    "horizon": "10 tokens per total parameter",
    "tokens_per_parameter": 10.0,
    "batch_tokens": None,
    "models": [],
    "form": "single",
    "exponents": "free",
    "saturation": 2.0,
    "noise": 0.01,
    "starts": {"tried": 1, "agreeing": 1},
    "laws": [
        {
            "optimizer": "adana",
            "kappa": 0.85,
            "a": 1.0,
            "e": 2.0,
            "f": 0.1,
            "b": None,
            "c": None,
            "r_squared": None,
            "intervals": {"a": [0.9, 1.1], "e": [1.9, 2.1], "f": [0.1, None]},
            "identified": {"a": True, "e": True, "f": False},
            "residuals": [{"pfh": 1e-3, "loss": 5.0, "residual": 0.0}, {"pfh": 1.0, "loss": 3.0, "residual": 0.0}],
            "samples": [[1.0, 2.0, 0.1], [1.1, 2.0, 0.1]],
        }
    ],
}


def own(fit, **law):
    """A fit from its JSON, with other numbers in its law."""
    return from_json(fit | {"laws": [fit["laws"][0] | law]}, "own.json")


def test_own_laws_come_before_the_published_ones_with_their_intervals():
    found = plan(12, "adana", laws=[own(OWN_LOSS), own(OWN_LR)])
    assert found.lr == pytest.approx(found.non_embedding_parameters**-0.5)
    assert found.lr_low < found.lr < found.lr_high
    assert "your fit" in found.lr_source
    compute = found.flops_6p / 3.6e18
    assert found.predicted_loss == pytest.approx(1 + 2 * compute**-0.1)
    assert found.predicted_loss < found.predicted_loss_high
    assert [warning for warning in found.warnings if "predicted_loss: your law was fitted at 10 tokens" in warning]
    assert not [warning for warning in found.warnings if warning.startswith("lr")]
    assert any("1e+08" in warning for warning in plan(40, "adana", laws=[own(OWN_LR)]).warnings)
    assert any(
        "65,536 tokens per step" in w for w in plan(12, "adana", laws=[own(OWN_LR)], batch_tokens=131072).warnings
    )


def test_a_plan_says_how_much_of_an_interval_is_doubt_about_the_form_of_the_law():
    alone = plan(12, "adana", laws=[own(OWN_LOSS)])
    power = [{"form": "power", "a": 0.0, "e": 2.9, "f": 0.08, "b": 0.0, "c": 0.0, "samples": []}]
    found = plan(12, "adana", laws=[own(OWN_LOSS, others=power)])
    assert found.predicted_loss_high - found.predicted_loss_low > alone.predicted_loss_high - alone.predicted_loss_low
    (said,) = [warning for warning in found.warnings if "other forms" in warning]
    assert f"{found.predicted_loss_low:.3f} to {found.predicted_loss_high:.3f} allows for other forms" in said
    assert said.endswith(f"right, {alone.predicted_loss_low:.3f} to {alone.predicted_loss_high:.3f}")
    assert not any("other forms" in warning for warning in alone.warnings)


def test_an_own_law_of_another_optimizer_or_kappa_is_not_used_and_that_is_said():
    other = plan(12, "adamw", laws=[own(OWN_LR)])
    assert other.lr_source == "eq. (39)"
    assert other.warnings == ("lr: your law is of adana (kappa 0.85), not of adamw: it is not used",)
    other = plan(12, "adana", kappa=0.75, laws=[own(OWN_LR), own(OWN_LOSS)])
    assert other.lr_source == "eq. (45)"
    assert [warning.partition(":")[0] for warning in other.warnings] == ["lr", "predicted_loss"]
    assert all("not of adana (kappa 0.75): it is not used" in warning for warning in other.warnings)
    (only,) = plan(12, "adana", variant="3", laws=[own(OWN_LR)]).warnings[:1]
    assert "not of adana (kappa 0.75) variant 3" in only


def test_of_two_own_laws_for_one_optimizer_the_first_is_used_and_that_is_said():
    found = plan(12, "adana", laws=[own(OWN_LR), own(OWN_LR, a=2.0)])
    assert found.lr == plan(12, "adana", laws=[own(OWN_LR)]).lr
    assert "lr: 2 of your laws are of adana (kappa 0.85): the first is used" in found.warnings
    assert not any("your laws" in warning for warning in plan(12, "adana", laws=[own(OWN_LR)]).warnings)


SPOILT = [
    (OWN_LR, "a", None, r"laws\[0\].a must be a number, got None"),
    (OWN_LR, "a", -1.0, r"laws\[0\]: a learning-rate law has a above 0 and b of at least 0, got a = -1.0"),
    (OWN_LR, "d", 500, r"laws\[0\]: math range error"),
    (OWN_LR, "sizes", [], r"laws\[0\]: a law needs sizes and samples, got an empty list"),
    (OWN_LR, "samples", [], r"laws\[0\]: a law needs sizes and samples, got an empty list"),
    (OWN_LR, "samples", [[0.0, 0.0]], r"laws\[0\].samples\[0\] must be a list of 3, got 2"),
    (OWN_LR, "options", {"weight_decay": "four"}, r"laws\[0\]: options.weight_decay must be a number, got 'four'"),
    (OWN_LR, "kappa", "high", r"laws\[0\].kappa must be a number, got 'high'"),
    (OWN_LOSS, "f", float("nan"), r"laws\[0\].f must be a finite number, got nan"),
    (OWN_LOSS, "residuals", [], r"laws\[0\]: a law needs residuals and samples, got an empty list"),
    (OWN_LOSS, "samples", [[1.0]], r"laws\[0\]: samples must be lists of 3 numbers, or 5 for a broken law"),
    (OWN_LOSS, "intervals", {"a": [1.0]}, r"laws\[0\].intervals.a must be a list of a lower and an upper end"),
]


@pytest.mark.parametrize(("fit", "name", "value", "message"), SPOILT, ids=[row[3] for row in SPOILT])
def test_an_own_law_that_cannot_be_read_is_refused_by_file_field_and_value(fit, name, value, message):
    with pytest.raises(ValueError, match=f"^own.json: {message}.*: make it again with `adana fit --law {fit['law']}"):
        own(fit, **{name: value})


NO_FITS = [
    ([1, 2], "it is not what `adana fit --json` prints"),
    ({"a": 1}, "it is not what `adana fit --json` prints"),
    ({"law": "square"}, "it is not what `adana fit --json` prints"),
    ({"law": "lr"}, "tokens_per_parameter is missing"),
    (OWN_LR | {"laws": 5}, "laws must be a list, got 5"),
    (OWN_LR | {"laws": []}, "laws must not be empty"),
    (OWN_LR | {"laws": [1]}, r"laws\[0\] must be an object, got 1"),
    (OWN_LR | {"laws": [{"optimizer": "adana", "kappa": 0.85}]}, r"laws\[0\].a is missing"),
    (OWN_LR | {"batch_tokens": "many"}, "batch_tokens must be a number, got 'many'"),
    (OWN_LR | {"tokens_per_parameter": None}, "a horizon has tokens_per_parameter or tokens, got neither"),
    (OWN_LOSS | {"compute": "7n"}, "compute must be '6n' or '6p' or 'm', got '7n'"),
]


@pytest.mark.parametrize(("data", "message"), NO_FITS, ids=[message for _, message in NO_FITS])
def test_what_is_no_fit_is_refused_by_file_and_field(data, message):
    with pytest.raises(ValueError, match=f"^own.json: {message}"):
        from_json(data, "own.json")


REFUSED = [
    ({"arch": "llama"}, "'llama': choose from enoki, qwen3"),
    ({"optimizer": "sgd"}, "'sgd': choose from adamw"),
    ({"optimizer": "adamw", "kappa": 0.85}, "adamw has no kappa, got 0.85"),
    ({"kappa": -1.0}, "kappa must be above 0"),
    ({"variant": "4"}, "variant must be 3, 5 or 7"),
    ({"optimizer": "adamw", "variant": "3"}, "of adana"),
    ({"vocab_size": 0}, "vocab_size must be a whole number of at least 1, got 0"),
    ({"seq_len": 0}, "seq_len must be above 0, got 0"),
    ({"heads": 0}, "heads must be a whole number of at least 1, got 0"),
    ({"heads": 10**6}, r"1000000 heads and 750000 layers make a model of more than 2\^60 parameters"),
    ({"layers": 10**15}, r"6 heads and 1000000000000000 layers"),
    ({"tokens_per_parameter": 1e300}, r"hours of 1e\+300 tokens per parameter"),
    ({"tokens_per_parameter": 1e308}, r"hours of 1e\+308 tokens per parameter"),
    ({"flops_per_second": 1e-320}, "choose fewer tokens or more FLOP/s"),
    ({"batch_tokens": 0}, "batch_tokens must be above 0, got 0"),
    ({"batch_tokens": 10**12}, "more than the whole run"),
    ({"tokens_per_parameter": -20}, "tokens_per_parameter must be above 0"),
    ({"flops_per_second": float("nan")}, "flops_per_second"),
    ({"weight_decay": -4.0}, "weight_decay"),
    ({"optimizer": "dana", "weight_decay": 1.0}, "dana has no weight decay, got 1.0"),
    ({"laws": [DampingLaws((), ())]}, "own law must be what `adana fit --law lr` or `adana fit --law loss` made"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_planned_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"heads": 6, **options})


@settings(max_examples=40, deadline=None)
@given(
    heads=st.integers(1, 20),
    arch=st.sampled_from(["enoki", "qwen3"]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    batch=st.sampled_from([65536, 524288, 1048576]),
    ratio=st.floats(5, 200),
)
def test_every_plan_is_whole(heads, arch, optimizer, batch, ratio):
    found = plan(heads, optimizer, arch=arch, batch_tokens=batch, tokens_per_parameter=ratio)
    assert found.steps == found.tokens // batch >= 1
    assert found.flops_6p < found.flops_6n
    assert (found.lr is None) == found.lr_source.startswith("none published")
    assert (found.predicted_loss is None) == found.predicted_loss_source.startswith("none published")
    for low, value, high in (
        (found.lr_low, found.lr, found.lr_high),
        (found.predicted_loss_low, found.predicted_loss, found.predicted_loss_high),
    ):
        assert value is None or low <= value <= high


def test_another_published_law_is_a_second_opinion_that_is_named_and_never_used():
    with_law, ours = plan(24, "adamw"), plan(24, "adana")
    assert ours.second_opinion is None
    opinion = with_law.second_opinion
    assert opinion.lr == pytest.approx(1.78 * with_law.non_embedding_parameters**-0.712 * with_law.tokens**0.307)
    assert with_law.lr_source == "eq. (39)"
    assert with_law.lr != pytest.approx(opinion.lr, rel=0.1)
    assert "not used" in str(opinion)
    assert "outside" not in str(opinion)
    small = plan(6, "adamw").second_opinion
    assert [axis.split(":")[0] for axis in small.outside] == ["size", "tokens"]


def test_a_plan_of_no_published_rate_does_not_take_the_second_opinions():
    found = plan(24, "adamw", layers=3)
    assert found.second_opinion is not None
    assert found.lr is None
