from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict, replace

import pytest

import adana.scaling
from adana.lab.sweep import row
from adana.models import EnokiConfig, flops_per_token, horizon
from adana.scaling import fitting, grouping, plan
from adana.scaling.plans import recipe_fields
from adana.scaling.reading import read_runs
from adana.scaling.runs import common_horizon
from adana.train.folder import read_result, write_result
from adana.train.run import Recipe, Result


def csv_file(tmp_path, *lines):
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run_folder(folder, recipe, loss):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"recipe": asdict(recipe), "versions": {}}))
    if loss != "unfinished":
        result = Result(loss, None if loss else 7, [], [], 1.0, "abc")
        write_result(folder, recipe, result)


def test_heads_and_arch_give_sizes_and_compute(tmp_path):
    path = csv_file(
        tmp_path, "# where from", "arch,heads,optimizer,final_loss,tokens_per_parameter", "enoki,6,adamw,3.85,20"
    )
    (run,) = read_runs([path])
    config = EnokiConfig(6)
    assert run.tokens == horizon(config)
    assert run.size == config.non_embedding_parameters
    for name, formula in (("6p", "6P"), ("6n", "6N"), ("m", "M")):
        assert run.pfh(name) == pytest.approx(horizon(config) * flops_per_token(config, formula=formula) / 3.6e18)


def test_what_a_file_says_itself_comes_first(tmp_path):
    path = csv_file(
        tmp_path,
        "arch,heads,optimizer,final_loss,tokens,flops_6n,non_embedding_parameters,total_parameters",
        "enoki,6,adamw,3.85,1e9,7.2e18,1e6,2e6",
    )
    (run,) = read_runs([path])
    assert run.pfh("6n") == 2
    assert run.size == 1e6
    assert str(common_horizon([run])) == "500 tokens per total parameter"


def test_an_empty_kappa_is_the_optimizers_default_in_a_table_and_in_a_folder(tmp_path):
    path = csv_file(tmp_path, "optimizer,kappa,final_loss", "adana,,3", "adana,0.85,3", "adana,0.75,3", "adamw,,3")
    run_folder(tmp_path / "one", Recipe("adana", 1e-3, {}, steps=100), 1.5)
    runs = read_runs([path, tmp_path / "one"])
    assert [run.kappa for run in runs] == [0.85, 0.85, 0.75, None, 0.85]
    assert runs[0].keywords == runs[1].keywords == runs[4].keywords == {"kappa": 0.85}


def test_steps_and_batch_give_the_tokens(tmp_path):
    path = csv_file(tmp_path, "optimizer,final_loss,steps,batch_tokens", "adamw,3.0,100,1000")
    assert read_runs([path])[0].tokens == 1e5


def test_an_empty_loss_is_a_diverged_run(tmp_path):
    path = csv_file(tmp_path, "optimizer,final_loss", "adamw,", "adamw,inf", "adamw,3.0")
    assert [run.final_loss for run in read_runs([path])] == [math.inf, math.inf, 3.0]


def test_run_folders_are_read_as_they_are_left_and_unfinished_ones_passed_over(tmp_path):
    recipe = Recipe("adana", 2**-9, {"kappa": 0.8, "weight_decay": 2.0}, heads=1, steps=100)
    run_folder(tmp_path / "runs" / "one", recipe, 1.5)
    run_folder(tmp_path / "runs" / "two", recipe, None)
    run_folder(tmp_path / "runs" / "three", recipe, "unfinished")
    one, two = read_runs([tmp_path / "runs"])
    assert (one.final_loss, two.final_loss) == (1.5, math.inf)
    assert one.label == "adana (kappa 0.8)"
    assert (one.lr, one.tokens, one.steps) == (2**-9, recipe.tokens, 100)
    assert one.flops["6n"] == recipe.flops
    assert '"weight_decay": 2.0' in one.setting
    assert "kappa" not in one.setting


