"""Run folders and CSV files with known laws, for the report."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

from adana.models import EnokiConfig
from adana.scaling.laws import LearningRateLaw, LossLaw
from adana.train.folder import write_result
from adana.train.run import Recipe, Result
from tests.scaling.ladders import enoki_pfh

RATE = LearningRateLaw(22.5, 0.0, -0.618)
LOSSES = {"adamw": LossLaw(1.04, 2.16, 0.074), "adana": LossLaw(1.04, 2.12, 0.075)}
HEADS = (6, 8, 12, 16)
VOID = {"meta", "link", "br", "img", "input", "hr"}


def run_folder(folder: Path, recipe: Recipe, loss: float | None, *, unfinished: bool = False) -> None:
    """A folder as a run leaves it, its curve falling to its final loss; a loss of None diverged half-way."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"recipe": asdict(recipe), "versions": {}}))
    if not unfinished:
        steps = range(1, recipe.steps + 1, max(1, recipe.steps // 8))
        curve = [(step, (loss or 4.0) + 2.0 * (1 - step / recipe.steps)) for step in steps]
        curve = curve[:4] if loss is None else [*curve, (recipe.steps, loss)]
        result = Result(loss, None if loss else recipe.steps // 2, curve, [], 1.0, "abc")
        write_result(folder, recipe, result)


def small_runs(root: Path) -> Path:
    """One size, with sweeps, omegas, kappas, seeds, a diverged and an unfinished run; a second to have curves of."""
    made = 0

    def run(loss, *, optimizer="adamw", lr=1e-3, seed=0, heads=1, unfinished=False, **options):
        nonlocal made
        recipe = Recipe(optimizer, lr, options, heads=heads, steps=80, seed=seed)
        run_folder(root / f"{made:02d}-{optimizer}", recipe, loss, unfinished=unfinished)
        made += 1

    for seed, loss in enumerate((2.01, 2.02, 2.06)):
        run(loss, seed=seed, weight_decay=4.0)
    for omega in (1.0, 4.0):
        for lr in (5e-4, 2e-3):
            run(2.1 + 0.01 * omega + lr, lr=lr, weight_decay=omega)
    run(2.2, weight_decay=1.0)
    run(None, lr=4e-3, weight_decay=4.0)
    for kappa, loss in ((0.7, 2.3), (0.85, 1.95), (1.0, 2.05)):
        run(loss, optimizer="adana", kappa=kappa)
    run(1.8, heads=2, weight_decay=4.0)
    run(1.0, heads=2, unfinished=True)
    return root


def ladder_csv(path: Path, *, heads=HEADS, rates=(0.64, 0.8, 1.0, 1.25, 1.5625), names=tuple(LOSSES)) -> Path:
    """Sweeps of the learning rate around a known law, with losses of known laws."""
    rows = [
        {"arch": "enoki", "heads": h, "optimizer": name, "kappa": 0.85 if name == "adana" else "", "seed": 0}
        | {"lr": RATE(EnokiConfig(h).non_embedding_parameters) * rate, "tokens_per_parameter": 20}
        | {"batch_tokens": 65536, "final_loss": LOSSES[name](enoki_pfh(h)) + 0.0193 * math.log(rate) ** 2}
        for name in names
        for h in heads
        for rate in rates
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


class Page(HTMLParser):
    """A page as a reader's tools see it: elements in order, tables by id, links, and what was never closed."""

    def __init__(self, text: str):
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.captions: dict[str, str] = {}
        self.words: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.misplaced: list[str] = []
        self._open: list[str] = []
        self._table = ""
        self.feed(text)
        self.close()
        self.misplaced += self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._table = dict(attrs).get("id") or ""
            self.tables[self._table], self.captions[self._table] = [], ""
        elif tag == "tr" and self._table:
            self.tables[self._table].append([])
        elif tag in ("td", "th") and self._table:
            self.tables[self._table][-1].append("")
        elif tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.misplaced.append(tag)
        if tag == "table":
            self._table = ""

    def handle_data(self, data):
        inside = set(self._open)
        if not inside & {"style", "script"}:
            self.words.append(data)
        if self._table and "caption" in inside:
            self.captions[self._table] += data
        elif self._table and self.tables[self._table] and inside & {"td", "th"}:
            self.tables[self._table][-1][-1] += data
        if self.headings and self._open and self._open[-1] in ("h1", "h2", "h3", "h4"):
            level, said = self.headings[-1]
            self.headings[-1] = (level, said + data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())

    def column(self, table: str, heading: str) -> list[str]:
        head, *rows = self.tables[table]
        return [row[head.index(heading)] for row in rows]
