"""Tables of docs/inspect.md are the raw results beside them, as rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adana.inspect.hilberg import FORMS, fit
from adana.scaling.intervals import t_interval
from adana.tables import NONE
from tests.docs.published import results, says, shows, table

PAGE = "inspect.md"
NAMES = {
    "standard library": "the standard library",
    "gcide.txt": "GCIDE, a dictionary (dict-gcide)",
    "perl-doc.txt": "Perl's manual (perl-doc)",
}
BY = {"ppm": "PPM", "zstd": "Zstandard", "lzma": "LZMA", "run": "a trained run"}


def _law(curve: dict[str, Any], k: int) -> str:
    law, ends = curve["fits"][k], curve["intervals"][k]
    if law["at_edge"]:
        return "at an edge"
    return f"{law['exponent']:.2f}" + (f" ({ends['low']:.2f} to {ends['high']:.2f})" if ends else " (not known)")


def texts_table() -> str:
    rows = []
    for name, said in NAMES.items():
        for compressor, by in BY.items():
            curve = results("hilberg-texts.json")["texts"][name]["curves"].get(compressor)
            if curve is None:  # not measured
                continue
            lengths = (
                f"{curve['lengths'][0]:,} to {curve['lengths'][-1]:,} {'tokens' if compressor == 'run' else 'bytes'}"
            )
            last = np.mean(curve["rates"], axis=0)[-1]
            rows.append([said, by, lengths, f"{last:.2f}", _law(curve, 0), _law(curve, 1)])
    return table(["text", "by", "range of n", "bits per byte at its end", "stretched", "power"], rows)


def _mean(values: list[float], form: str) -> str:
    ends = t_interval(values)
    assert ends is not None
    return f"{np.mean(values):{form}} ({ends.low:{form}} to {ends.high:{form}})"


def race_table() -> str:
    runs = results("spectra-race.json")["runs"]
    rows = []
    for optimizer in dict.fromkeys(run["optimizer"] for run in runs):
        mine = [run for run in runs if run["optimizer"] == optimizer]
        for layer in mine[0]["snapshots"][0]["layers"]:
            cells = []
            for k in range(len(mine[0]["snapshots"])):
                laws = [run["snapshots"][k]["layers"][layer]["law"] for run in mine]
                held = [law["exponent"] for law in laws if law is not None and law["holds"]]
                cells.append(
                    _mean(held, ".2f") if len(held) == len(mine) else f"no power law in {len(mine) - len(held)} of 3"
                )
            kappas = [1 / law["exponent"] for law in laws if law is not None and law["holds"]]
            ranks = ", ".join(f"{law['first']} to {law['last']}" for law in laws)
            last = f"{np.mean(kappas):.2f}" if len(kappas) == len(mine) else NONE
            rows.append([optimizer, f"`{layer}`", *cells, ranks, last])
    headings = ["optimizer", "layer", "step 0", "step 150", "step 1,500", "its ranks, by seed", "1/(2 rho)"]
    return table(headings, rows)


def forecasts_table() -> str:
    rows = []
    for one in results("spectra-claims.json")["summary"]["forecasts"]:
        what = "held-out loss at step 60" if one["measure"] == "loss" else f"tail, {one['measure']}: `{one['layer']}`"
        low, high = one["interval"]
        beyond = NONE if one["beyond_loss"] is None else f"{one['beyond_loss']:.2f}"
        inside = ", ".join(f"{value:.1f}" for value in one["by_optimizer"].values())
        rows.append([what, f"{one['correlation']:.2f} ({low:.2f} to {high:.2f})", beyond, inside])
    headings = ["known early", "rank correlation with the final loss (95 %)", "the early loss held"]
    return table([*headings, "within AdamW, ADana, Muon"], rows)


def batches_table() -> str:
    rows = []
    for one in results("spectra-claims.json")["summary"]["batches"]:
        cells = []
        for name in ("batch", "learning rate"):
            found, ends = one[name], one[name]["interval"]
            cells += [
                f"{found['small']:.3f}, {found['large']:.3f}",
                f"{found['difference']:+.3f} ({ends[0]:+.3f} to {ends[1]:+.3f})",
            ]
        rows.append([f"{one['loss']:g}", f"`{one['layer']}`", one["measure"], *cells])
    headings = [
        "loss",
        "layer",
        "tail",
        "batch 1, 16",
        "difference (95 %)",
        "rate x 0.5, x 2 at batch 4",
        "difference (95 %)",
    ]
    return table(headings, rows)


def cost_of_noise() -> str:
    found = results("inspect-cost.json")["noise"]
    return (
        f"Gradient noise of the same model from {found['sequences']} sequences of {found['seq_len']} tokens, at one "
        f"place of a run, took {found['cpu_seconds'] / 60:.1f} minutes and {found['peak_gib']:.1f} GiB."
    )


def cost_of_a_text() -> str:
    found = results("inspect-cost.json")["hilberg"]
    assert found["compressor"] == "ppm"
    assert found["starts"] == 1
    return (
        f"A text of {found['bytes'] / 1e9:g} GB by PPM from one place took {found['cpu_seconds'] / 60:.0f} minutes and "
        f"{found['peak_gib']:.1f} GiB."
    )


def cost_of_spectra() -> str:
    found = results("inspect-cost.json")["spectrum"]
    size = f"{found['parameters'] / 1e6:.0f}M parameters"
    what = f"{found['tokens']:,} tokens, {found['layers']} layers, {found['gradients']} sequences' gradients"
    memory = f"{found['peak_gib']:.1f} GiB at most, {found['model_gib']:.1f} GiB of them before it began"
    time = f"{found['cpu_seconds'] / 60:.1f} minutes of one core"
    return (
        f"A model of {size} with random weights (Enoki, 12 heads; {what}) took {time} and {memory}; "
        f"the largest error of a randomised eigenvalue is {found['largest_error']:.0%}."
    )


@pytest.mark.parametrize("made", [texts_table, race_table, forecasts_table, batches_table])
def test_a_table_of_the_page_is_its_raw_file(made):
    assert shows(PAGE, made()), made()


def _range(values: list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


def test_the_page_says_which_intervals_tell_texts_apart():
    texts = results("hilberg-texts.json")["texts"]
    known = {
        (name, by): curve["intervals"][0]
        for name, text in texts.items()
        for by, curve in text["curves"].items()
        if curve["intervals"][0]
    }
    assert {by for _, by in known} == {"ppm", "run"}
    assert max(ends["low"] for ends in known.values()) < min(ends["high"] for ends in known.values()), "all overlap"
    below = [of for of, ends in known.items() if ends["high"] < 0.88]
    assert below == [("gcide.txt", "run")]
    assert says(PAGE, "tell one text from another; one, of the run on the dictionary, lies below 0.88")


def test_the_page_says_what_the_tables_come_to():
    library = results("hilberg-texts.json")["texts"]["standard library"]["curves"].values()
    everything = [law["exponent"] for curve in library for law in curve["fits"]]
    assert says(PAGE, f"{_range(everything, '.2f')} for the standard library")
    texts = results("hilberg-texts.json")["texts"].values()
    curves = [curve for text in texts for curve in text["curves"].values()]
    stretched = [curve["fits"][0]["exponent"] for curve in curves if not curve["fits"][0]["at_edge"]]
    assert says(PAGE, f"`kappa >= beta` is {_range(stretched, '.2f')} by the paper's law")
    runs = results("spectra-race.json")["runs"]
    last = [run["snapshots"][-1]["layers"] for run in runs]
    laws = [layer["law"] for layers in last for layer in layers.values()]
    assert all(law["holds"] for law in laws)
    assert says(PAGE, f"over a factor of {_range([law['last'] / law['first'] for law in laws], '.0f')} of ranks")
    kappas = [float(np.mean([1 / layers[name]["law"]["exponent"] for layers in last])) for name in last[0]]
    assert says(PAGE, f"Their 1/(2 rho), {_range(kappas, '.2f')}, lies")
    moved = [one for run in runs for one in run["movements"] if one["layer"] == "blocks.0"]
    early, late = ([one for one in moved if (one["begin"], one["end"]) == ends] for ends in ((0, 150), (150, 1500)))
    overlaps = [_range([one["overlap"] for one in some], ".2f") for some in (early, late)]
    assert says(PAGE, f"is {overlaps[0]} between steps 0 and 150, and {overlaps[1]} between steps 150 and 1,500")
    assert says(PAGE, f"of two halves of the text is {_range([one['resampled'] for one in early + late], '.2f')}")
    of = [[run["snapshots"][k]["gradients"][1] for run in runs] for k in (0, -1)]
    assert all(one["matrix"] == "blocks.0.mlp.down.weight" for some in of for one in some)
    tops = [_range([100 * one["top"] for one in some], ".0f") for some in of]
    assert says(PAGE, f"has {tops[0]} % of the square at the start and {tops[1]} % at the end")
    ranks = [_range([one["stable_rank"] for one in some], ".1f") for some in of]
    assert says(PAGE, f"the stable rank rises from {ranks[0]} to {ranks[1]}")


def test_the_page_says_what_became_of_the_claims():
    found = results("spectra-claims.json")
    assert len({run["seed"] for run in found["forecasts"]}) == len({run["seed"] for run in found["paths"]}) == 3
    loss, *tails = found["summary"]["forecasts"]
    assert says(PAGE, f"rank correlation {loss['correlation']:.2f}")
    assert all(one["interval"][0] < 0 < one["interval"][1] for one in tails)
    beyond = max(abs(one["beyond_loss"]) for one in tails)
    assert says(PAGE, f"at most {beyond:.2f} in size")
    batches = [one for one in found["summary"]["batches"] if one["layer"] != "blocks.0.mlp.down"]
    exponents = [one for one in batches if one["measure"] == "exponent"]
    gaps = [_range([one[name]["difference"] for one in exponents], ".2f") for name in ("batch", "learning rate")]
    assert says(PAGE, f"by {gaps[0]}, and the learning rate alone by {gaps[1]}")


@pytest.mark.parametrize("made", [cost_of_spectra, cost_of_noise, cost_of_a_text])
def test_the_page_says_what_it_costs(made):
    assert says(PAGE, made()), made()


def test_the_fits_of_real_texts_are_those_of_their_curves():
    for text in results("hilberg-texts.json")["texts"].values():
        for curve in text["curves"].values():
            for form, law in zip(FORMS, curve["fits"]):
                again = fit(curve["lengths"], np.mean(curve["rates"], axis=0), form)
                assert again.exponent == pytest.approx(law["exponent"], abs=1e-4)
