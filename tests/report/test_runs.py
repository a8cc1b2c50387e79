from __future__ import annotations

import csv
import itertools
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from adana.cli import main
from adana.lab.sweep import row as row_of
from adana.report import drawings
from adana.report.findings import find
from adana.report.page import INK, SOFT, THEME, keys, link
from adana.report.runs import write_report
from adana.scaling import fitting, read_runs
from adana.scaling.multiplier import pooled_spread
from adana.train.folder import read_result, write_result
from adana.train.recipe import read_recipe
from adana.train.run import Recipe
from tests.report.folders import LOSSES, RATE, Page, ladder_csv, run_folder, small_runs

BOOTSTRAP = 20


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Folders of one size with everything but laws, and their page."""
    root = tmp_path_factory.mktemp("small")
    small_runs(root / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_report([Path("runs")], Path("report.html"), bootstrap=BOOTSTRAP)
    return root, Page((root / "report.html").read_text())


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """A CSV of a swept ladder whose laws are known, and its page."""
    root = tmp_path_factory.mktemp("ladder")
    path = ladder_csv(root / "ladder.csv")
    write_report([path], root / "report.html", bootstrap=BOOTSTRAP)
    return path, Page((root / "report.html").read_text())


@pytest.fixture(params=["small", "ladder"])
def page(request):
    return request.getfixturevalue(request.param)[1]


@pytest.mark.slow
def test_the_page_is_well_formed_and_every_id_is_one_of_a_kind(page):
    assert page.misplaced == []
    ids = [found for _, attributes in page.elements if (found := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    named = {attributes["href"][1:] for attributes in page.all("a") if attributes["href"].startswith("#")}
    for name in ("aria-labelledby", "aria-describedby"):
        named |= {attributes[name] for _, attributes in page.elements if attributes.get(name)}
    assert named <= set(ids)
    for used in re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page.text):
        assert used in ids


def test_headings_go_down_one_level_at_a_time_from_a_single_first(page):
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert [attributes.get("lang") for attributes in page.all("html")] == ["en"]
    assert {"header", "nav", "main"} <= {tag for tag, _ in page.elements}


def test_every_drawing_has_a_name_a_description_and_its_numbers(page):
    drawings = re.findall(r"<svg.*?</svg>", page.text, re.DOTALL)
    assert drawings
    for text in drawings:
        root = ElementTree.fromstring(text)
        title, description = root[0], root[1]
        assert (title.tag.rpartition("}")[2], description.tag.rpartition("}")[2]) == ("title", "desc")
        assert title.text
        assert len(description.text) > 20
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == title.get("id")
    figures = page.all("figure")
    assert len(figures) == len(page.all("figcaption")) == len(page.all("details")) > 0


def test_every_table_has_a_caption_scopes_and_a_region_of_its_own(page):
    assert len(page.captions) == len(page.all("table"))
    assert all(caption.strip() for caption in page.captions.values())
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    regions = [attributes for attributes in page.all("div") if attributes.get("role") == "region"]
    assert len(regions) == len(page.captions)
    assert {attributes["tabindex"] for attributes in regions} == {"0"}
    for rows in page.tables.values():
        assert len({len(row) for row in rows}) == 1


def test_nothing_is_fetched_and_the_policy_forbids_it(page):
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert not {"img", "link", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    assert "src" not in {name for _, attributes in page.elements for name in attributes}
    assert not re.search(r"@import|url\((?!#)", page.text)
    for attributes in page.all("a"):
        assert not re.match(r"[a-z]+:|//", attributes["href"])


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_series_stand_out_as_wcag_aa_asks(scheme):
    for name, colours in THEME.items():
        if name in ("paper", "wash", "line"):
            continue
        for ground in ("paper", "wash"):
            low, high = sorted((luminance(colours[scheme]), luminance(THEME[ground][scheme])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def test_laws_on_the_page_are_those_of_adana_fit(ladder):
    path, page = ladder
    runs = read_runs([path])
    fit = fitting.loss_law(runs, bootstrap=BOOTSTRAP)
    assert page.column("loss-laws", "optimizer") == [law.label for law in fit.laws]
    assert page.column("loss-laws", "f") == [f"{law.fit.law.f:.3g}" for law in fit.laws]
    assert page.column("loss-predictions", "loss") == [f"{law.predictions[0].loss:.4f}" for law in fit.laws]
    assert page.column("loss-held-out", "error") == [f"{law.hold_out.error:+.4f}" for law in fit.laws]
    assert float(page.column("loss-laws", "f")[0]) == pytest.approx(LOSSES["adamw"].f, rel=0.05)
    rates = fitting.learning_rate_law(runs, bootstrap=BOOTSTRAP)
    by_label = {law.label: law for law in rates.laws}
    rows = zip(*(page.column("law-table", name) for name in ("optimizer", "a", "d")))
    for (label, a, d), lr in zip(rows, page.column("law-predictions", "lr")):
        law = by_label[label]
        assert (a, d) == (f"{law.fit.law.a:.3g}", f"{law.fit.law.d:.3f}")
        assert lr == f"{law.predictions[0].lr:.4g}"
        assert float(d) == pytest.approx(RATE.d, abs=0.01)
    assert set(page.column("sweep-best", "curvature")) == {"0.0193"}
    assert set(page.column("sweep-best", "bracketed")) == {"yes"}


def test_multipliers_on_the_page_are_those_of_adana_fit_and_marked_where_extrapolated(ladder):
    path, page = ladder
    rows = fitting.multipliers(read_runs([path])).rows
    shown = [
        f"{row.multiplier:.3f}{'*' if row.extrapolated else ''}" if row.multiplier else "\N{EN DASH}" for row in rows
    ]
    assert page.column("multiplier-numbers", "multiplier")[: len(rows)] == shown
    assert {row.extrapolated for row in rows} == {True, False}
    assert "* extrapolated: outside the losses of adamw." in page.said
    assert "every setting ran with one seed" in page.said


def test_the_baseline_is_drawn_as_the_line_that_multipliers_are_read_from(ladder):
    fit = fitting.multipliers(read_runs([ladder[0]]))
    axes = Figure().add_subplot()
    drawings.joined(axes, fit.ladder, fit.rows, "adamw", keys(["adamw", "adana (kappa 0.85)"]))
    drawn = sorted({point for line in axes.lines if line.get_linestyle() != "None" for point in zip(*line.get_data())})
    budgets, losses = zip(*drawn)
    read = [row for row in fit.rows if row.multiplier is not None]
    assert {row.extrapolated for row in read} == {True, False}
    for row in read:
        needed = row.pfh * row.multiplier
        assert budgets[0] <= needed <= budgets[-1] * (1 + 1e-12)
        # The axis is logarithmic: so is what an eye reads between two drawn points.
        assert np.interp(np.log(needed), np.log(budgets), losses) == pytest.approx(row.loss, abs=1e-3)


def test_the_frame_around_the_least_loss_is_seen_in_light_and_dark():
    axes = Figure().add_subplot()
    drawings.heat_map(axes, {(lr, omega): lr + omega for lr in (0.1, 0.2) for omega in (1.0, 4.0)})
    *cells, frame = axes.patches
    inside = next(cell for cell in cells if cell.get_bbox().contains(*frame.get_bbox().min))
    # Both are colours, not names that follow the reader's scheme: the cell has one colour in both.
    low, high = sorted(luminance(to_hex(colour)) for colour in (frame.get_edgecolor(), inside.get_facecolor()))
    assert (high + 0.05) / (low + 0.05) >= 3
    assert to_hex(frame.get_edgecolor()) not in (INK, SOFT)


def test_each_kappa_is_compared_with_the_baseline_over_compute(tmp_path):
    rows = [
        f"{'adana' if kappa else 'adamw'},{kappa},enoki,{heads},20,0.001,{3 - heads / 10 + (kappa or 1) / 100}"
        for heads in (6, 8)
        for kappa in ("", 0.8, 0.9)
    ]
    head = "optimizer,kappa,arch,heads,tokens_per_parameter,lr,final_loss"
    (tmp_path / "runs.csv").write_text("\n".join([head, *rows]) + "\n")
    write_report([tmp_path / "runs.csv"], tmp_path / "page.html", bootstrap=2)
    page = Page((tmp_path / "page.html").read_text())
    saved = [name for name in page.column("multiplier-numbers", "optimizer") if "baseline" not in name]
    assert saved == ["adana (kappa 0.8)"] * 2 + ["adana (kappa 0.9)"] * 2
    assert "What each kappa saves over compute (Figure 4) is under compute saved." in page.said


def test_the_command_beside_a_fit_prints_that_fit(ladder, capsys):
    _, page = ladder
    (command,) = re.findall(r"<pre>(adana fit [^<]*--law loss[^<]*)</pre>", page.text)
    assert main([*command.split()[1:], "--json"]) == 0
    laws = json.loads(capsys.readouterr().out)["laws"]
    assert page.column("loss-laws", "e") == [f"{law['e']:.3g}" for law in laws]


@pytest.mark.slow
def test_the_best_of_each_size_is_the_mean_over_its_seeds(small):
    _, page = small
    rows = dict(zip(page.column("best-table", "optimizer"), page.column("best-table", "loss")))
    assert rows["adana (kappa 0.85)"] == "1.9500"
    first = page.column("best-table", "optimizer").index("adamw")
    assert page.column("best-table", "loss")[first] == f"{(2.01 + 2.02 + 2.06) / 3:.4f}"
    assert page.column("best-table", "seeds")[first] == "3"
    assert page.column("best-table", "bracketed")[first] == "yes"


def test_seed_noise_is_pooled_over_settings(small):
    _, page = small
    sigma, freedom = pooled_spread([[2.01, 2.02, 2.06]])
    assert f"standard deviation of {sigma:.4f} nats ({freedom} degrees of freedom)" in page.said
    assert page.column("seeds-table", "± seed") == [f"{sigma:.4f}"]
    assert page.column("noise-numbers", "loss - mean") == ["-0.0200", "-0.0100", "+0.0300"]


def test_omega_and_kappa_are_shown_where_they_were_varied(small, ladder):
    _, page = small
    cells = list(zip(*(page.column("heat-numbers", name) for name in ("lr", "omega", "loss"))))
    assert ("0.001", "1", "2.2000") in cells
    assert len(cells) == 6  # the diverged learning rate met one omega only
    assert page.column("kappa-numbers", "kappa") == ["0.7", "0.85", "1", "\N{EN DASH}"]
    assert "Kappa" not in [said for _, said in ladder[1].headings]
    assert "Kappa: no optimizer ran at two kappas of one size." in ladder[1].said


def test_a_sweeps_table_shows_omega_and_kappa_as_its_folders_do(small, tmp_path):
    root, page = small
    rows = [
        row_of(read_recipe(folder), result)
        for folder in sorted((root / "runs").iterdir())
        if (result := read_result(folder)) is not None
    ]
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    write_report([tmp_path / "runs.csv"], tmp_path / "page.html", bootstrap=2)
    from_table = Page((tmp_path / "page.html").read_text())
    for name in ("best-table", "sweep-numbers", "heat-numbers", "kappa-numbers", "seeds-table"):
        assert from_table.tables[name] == page.tables[name]


def test_diverged_and_unfinished_runs_are_said_and_shown(small):
    _, page = small
    assert "12 finished runs · 1 diverged · 1 unfinished" in page.said
    assert "Not finished, and so in no fit: 13-adamw." in page.said
    assert page.column("unfinished-table", "folder") == ["13-adamw"]
    assert "diverged at 40" in page.column("runs-table", "loss")
    assert "diverged" in page.column("sweep-numbers", "loss")


def test_what_cannot_be_fitted_is_said_in_a_sentence_and_drawn_without_a_line(small):
    _, page = small
    assert "No law is fitted, and so no line is drawn:" in page.said
    assert "adamw: no law of the learning rate is fitted, and so no line is drawn: too few sizes" in page.said
    assert "law-table" not in page.tables
    assert "loss-laws" not in page.tables
    assert 'id="residuals-title"' not in page.text


def test_an_optimizer_with_too_few_sizes_leaves_the_others_their_law(tmp_path):
    first = ladder_csv(tmp_path / "a.csv", rates=(0.8, 1.25))
    second = ladder_csv(tmp_path / "b.csv", heads=(6, 8), names=("adamw",), rates=(0.8, 1.25))
    second.write_text(second.read_text().replace("adamw", "muon"))
    found = find([first, second], bootstrap=2)
    assert [law.label for law in found.loss.fit.laws] == ["adamw", "adana (kappa 0.85)"]
    assert "leave out muon (2 sizes): too few sizes for muon: 2" in found.loss.left_out
    assert found.learning_rates["muon"].fit is None
    assert "--optimizers adamw 'adana (kappa 0.85)'" in found.loss.command


def test_of_several_horizons_the_one_with_the_most_sizes_is_fitted_and_said(tmp_path):
    few = {"names": ("adamw",), "rates": (1.0,)}
    first, second = ladder_csv(tmp_path / "a.csv", **few), ladder_csv(tmp_path / "b.csv", heads=(6,), **few)
    second.write_text(second.read_text().replace(",20,", ",40,"))
    found = find([first, second], bootstrap=2)
    assert found.horizon.startswith("The runs have several horizons (20 to 40 tokens per parameter)")
    assert len(found.chosen) == 4
    assert "--tokens-per-parameter 20" in found.loss.command
    assert found.loss.fit.span.tokens_per_parameter == pytest.approx(20)


def test_links_lead_to_the_folders_from_where_the_page_is(small, tmp_path):
    root, page = small
    links = [attributes["href"] for attributes in page.all("a") if not attributes["href"].startswith("#")]
    assert "./runs/00-adamw" in links
    assert all((root / href).exists() for href in links)
    shutil.copytree(root / "runs" / "00-adamw", tmp_path / "runs" / "one")
    (tmp_path / "pages").mkdir()
    write_report([tmp_path / "runs"], tmp_path / "pages" / "report.html", bootstrap=BOOTSTRAP)
    assert 'href="../runs/one"' in (tmp_path / "pages" / "report.html").read_text()


def test_equal_runs_make_equal_pages_wherever_they_lie(small, tmp_path, monkeypatch):
    root, page = small
    shutil.copytree(root / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    write_report([Path("runs")], Path("report.html"), bootstrap=BOOTSTRAP)
    assert (tmp_path / "report.html").read_text() == page.text


HOSTILE = "<script>alert(1)</script>\"'&$x_{y^$ --> </svg>"


@pytest.mark.slow
def test_hostile_names_are_text_wherever_they_stand(tmp_path):
    rows = [
        f'"{(HOSTILE).replace(chr(34), chr(34) * 2)}",{kappa},{lr},{omega},"{HOSTILE.replace(chr(34), chr(34) * 2)}",'
        f"{seed},enoki,{heads},20,{3 - heads / 100 + lr + omega / 1000 + seed / 100}"
        for kappa in (0.8, 0.9)
        for heads in (6, 8)
        for lr in (0.1, 0.2)
        for omega in (1, 4)
        for seed in (0, 1)
    ]
    folder = tmp_path / "javascript:alert(1)" / "<b onload=alert(1)>"
    folder.mkdir(parents=True)
    file = folder / "a'b.csv"
    head = "optimizer,kappa,lr,weight_decay,options,seed,arch,heads,tokens_per_parameter,final_loss"
    file.write_text("\n".join([head, *rows]) + "\n")
    write_report([file], tmp_path / "report.html", baseline=f"{HOSTILE} (kappa 0.8)", title=HOSTILE, bootstrap=2)
    page = Page((tmp_path / "report.html").read_text())
    assert page.misplaced == []
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.headings[0] == (1, HOSTILE)
    assert f"{HOSTILE} (kappa 0.9)" in page.column("runs-table", "optimizer")
    for section in ("curves-numbers", "heat-numbers", "kappa-numbers", "seeds-table", "multiplier-numbers"):
        assert (section in page.tables) == (section != "curves-numbers")
    for text in re.findall(r"<svg.*?</svg>", page.text, re.DOTALL):
        ElementTree.fromstring(text)
    links = {attributes["href"] for attributes in page.all("a") if not attributes["href"].startswith("#")}
    assert links == {"./javascript%3Aalert%281%29/%3Cb%20onload%3Dalert%281%29%3E/a%27b.csv"}


def test_a_link_is_a_relative_path_whatever_the_name():
    page = Path("runs/report.html")
    assert link(Path("runs/javascript:alert(1)"), page) == "./javascript%3Aalert%281%29"
    assert link(Path("data:text/html,x"), page) == "../data%3Atext/html%2Cx"


def test_a_run_found_twice_is_refused(small):
    root, _ = small
    with pytest.raises(ValueError, match="00-adamw is read twice: name it, or a folder above it, once"):
        find([root / "runs", root / "runs" / "00-adamw"])


@pytest.mark.slow
def test_a_hundred_runs_with_long_curves_stay_below_a_megabyte(tmp_path):
    steps = 1000
    for i in range(100):
        recipe = Recipe("adamw", 1e-3 * 1.1 ** (i % 10), {"weight_decay": 4.0}, heads=1, steps=steps, seed=i // 10)
        run_folder(tmp_path / "runs" / f"{i:03d}", recipe, 2.0 + 0.001 * i)
        result = read_result(tmp_path / "runs" / f"{i:03d}")
        curve = [(t, 2.0 + 0.001 * i + 3 / math.sqrt(t)) for t in range(1, steps + 1)]
        write_result(tmp_path / "runs" / f"{i:03d}", recipe, replace(result, curve=curve))
    write_report([tmp_path / "runs"], tmp_path / "report.html", bootstrap=2)
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