def test_omega_is_told_from_the_other_settings(tmp_path):
    path = csv_file(tmp_path, "optimizer,final_loss,weight_decay,options", "a,3,4,x=1; y=2", "a,3,four,", "a,3,,x=1")
    found = [(run.weight_decay, run.options) for run in read_runs([path])]
    assert found == [(4.0, "x=1; y=2"), (None, "weight_decay=four"), (None, "x=1")]
    options = {"kappa": 0.8, "weight_decay": 2.0, "clip_snr": 1.0}
    run_folder(tmp_path / "one", Recipe("dana-mk4", 1e-3, options, steps=100), 1.5)
    (run,) = read_runs([tmp_path / "one"])
    assert (run.weight_decay, run.options) == (2.0, "clip_snr=1.0")


def test_a_linear_damping_is_read_as_the_constant_before_the_step(tmp_path):
    options = {"damping": "linear", "damping_scale": 2.0, "kappa": 0.5}
    run_folder(tmp_path / "one", Recipe("adana", 1e-3, options, steps=100), 1.5)
    (run,) = read_runs([tmp_path])
    assert run.linear_damping == pytest.approx(0.2)


def test_a_run_folder_says_what_it_really_is(tmp_path):
    sizes = {"heads": 2, "vocab_size": 256}
    run_folder(tmp_path / "1", Recipe("adana", 1e-3, {}, head_dim=16, **sizes), 1.5)
    run_folder(tmp_path / "2", Recipe("adana", 1e-3, {}, arch="qwen3", steps=None, **sizes), 1.5)
    run_folder(tmp_path / "3", Recipe("adamw", 1e-3, {}, experts=4, active=2, layers=3, **sizes), 1.5)
    run_folder(tmp_path / "4", Recipe("adana", 1e-3, {}, anytime=True, clip_norm=1.0, **sizes), 1.5)
    runs = read_runs([tmp_path])
    assert [run.model for run in runs] == [
        "enoki with a vocabulary of 256, heads of 16",
        "qwen3 with a vocabulary of 256",
        "enoki with a vocabulary of 256, 4 experts of which a token uses 2, layers not by the rule",
        "enoki with a vocabulary of 256",
    ]
    assert [run.kappa for run in runs] == [0.85, 0.85, None, 0.85]
    assert runs[1].steps == Recipe(arch="qwen3", steps=None, **sizes).total_steps
    assert runs[1].tokens == pytest.approx(20 * runs[1].total_parameters, rel=0.01)
    # Experts that a token does not use are parameters, and no compute.
    assert runs[2].flops["6p"] < 6 * runs[2].size * runs[2].tokens
    assert (runs[3].settings["anytime"], runs[3].settings["clip_norm"]) == (True, 1.0)
    assert runs[3].setting != runs[0].setting


def test_runs_on_different_texts_are_never_fitted_together(tmp_path):
    for heads in (1, 2, 3):
        recipe = Recipe("adana", 1e-3, {}, heads=heads, steps=None, vocab_size=256)
        run_folder(tmp_path / str(heads), recipe, 1.5)
    other = replace(read_result(tmp_path / "3"), corpus_sha256="other")
    write_result(tmp_path / "3", recipe, other)
    for fit in (fitting.learning_rate_law, fitting.loss_law, fitting.multipliers):
        with pytest.raises(ValueError, match=r"mixed texts: .* and .*3 were measured on different text"):
            fit(read_runs([tmp_path]))


