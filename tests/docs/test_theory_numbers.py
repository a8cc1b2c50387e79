"""What docs/theory.md and docs/kappa-map.md say of measurements is what the files in results/ hold."""

from __future__ import annotations

import numpy as np
import pytest

from adana.theory.ranking import geometric_mean
from adana.theory.sweeps import SWEEPS
from tests.docs.published import results, says, shows, table

SETTINGS = tuple(SWEEPS)


def sweep(setting):
    return results(f"theory-{setting}.json")


def rule(document, label):
    return next(one for one in document["ranking"]["rules"] if one["label"] == label)


def at(document, label, value):
    rows = [one for one in document["ranking"]["values"] if one["label"] == label]
    return min(rows, key=lambda one: abs(one["value"] - value))


def ratio(interval):
    return f"{interval['mean']:.2f} ({interval['low']:.2f} to {interval['high']:.2f})"


def option(one):
    value = one["value"]
    shown = "(" + ", ".join(f"{x:g}" for x in value) + ")" if isinstance(value, list) else f"{value:.3g}"
    return f"{one['option']} {shown}, lr {one['lr']:.3g}"


def rules_table(document):
    ranking = document["ranking"]
    searched, others = len(ranking["seeds"]), len(ranking["held_out_seeds"])
    headings = [
        "rule",
        "least risk",
        "of AdamW's",
        f"best on, of {searched}",
        "one choice",
        "of AdamW's",
        f"best on, of {others}",
    ]
    return table(
        headings,
        [
            [
                one["label"],
                f"{one['risk']['mean']:.3g}",
                ratio(one["ratio"]),
                str(one["wins"]),
                option(one),
                ratio(one["held_out_ratio"]),
                str(one["held_out_wins"]),
            ]
            for one in ranking["rules"]
        ],
    )


def kappa_table(document):
    values = document["ranking"]["values"]
    kappas = document["setting"]["kappas"]
    labels = list(
        dict.fromkeys(
            row["label"]
            for row in values
            if row["value"] in kappas and rule(document, row["label"])["option"] == "kappa"
        )
    )
    rows = []
    for label in labels:
        risks = [at(document, label, kappa)["risk"]["mean"] for kappa in kappas]
        rows.append([label, *("" if risk is None else f"{risk:.3g}" for risk in risks)])
    return table(["kappa", *(f"{kappa:.3g}" for kappa in kappas)], rows)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_tables_of_rules_are_the_raw_results(setting):
    document = sweep(setting)
    assert shows("theory.md", rules_table(document))
    assert shows("theory.md", kappa_table(document))


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_comparison_follows_from_every_final_risk(setting):
    document = sweep(setting)
    tables = {
        label: np.array([one["risk"][label] for one in document["sweeps"]], dtype=float)
        for label in document["sweeps"][0]["risk"]
    }
    tables = {label: np.nan_to_num(x, nan=np.inf) for label, x in tables.items()}
    least = {label: x.min(axis=(1, 2)) for label, x in tables.items()}
    lowest = np.min(list(least.values()), axis=0)
    assert len({x[0].size for x in tables.values()}) == 1  # an equal search
    assert sum(one["wins"] for one in document["ranking"]["rules"]) == len(document["sweeps"])
    for label, risks in least.items():
        one = rule(document, label)
        found = geometric_mean(risks / least["adamw"])
        for name in ("mean", "low", "high"):
            assert one["ratio"][name] == pytest.approx(getattr(found, name), rel=2e-3)
        assert one["wins"] <= (risks <= lowest).sum()  # risks are rounded to four digits, so rules can be equal
        assert one["runs"] == tables[label][0].size


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_search_was_of_the_setting_as_it_is(setting):
    document, now = sweep(setting)["setting"], SWEEPS[setting]
    for name in ("rho", "eta", "v", "d", "experts", "zeta", "batch", "total_steps", "clip", "delta"):
        assert document[name] == getattr(now, name)
    assert tuple(document["kappas"]) == now.kappas
    assert tuple(map(tuple, document["betas"])) == now.betas
    assert tuple(document["deltas"]) == now.deltas


def factor(document, label, largest=np.inf):
    """Largest over least risk over kappa up to a bound, each at its best rate."""
    rows = [one for one in document["ranking"]["values"] if one["label"] == label and one["value"] <= largest]
    risks = [one["risk"]["mean"] for one in rows]
    return f"{max(risks) / min(risks):.2f}"


def to_start(document, label, value):
    number = at(document, label, value)["to_start"]["mean"]
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def span(setting):
    lrs = sweep(setting)["setting"]["lrs"]
    return f"{len(lrs)} learning rates from {lrs[0]:g} to {lrs[-1]:g}"


