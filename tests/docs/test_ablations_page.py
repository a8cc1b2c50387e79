"""What docs/ablations.md says was measured is the raw results beside it, as rounded."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, table
from tests.docs.test_measured_tables import raw, words

PAGE = "docs/ablations.md"


@pytest.fixture
def benchmark(monkeypatch):
    """A script of benchmarks/ as a dictionary of its names."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield lambda name: runpy.run_path(str(ROOT / f"benchmarks/{name}.py"))
    for module in [name for name, one in sys.modules.items() if _beside_the_scripts(one)]:
        del sys.modules[module]


def _beside_the_scripts(module):
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).parent == ROOT / "benchmarks"


def test_alpha_without_kappa(benchmark):
    script = benchmark("damping_without_kappa")
    found = script["compared"](raw("damping-without-kappa")["rows"])
    worst = {
        (arm, n): max(p[arm] for s, p in found.items() if s[2] == n)
        for arm in found[0.6, 1, 2500]
        for n in script["STEPS"]
    }
    rows = table(PAGE, "rule | worst after")
    for name, *cells in rows:
        rule, number = name.split()
        assert cells == [f"{worst[(rule, float(number)), n]:.2f}" for n in script["STEPS"]]
    for rho, *cells in table(PAGE, "rho | batch 1, 2,500"):
        places = [found[float(rho), batch, n] for n in script["STEPS"] for batch in script["BATCHES"]]
        assert cells == [f"{script['best_kappa'](p):g}, {p['alignment', 2.0]:.2f}" for p in places]

    def most(rule, number):
        return max(worst[(rule, number), n] for n in script["STEPS"])

    assert f"within {most('alignment', 2.0):.2f} times" in words(PAGE)
    assert f"stay within {max(most('alignment', gain) for gain in (1.5, 2.0, 3.0)):.2f}" in words(PAGE)
    single = {number: most("kappa", number) for rule, number in found[0.6, 1, 2500] if rule == "kappa"}
    least = min(single, key=single.get)
    assert f"The best single kappa, {f'{least:g}'[1:]}, is within {single[least]:.1f}." in words(PAGE)
    small = max(p["alignment", 2.0] for s, p in found.items() if s[0] < 1)
    assert f"leads by up to {100 * (small - 1):.0f} %" in words(PAGE)


def test_learning_rates_of_alpha_without_kappa_are_inside_their_grid(benchmark):
    script, rows = benchmark("damping_without_kappa"), raw("damping-without-kappa")["rows"]
    found = script["compared"](rows)
    at_end = {"kappa": 0, "alignment": 0}
    for row in rows:
        best = script["best_kappa"](found[row["rho"], row["batch"], row["steps"]])
        if (row["rule"], row["number"]) in (("kappa", best), ("alignment", 2.0)):
            at_end[row["rule"]] += row["at_end"]
            assert not row["at_end"] or row["lr"] == script["LRS"][0]
    assert at_end == {"kappa": 0, "alignment": 3}
    assert "in 3 of the 30, alignment's best is at the smallest one tried" in words(PAGE)


def test_alpha_without_kappa_on_a_language_model(benchmark):
    page = (ROOT / PAGE).read_text()
    assert benchmark("damping_race")["table"](raw("damping-race")["rows"]) in page
    assert benchmark("contenders_table")["table"](raw("contenders-damping"), "adana") in page
    assert all(row["bracketed"] for row in raw("damping-race")["rows"])
    assert raw("damping-race")["parameters"] == 28_672


@pytest.mark.parametrize(
    ("name", "baseline"),
    [
        ("contenders-muon", "contenders:log_muon"),
        ("contenders-muon-long", "contenders:log_muon"),
        ("contenders-sign", "adamw-dw"),
    ],
)
def test_contenders(benchmark, name, baseline):
    assert benchmark("contenders_table")["table"](raw(name), baseline) in (ROOT / PAGE).read_text()
    assert f"results/{name}" in (ROOT / PAGE).read_text()


def test_who_is_ahead_on_every_seed():
    sign, muon, long = (
        {row["optimizer"].partition(":")[2]: row["losses"] for row in raw(f"contenders-{name}")["rows"]}
        for name in ("sign", "muon", "muon-long")
    )
    pairs = [(sign["LogLion"], sign["Lion"]), (sign["LogSignum"], sign["Signum"])]
    pairs += [(one["log_muon_element"], one["log_muon"]) for one in (muon, long)]
    assert all(mine < theirs for pair in pairs for mine, theirs in zip(*pair, strict=True))