def test_a_plan_finds_the_law_of_run_folders_and_their_settings(tmp_path):
    options = {"weight_decay": 1.0, "betas": [0.9, 0.99]}
    for name, own in (("adana", {"weight_decay": 1.0}), ("adamw-dw", options)):
        for heads in (1, 2, 3):
            for lr in (1e-3, 2e-3, 4e-3):
                recipe = Recipe(name, lr, own, heads=heads, head_dim=16, steps=None, vocab_size=256)
                run_folder(tmp_path / f"{name}-{heads}-{lr}", recipe, 2 - 0.1 * heads + (lr * 100 - 0.2) ** 2)
    law = fitting.learning_rate_law(read_runs([tmp_path]), bootstrap=5)
    shared = {"head_dim": 16, "vocab_size": 256, "seq_len": 256, "batch_tokens": 1024, "laws": [law]}
    found = plan(4, "adana", **shared)
    assert found.lr_source.startswith("your fit")
    assert (found.kappa, found.weight_decay, found.damping_scale, found.options) == (0.85, 1.0, 1.0, {})
    assert not [warning for warning in found.warnings if "not" in warning and "extrapolated" not in warning]
    assert plan(4, "adamw-dw", **shared).options == {"betas": [0.9, 0.99]}
    assert recipe_fields(plan(4, "adamw-dw", **shared))["options"] == options
    larger = plan(4, "adana", **(shared | {"batch_tokens": 4096}))
    assert larger.damping_scale == pytest.approx(4**0.33)
    assert any("your law was fitted at 1,024 tokens per step, not 4,096" in warning for warning in larger.warnings)
    assert plan(4, "adana", **(shared | {"head_dim": 64})).warnings[0].startswith("lr: your law was fitted on enoki")


REFUSED = [
    (("lr,loss", "1e-3,3"), "no column optimizer and no column final_loss; it has lr, loss"),
    (("optimizer,final_loss",), "no rows"),
    (("optimizer,final_loss", "adamw,nan"), "row 1: final_loss is NaN: leave it empty"),
    (("optimizer,final_loss", "adamw,3", "adamw,abc"), "row 2: final_loss is 'abc'"),
    (("optimizer,final_loss", ",3"), "row 1: optimizer is empty"),
    (("optimizer,final_loss,lr", "adamw,3,-1"), "lr must be a number above 0, got -1"),
    (("optimizer,final_loss,lr", "adamw,3,nan"), "lr must be a number above 0, got nan"),
    (("optimizer,final_loss,arch,heads", "adamw,3,llama,6"), "unknown architecture 'llama': choose from enoki, qwen3"),
    (("optimizer,final_loss,arch,heads", "adamw,3,enoki,6.5"), "row 1: heads must be a whole number, got 6.5"),
    (
        ("optimizer,final_loss,arch,heads", "adamw,3,enoki,1e9"),
        r"row 1: 1000000000 heads .* more than 2\^60 parameters",
    ),
    (("optimizer,final_loss,seed", "adamw,3,0.5"), "row 1: seed must be a whole number, got 0.5"),
    (("optimizer,final_loss", "adamw,3", "adamw,3,14"), "row 2: more cells than columns"),
    (("optimizer,final_loss", "adamw,3", "adamw"), "row 2: fewer cells than columns"),
    (("optimizer,final_loss,optimizer", "adamw,3,adana"), "has the column optimizer twice"),
    (("optimizer,final_loss,stopped_at", "adamw,3,7"), "every run was given up"),
]