def sparse_sentences():
    centre, nine = sweep("figure-8-centre"), sweep("figure-9")
    predicted = {"figure-8-centre": 0.5, "figure-9": 1 / 3}
    assert [centre["predicted_kappa"], nine["predicted_kappa"]] == pytest.approx(list(predicted.values()))
    for document, name in ((centre, "figure-8-centre"), (nine, "figure-9")):
        yield f"{name}: {span(name)}"
        ahead = document["ranking"]["rules"][0]
        stars = sum(one["wins"] for one in document["ranking"]["rules"] if "star" in one["label"])
        held = sum(one["held_out_wins"] for one in document["ranking"]["rules"] if "star" in one["label"])
        assert ahead["label"] == "dana-star-mk4"
        yield f"{name}: a Star rule has the least risk on {stars} of 6 searched problems and on {held} of 12 others"
        yield f"{name}: at the one choice DanaStarMK4 ends at {ratio(ahead['held_out_ratio'])} of AdamW's risk"
        kappa = predicted[name]
        others = ", ".join(
            f"{shown} at {to_start(document, label, kappa)}"
            for shown, label in (("ADana", "adana"), ("AdEMAMix", "ademamix"), ("DanaMK4", "dana-mk4 clip 2"))
        )
        stars_at = " and ".join(
            f"{shown} at {to_start(document, label, kappa)}"
            for shown, label in (("DanaStar", "dana-star"), ("DanaStarMK4", "dana-star-mk4"))
        )
        yield f"{name}: {others}, {stars_at} times the risk at the start"
        yield (
            f"{name}: a factor of {factor(document, 'dana-star-mk4')} for DanaStarMK4, "
            f"{factor(document, 'dana-star')} for DanaStar"
        )


def dense_sentences():
    left = sweep("figure-8-left")
    yield f"figure-8-left: {span('figure-8-left')}"
    low = [to_start(left, "adana", kappa) for kappa in (0.0, 0.1)]
    yield f"{low[0]} and {low[1]} times the risk at the start at kappa 0 and .1"
    adana, log, nadam = rule(left, "adana"), rule(left, "log-adamw"), rule(left, "log-nadamw")
    kappas = sorted({value for value, _ in adana["bests"]})
    yield f"ADana's best kappa is {' or '.join(f'{x:g}' for x in kappas)} at its own learning rate, for 1/(2 rho) = .5"
    yield f"the least risks for kappa up to .7 lie within a factor of {factor(left, 'dana-mk4 clip 0.25', 0.71)}"
    yield f"LogAdamW ends at {ratio(log['held_out_ratio'])} of AdamW's risk"
    yield f"LogNAdamW ends at {ratio(nadam['held_out_ratio'])} of AdamW's risk, at delta {nadam['value']:g}"
    yield f"At delta = 8 it ends at {to_start(left, 'log-nadamw', 8.0)} times the risk at the start"
    beside = at(left, "adana", 1.0)["risk"]["mean"] / rule(left, "adamw")["risk"]["mean"]
    yield f"At kappa = 1 ADana's risk is {beside:.2f} of AdamW's"


@pytest.mark.parametrize("sentences", [sparse_sentences, dense_sentences])
def test_the_sentences_on_rules_are_the_raw_results(sentences):
    for sentence in sentences():
        assert says("theory.md", sentence), sentence


def dana_table(document):
    rows = {}
    for point in document["points"]:
        rows.setdefault((point["rho"], point["damping_scale"]), []).append(point)
    horizons = list(dict.fromkeys(point["horizon"] for point in document["points"]))
    return table(
        ["rho", "1/(2 rho)", "c", *(f"{horizon:,} steps" for horizon in horizons)],
        [
            [f"{rho:g}", f"{points[0]['predicted']:.2f}", f"{c:g}", *(dana_cell(point) for point in points)]
            for (rho, c), points in rows.items()
        ],
    )


def dana_cell(point):
    """Best kappa, and risk at 1/(2 rho) in units of the least."""
    assert not point["at_edge"]
    there = point["risk_at_predicted"]
    return f"{point['best']:.2f} ({'diverges' if there is None or there > 100 else format(there, '.2f')})"


@pytest.mark.parametrize("which", ["", "-long", "-3000-modes"])
def test_the_tables_of_danas_best_kappa_are_the_raw_results(which):
    assert shows("kappa-map.md", dana_table(results(f"theory-dana-map{which}.json")))


def test_danas_best_kappa_is_as_far_from_the_limit_as_said():
    above = {}
    for point in results("theory-dana-map.json")["points"]:
        above.setdefault(point["damping_scale"], []).append(point["best"] - point["predicted"])
    assert max(above[0.1]) < 0
    assert max(np.abs(above[0.1])) < 0.1
    low, high = min(above[0.25]), max(above[0.25])
    assert says("kappa-map.md", f"at c = .25 near it, {low:.2f} to {high:.2f} above".replace(" 0.", " ."))
    low, high = min(above[0.5]), max(above[0.5])
    assert says("kappa-map.md", f"at c = .5 {low:.2f} to {high:.2f} above".replace(" 0.", " ."))