def test_the_table_of_amcs_source(benchmark):
    rows = raw("amcs-table")["rows"]
    assert benchmark("amcs_table")["table"](rows) in (ROOT / PAGE).read_text()
    losses = {row["name"]: row["losses"] for row in rows}
    paired = benchmark("overtraining")["paired"]
    against = {name: paired(own, losses["AdamW"]) for name, own in losses.items()}
    page = words(PAGE)
    lead = [f"{against[name]['ahead']:.3f}" for name in ("Muon", "Ortho-Adaptive", "StableAdam")]
    assert f"lead AdamW by {lead[0]} and {lead[1]} nats" in page
    assert f"StableAdamW ends {lead[2].lstrip('-')} above it" in page
    assert against["AMCS"]["interval"][0] < 0 < against["AMCS"]["interval"][1]
    assert against["StableAdam"]["interval"][1] < 0
    over = paired(losses["Ortho-Adaptive"], losses["Muon"])
    assert "below Muon by {:.3f} ({:.3f} to {:.3f}) nats".format(over["ahead"], *over["interval"]) in page


def test_what_each_piece_is_worth(benchmark):
    found = raw("ablations-small")
    assert benchmark("ablations")["table"](found) in (ROOT / PAGE).read_text()
    page = words(PAGE)
    assert found["command"] in page
    paired = benchmark("overtraining")["paired"]
    rows = {one["steps"]: {row["name"]: row["losses"] for row in one["rows"]} for one in found["measured"]}

    def behind(name, steps=560):
        return paired(rows[steps]["adana"], rows[steps][name])

    def shown(name):
        return "{:.3f} ({:.3f} to {:.3f})".format(behind(name)["ahead"], *behind(name)["interval"])

    assert f"ADana without it ends {shown('no-gradient')} nats behind" in page
    assert f"log-time AdamW {shown('no-gradient-alpha-one')}" in page
    assert f"with the short average in its place {shown('short')}" in page
    assert rows[560]["beta1-slow"].count(None) == 2
    assert "in runs of 560 steps, on two of three seeds" in page
    assert f"Constant decay ends {-behind('decay', 140)['ahead']:.3f} nats lower after 140 steps" in page
    assert behind("decay", 140)["interval"][1] < 0
    for name in ("decay", "beta1", "beta2", "betas", "linear", "undamped", "alpha-one", "eps-inside", "adamw"):
        assert behind(name)["interval"][0] < 0 < behind(name)["interval"][1], name
    assert f"Nor does AdamW: {behind('adamw')['ahead']:.3f} behind" in page


def test_what_each_piece_is_worth_at_the_races_size(benchmark):
    found = raw("ablations")
    assert benchmark("ablations")["table"](found) in (ROOT / PAGE).read_text()
    page = words(PAGE)
    assert found["command"] in page
    (one,) = found["measured"]
    assert all(row["bracketed"] for row in one["rows"])
    losses = {row["name"]: row["losses"] for row in one["rows"]}
    behind = {name: benchmark("overtraining")["paired"](losses["adana"], own) for name, own in losses.items()}

    def shown(name):
        return "{:.3f} ({:.3f} to {:.3f})".format(behind[name]["ahead"], *behind[name]["interval"])

    assert f"Without it ADana ends {shown('no-gradient')} nats behind" in page
    assert f"as log-time AdamW, {shown('no-gradient-alpha-one')}" in page
    assert f"The short average in its place costs {shown('short')}" in page
    damped = [behind[name]["ahead"] for name in ("alpha-one", "undamped")]
    assert f"is worth {min(damped):.2f} to {max(damped):.2f} nats" in page
    assert f"(kappa 1) ends {shown('alpha-one')} behind, one that grows undamped {shown('undamped')}" in page
    assert f"a constant beta1 of 0.99 ends {shown('beta1-slow')} behind" in page
    assert f"beside it ends {shown('betas')} behind" in page
    assert f"Constant decay ends {shown('decay')} behind" in page
    assert f"A momentum cooldown costs {shown('cooldown')}" in page
    assert f"AdamW ends {shown('adamw')} and {shown('adamw-constant')} behind" in page
    race = {row["optimizer"]: row for row in raw("race-all")["rows"]}
    assert f"it ends {race['adana']['ahead']:.3f} behind" in page
    defaults = words("docs/evidence.md")
    for said, name in (("ADana without it ends", "undamped"), ("ADana ends", "no-gradient"), ("end ADana", "betas")):
        assert f"{said} {behind[name]['ahead']:.3f} nats behind" in defaults
    amounts = {name: f"{behind[name]['ahead']:.3f}" for name in ("no-gradient", "alpha-one", "undamped", "decay")}
    assert f"beside the momentum ({amounts['no-gradient']} nats)" in defaults
    assert f"({amounts['alpha-one']} and {amounts['undamped']}), decay in log time ({amounts['decay']};" in defaults
    for name in ("linear", "beta1", "beta2", "eps-inside"):
        assert behind[name]["interval"][0] < 0 < behind[name]["interval"][1], name