@pytest.mark.parametrize(("lines", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_file_is_refused_by_line_and_value(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_runs([csv_file(tmp_path, *lines)])


def test_a_folder_without_runs_and_a_folder_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        read_runs([tmp_path])
    (tmp_path / "run.json").write_text('{"recipe": {"colour": "red"}}')
    with pytest.raises(ValueError, match="not a run of this version"):
        read_runs([tmp_path])


@pytest.mark.parametrize("loss", [math.nan, math.inf, -1.5, "1.5"])
def test_a_folder_whose_loss_is_no_number_above_0_is_refused(tmp_path, loss):
    run_folder(tmp_path / "one", Recipe("adana", 1e-3, {}, steps=100), loss)
    with pytest.raises(ValueError, match=r"one: .*result.json is damaged \(final_loss must be a number"):
        read_runs([tmp_path])


def rows(tmp_path, text):
    return read_runs([csv_file(tmp_path, *text.split())])


def test_mixed_horizons_are_refused_and_one_can_be_chosen(tmp_path):
    runs = rows(
        tmp_path,
        "optimizer,final_loss,total_parameters,tokens a,3,1e6,2e7 a,2.9,1e6,4e7 a,2.8,2e6,4e7 a,2.7,2e6,8e7",
    )
    with pytest.raises(ValueError, match=r"mixed horizons: 20 to 40 tokens per parameter.*--tokens-per-parameter"):
        common_horizon(runs)
    chosen = grouping.select(runs, tokens_per_parameter=20)
    assert [run.final_loss for run in chosen] == [3, 2.8]
    assert common_horizon(chosen).tokens_per_parameter == pytest.approx(20)
    with pytest.raises(ValueError, match="no runs of 30 tokens per parameter; the runs have 20, 40"):
        grouping.select(runs, tokens_per_parameter=30)


def test_one_budget_for_all_sizes_is_a_horizon_too(tmp_path):
    runs = rows(tmp_path, "optimizer,final_loss,total_parameters,tokens a,3,1e6,2e7 a,2.9,2e6,2e7")
    assert str(common_horizon(runs)) == "2e+07 tokens at every size"


def test_no_horizon_and_no_way_to_tell_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no token horizon: add the column tokens"):
        common_horizon(rows(tmp_path, "optimizer,final_loss a,3"))
    with pytest.raises(ValueError, match=r"mixed horizons.*add the column total_parameters"):
        common_horizon(rows(tmp_path, "optimizer,final_loss,tokens a,3,1e6 a,3,2e6"))


def test_seeds_are_averaged_and_the_best_setting_counts(tmp_path):
    runs = rows(
        tmp_path,
        "optimizer,lr,seed,weight_decay,final_loss,non_embedding_parameters,flops_6n"
        " a,1e-3,0,4,3.0,1e6,3.6e18 a,1e-3,1,4,3.2,1e6,3.6e18 a,1e-3,0,1,2.9,1e6,3.6e18 a,1e-3,1,1,3.5,1e6,3.6e18"
        " a,2e-3,0,4,,1e6,3.6e18",
    )
    assert grouping.sweeps_of(runs) == {1e6: {1e-3: pytest.approx(3.1), 2e-3: math.inf}}
    assert grouping.ladder_of(runs, "6n") == {1.0: [3.0, 3.2]}


SETTINGS = [
    {"seq_len": 128, "batch_size": 8},
    {"validation_tokens": 512},
    {"clip_norm": 1.0},
    {"embedding_dim": 60},
    {"mlp_dim": 200},
    {"order": "permuted"},
    {"warmup_steps": 7},
    {"evaluations": 3},
    {"options": {"weight_decay": 1.0}},
    {"options": {"eps": 1e-6}},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_runs_of_two_settings_are_never_averaged_whether_from_folders_or_from_a_table(changes, tmp_path):
    base = Recipe("adamw", 1e-3, {"weight_decay": 4.0}, heads=1, vocab_size=256, steps=40)
    recipes = [base, replace(base, seed=1), replace(base, seed=2, **changes)]
    lines = []
    for recipe, loss in zip(recipes, (1.5, 1.7, 1.9)):
        run_folder(tmp_path / "runs" / f"{recipe.seed}", recipe, loss)
        lines.append(row(recipe, read_result(tmp_path / "runs" / f"{recipe.seed}")))
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    folders, table = read_runs([tmp_path / "runs"]), read_runs([tmp_path / "runs.csv"])
    for runs in (folders, table):
        assert [run.setting == runs[0].setting for run in runs] == [True, True, False]
        assert fitting.ladder_of(runs, "6n")[runs[0].pfh("6n")] == [1.5, 1.7]
        assert all(run.text == "abc" for run in runs)
    assert [run.setting for run in folders] == [run.setting for run in table], "a table says what its folders say"
    assert [run.options for run in folders] == [run.options for run in table]


def test_what_differs_between_runs_of_one_size_is_said(tmp_path):
    base = Recipe("adamw", 1e-3, {"eps": 1e-6}, heads=1, vocab_size=256, steps=40)
    for seed, recipe in enumerate((base, replace(base, clip_norm=1.0), replace(base, heads=2, clip_norm=1.0))):
        run_folder(tmp_path / str(seed), recipe, 1.5)
    assert [run.options for run in read_runs([tmp_path])] == [
        "eps=1e-06, clip_norm=0.5",
        "eps=1e-06, clip_norm=1.0",
        "eps=1e-06",
    ]


def test_settings_in_a_table_are_values_whichever_way_they_are_written(tmp_path):
    path = csv_file(
        tmp_path,
        "optimizer,weight_decay,options,clip_norm,final_loss,lr",
        "a,1,,1,3,1",
        "a,1.0,{},1.00,3,2",
        'a,,"{""weight_decay"":1}",1e0,3,3',
        'a,1,"{""b"": 2, ""a"": [0, 1.0]}",1,3,4',
        'a,1,"{""a"":[0.0,1],""b"":2.0}",1.0,3,5',
        "a,1,words,1,3,6",
        "a,1, words ,1,3,7",
        "a,2,,1,3,8",
        "a,1,,2,3,9",
    )
    runs = read_runs([path])
    assert [
        [run.lr for run in runs if run.setting == setting] for setting in dict.fromkeys(r.setting for r in runs)
    ] == [
        [1, 2, 3],
        [4, 5],
        [6, 7],
        [8],
        [9],
    ]
    assert repr(runs[3].keywords) == repr(runs[4].keywords), "a run that is there twice is told by what it prints as"


def test_one_run_twice_is_refused_and_seeds_are_not_taken_for_it(tmp_path):
    columns = "optimizer,lr,seed,final_loss,flops_6n"
    for twice in ("a,1e-3,0,3,1 a,1e-3,0,3,1", "a,1e-3,0,3,1 a,1e-3,0,2.9,1", "a,1e-3,,3,1 a,1e-3,,3,1"):
        with pytest.raises(ValueError, match=r"row 1 and .*row 2 are one run twice: take one out"):
            fitting.multipliers(rows(tmp_path, f"{columns} {twice}"), baseline="a")
    apart = "a,1e-3,0,3,1 a,1e-3,1,3,1 a,2e-3,,3,1 a,2e-3,,2.9,1 a,4e-3,,,1 a,4e-3,,,1 a,1e-3,0,2.8,2 b,1e-3,0,3,1"
    assert fitting.multipliers(rows(tmp_path, f"{columns} {apart}"), baseline="a").rows[0].label == "b"


def test_a_damping_takes_the_best_learning_rate_and_the_mean_over_seeds(tmp_path):
    lines = [
        f"a,{lr},{seed},{c},{steps},65536,7e6,{'' if lr == 1e-2 else 3 + bonus + (math.log2(c * steps) - 4) ** 2}"
        for steps in (2**10, 2**12, 2**14)
        for c in (2**-14, 2**-12, 2**-10, 2**-8, 2**-6, 2**-4)
        for lr, bonus in ((1e-3, 0.0), (2e-3, 1.0 if c < 2**-9 else 0.1), (1e-2, 0.0))
        for seed in (0, 1)
    ]
    columns = "optimizer,lr,seed,linear_damping,steps,batch_tokens,non_embedding_parameters,final_loss"
    (law,) = fitting.damping_law(rows(tmp_path, " ".join([columns, *lines])), bootstrap=5).laws
    assert [point.best * point.steps for point in law.fit.points] == pytest.approx([16] * 3)
    assert law.fit.kappa == pytest.approx(1)


def test_an_unknown_optimizer_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no runs of 'sgd': choose from a"):
        grouping.select(rows(tmp_path, "optimizer,final_loss a,3"), optimizers=["sgd"])


@pytest.mark.parametrize("name", adana.scaling.__all__)
def test_every_name_of_the_package_is_where_it_is_looked_for(name):
    assert getattr(adana.scaling, name).__name__ == name