def test_the_sentences_on_danas_slopes_are_the_raw_results():
    points = results("theory-dana-map.json")["points"]
    for c in (0.1, 0.25):
        gaps = {}
        for point in points:
            if point["damping_scale"] == c:
                gaps.setdefault(point["rho"], []).append(point["slope_gap"])
        listed = ", ".join(f"{max(gap):.2f} at rho = {rho:g}" for rho, gap in gaps.items())
        assert says("theory.md", f"c = {c:g}: {listed}")


def map_rows():
    for point in results("kappa-map.json")["points"]:
        yield point["batch"], point["horizon"], point["rho"], point


def test_the_table_of_adanas_best_kappa_is_the_raw_results():
    rows = {}
    for batch, horizon, rho, point in map_rows():
        if horizon in (2500, 20000):
            rows.setdefault((batch, horizon, rho), []).append(point)
    body = [
        [
            f"{batch}",
            f"{horizon:,}",
            f"{rho:g}",
            f"{points[0]['predicted']:.2f}",
            *(f"{p['best']:.2f}{'*' if p['at_edge'] else ''} ({p['risk']:.3g})" for p in points),
        ]
        for (batch, horizon, rho), points in sorted(rows.items())
    ]
    headings = ["batch", "steps", "rho", "1/(2 rho)", "lr 1.25e-4", "2.5e-4", "5e-4", "1e-3", "2e-3"]
    assert shows("kappa-map.md", table(headings, body))


def differences(changed):
    """Best kappa at the second of two neighbouring places minus that at the first, where neither is at an edge."""
    points = {
        tuple(p[name] for name in ("batch", "horizon", "rho", "lr")): p for p in results("kappa-map.json")["points"]
    }
    index = ("batch", "horizon", "rho", "lr").index(changed)
    values = sorted({place[index] for place in points})
    for place, point in points.items():
        position = values.index(place[index]) + 1
        if position < len(values):
            other = points[(*place[:index], values[position], *place[index + 1 :])]
            if not (point["at_edge"] or other["at_edge"]):
                yield other["best"] - point["best"]


def test_the_sentences_on_adanas_best_kappa_are_the_raw_results():
    points = results("kappa-map.json")["points"]
    lr, horizon, batch = (np.array(list(differences(name))) for name in ("lr", "horizon", "batch"))
    spread = np.median([point["spread"] for point in points])
    for sentence in (
        f"rises with the learning rate**, by {lr.mean():.2f} per doubling on average",
        f"rises with the horizon**, by {horizon.mean():.2f} per doubling on average",
        f"lower one than batch 1 in {(batch < 0).sum()} of {batch.size} places, by {-batch.mean():.2f} on average",
        f"two seeds, which differ by {spread:.2f} in the median",
    ):
        assert says("kappa-map.md", sentence.replace("by 0.", "by ."))
    for rho in (0.6, 0.75, 1.0, 1.25, 1.5):
        tuned = [
            min((p for p in points if (p["batch"], p["horizon"], p["rho"]) == (*place, rho)), key=lambda p: p["risk"])
            for place in {(p["batch"], p["horizon"]) for p in points}
        ]
        low, high = (end(p["best"] for p in tuned) for end in (min, max))
        assert says("kappa-map.md", f"{low:.2f} to {high:.2f} at rho = {rho:g} ({1 / (2 * rho):.2f})")


def test_at_one_learning_rate_the_comparison_comes_out_the_other_way():
    lower = {"adamw": 0, "adana": 0}
    problems = 0
    for name in ("figure-8-centre", "figure-9"):
        document = sweep(name)
        rate = document["setting"]["lrs"].index(4e-3)
        for one in document["sweeps"]:
            problems += 1
            least = {
                label: min(row[rate] for row in table if row[rate] is not None) for label, table in one["risk"].items()
            }
            stars = min(risk for label, risk in least.items() if "star" in label)
            for label in lower:
                lower[label] += least[label] < stars
    assert says(
        "theory.md",
        f"AdamW ends lower than both on {lower['adamw']} and ADana on {lower['adana']} of {problems} problems",
    )


def test_star_rules_need_larger_learning_rates():
    for name in ("figure-8-centre", "figure-9"):
        document = sweep(name)
        choices = {one["label"]: one["lr"] for one in document["ranking"]["rules"]}
        others = [lr for label, lr in choices.items() if "star" not in label and label != "log-nadamw"]
        stars = [lr for label, lr in choices.items() if "star" in label]
        assert min(stars) / max(others) >= 4
        assert max(stars) / min(others) <= 16


def test_danamk4_stays_below_the_start_at_every_kappa_where_adana_does_not():
    for name in ("figure-8-centre", "figure-9"):
        rows = sweep(name)["ranking"]["values"]
        highest = {
            label: max(row["to_start"]["mean"] for row in rows if row["label"] == label)
            for label in ("adana", "ademamix", "dana-mk4 clip 2")
        }
        assert highest["dana-mk4 clip 2"] < 1 < min(highest["adana"], highest["ademamix"])