def test_what_each_piece_is_worth_four_times_as_long(benchmark):
    found = raw("ablations-6000")
    assert benchmark("ablations")["table"](found) in (ROOT / PAGE).read_text()
    page = words(PAGE)
    assert found["command"] in page.replace(" \\ ", " ")
    (one,), (before,) = found["measured"], raw("ablations")["measured"]
    assert all(row["bracketed"] for row in one["rows"])
    long, short = ({row["name"]: row["losses"] for row in some["rows"]} for some in (one, before))
    paired = benchmark("overtraining")["paired"]
    behind = {name: paired(long["adana"], own) for name, own in long.items()}
    earlier = {name: paired(short["adana"], own) for name, own in short.items()}

    def shown(name, of=behind):
        return "{:.3f} ({:.3f} to {:.3f})".format(of[name]["ahead"], *of[name]["interval"])

    assert f"Both constant end {shown('betas')} nats behind, after 1,500 steps {shown('betas', earlier)}" in page
    assert f"A constant beta2 ends {shown('beta2')} behind" in page
    assert f"A constant beta1 of 0.9 ends {shown('beta1')} behind" in page
    assert f"Without the gradient term ADana ends {shown('no-gradient')} behind" in page
    assert behind["no-gradient"]["ahead"] < behind["undamped"]["ahead"]
    assert f"**True of undamped momentum**, {shown('undamped')} behind" in page
    assert f"barely: {shown('linear')} behind" in page
    assert f"Constant decay ends {shown('decay')} behind" in page
    assert f"AdamW ends {shown('adamw')} behind, after 1,500 steps {earlier['adamw']['ahead']:.3f}" in page
    assert f"**Not shown of the short average**, {shown('short')} behind" in page
    low, high = behind["eps-inside"]["interval"]
    assert f"it ends {-behind['eps-inside']['ahead']:.3f} ({-high:.3f} to {-low:.3f}) lower" in page
    hidden = [name for name in behind if name != "adana" and behind[name]["interval"][0] < 0]
    assert hidden == ["beta2", "short", "eps-inside"]
    hints = [name for name, one in behind.items() if name not in ("adana", *hidden) and one["p"] > 0.01]
    assert hints == ["beta1", "decay", "linear"]
    defaults = words("docs/evidence.md")
    amounts = {name: f"{one['ahead']:.3f}" for name, one in behind.items()}
    assert f"and ends {amounts['linear']} behind [after 6,000]" in defaults
    assert f"both end {amounts['betas']} behind, beta1 alone {amounts['beta1']}" in defaults
    assert f"the gradient is worth {amounts['no-gradient']}, damping in place of none {amounts['undamped']}" in defaults
    lead = f"{amounts['adamw']} in place of {earlier['adamw']['ahead']:.3f}"
    assert f"decay {amounts['decay']}, and the lead over AdamW, at one beta2, is {lead}" in defaults


def test_a_momentum_cooldown(benchmark):
    found = raw("cooldown")
    assert benchmark("cooldown")["table"](found) in (ROOT / PAGE).read_text()
    assert found["command"] in words(PAGE).replace(" \\ ", " ")
    told = {
        (row["f"], row["optimizer"], row["cooldown"]): row["against none"]["ahead"]
        for row in found["rows"]
        if not row["against none"]["interval"][0] < 0 < row["against none"]["interval"][1]
    }
    page = words(PAGE)
    behind, ahead = ([told[4, name, share] for share in (0.2, 0.5)] for name in ("adana", "log-muon"))
    assert f"leaves ADana {-behind[0]:.3f} and {-behind[1]:.3f} nats behind itself without one" in page
    assert f"log-time Muon {ahead[0]:.3f} and {ahead[1]:.3f} ahead; all four are significant" in page
    assert all(gain < 0 for (f, *_), gain in told.items() if f < 4)
    assert not any(name == "dana-mk4" for f, name, _ in told if f == 4)
    said = words("docs/optimizers.md")
    assert f"ADana ended {-behind[0]:.3f} nats higher and log-time Muon {ahead[0]:.3f} lower at 80" in said
