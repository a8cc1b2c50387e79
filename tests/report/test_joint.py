"""The page's sections of laws over size, tokens and batch."""

from __future__ import annotations

import csv
import itertools
import math
import random
from pathlib import Path

import pytest

from adana.report.findings import find
from adana.report.sections import sections

SECTIONS = ("tokens", "rate-batch", "overtraining")


def table(path: Path, budgets: int, batches: tuple[int, ...] = (32768, 65536, 131072)) -> Path:
    """AdamW, and ADana that is worth 1.15 times the tokens at f = 1 and more later; rates swept for AdamW."""
    noise = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "final_loss", "seed", "parameters", "tokens", "lr", "batch_tokens"])
        for n, f in itertools.product((5e7, 1e8, 2e8, 4e8), [2.0**k for k in range(budgets)]):
            d = 20 * n * f
            for name, worth, growth in (("adamw", 1.0, 1.0), ("adana", 1.15, 1.05)):
                for batch, off in itertools.product(batches, (0.5, 1.0, 2.0)):
                    lr = 1.8 * n**-0.7 * d**0.3 * (batch / 65536) ** 0.5 * off
                    loss = 1.8 + 480 * n**-0.35 + 2100 * (worth * f ** (growth - 1) * d) ** -0.37
                    loss += 0.02 * math.log(off) ** 2 + 0.01 * math.log(batch / 65536) ** 2 + noise.gauss(0, 2e-4)
                    writer.writerow([name, f"{loss:.6f}", 0, n, d, lr, batch])
    return path


def test_each_law_has_its_figure_and_its_numbers(tmp_path):
    found = find([table(tmp_path / "runs.csv", 4)], bootstrap=20)
    made = {section.id: section for section in sections(found, tmp_path / "page.html", "adana report")}
    for name in SECTIONS:
        assert made[name].figures, name
        for figure in made[name].figures:
            assert figure.numbers.rows, name
            assert figure.command.startswith("adana fit"), name
            for panel in figure.panels:
                assert "<svg" in panel.drawing
    # A contour of each optimizer's law, with the best size in words for those who do not see it.
    assert len(made["tokens"].figures) == 2
    assert "Contours of the loss" in made["tokens"].figures[0].panels[0].drawing
    assert len(made["rate-batch"].figures[0].panels) == 4  # rate and batch of both
    assert len(made["overtraining"].figures[0].panels) == 1


@pytest.mark.parametrize("name", SECTIONS)
def test_what_the_runs_do_not_allow_is_one_sentence(name, tmp_path):
    found = find([table(tmp_path / "runs.csv", 1, batches=(65536,))], bootstrap=20)
    made = {section.id: section for section in sections(found, tmp_path / "page.html", "adana report")}
    assert name not in made
    headings = {
        "tokens": "Loss over size and tokens: ",
        "rate-batch": "Learning rate over size, tokens and batch: ",
        "overtraining": "The overtraining axis: ",
    }
    (said,) = [note for note in made["absent"].notes if note.startswith(headings[name])]
    assert said.count("\n") == 0
    assert len(said) > len(headings[name])


def test_ids_stand_on_a_page_once(tmp_path):
    found = find([table(tmp_path / "runs.csv", 4)], bootstrap=20)
    made = sections(found, tmp_path / "page.html", "adana report")
    ids = [one.id for section in made for one in (section, *section.figures, *section.tables)]
    ids += [figure.numbers.id for section in made for figure in section.figures]
    assert len(ids) == len(set(ids))
