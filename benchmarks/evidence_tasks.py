"""The tables of docs/evidence.md about digits, and its claims about it."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from evidence_claims import Claim, less, load, span, told
from race_table import own

BASELINES = ("adamw", "adamw-dw")
DIGITS_HEADINGS = ("steps", "optimizer", "lr", "weight decay", "own option", "test loss", "below AdamW", "errors")


def groups(name: str, key: str) -> dict[Any, dict[str, dict[str, Any]]]:
    """Rows of a file by a column, then by optimizer."""
    found: dict[Any, dict[str, dict[str, Any]]] = {}
    for row in load(name)["rows"]:
        found.setdefault(row[key], {})[row["optimizer"]] = row
    return found


def better_adamw(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return min((row for name, row in rows.items() if name in BASELINES), key=lambda row: fmean(row["losses"]))


def settings(row: dict[str, Any]) -> list[str]:
    mark = "" if row["bracketed"] else "*"
    return [f"{row['lr']:.2g}{mark}", f"{row['options']['weight_decay']:g}", own(row["options"])]


def digits() -> list[list[str]]:
    made = []
    for steps, rows in groups("digits.json", "steps").items():
        adamw = better_adamw(rows)
        for name, row in rows.items():
            gain = "" if name in BASELINES else span(less(adamw["losses"], row["losses"]))
            cells = [f"{steps}", name, *settings(row), f"{fmean(row['losses']):.3f}", gain]
            made.append([*cells, f"{100 * fmean(row['errors']):.1f} %"])
    return made


def claims() -> list[Claim]:
    """All of this file, in the order of the page."""
    made = []
    page = "evidence.md#a-task-that-is-not-text"
    for steps, rows in groups("digits.json", "steps").items():
        adamw = better_adamw(rows)
        for claim, name in (("ADana", "adana"), ("DanaMK4", "dana-mk4"), ("Muon", "muon-dw")):
            gains = less(adamw["losses"], rows[name]["losses"])
            on = f"digits, {steps} steps, {len(gains)} seeds"
            words = f"{claim} ends below the better AdamW on digits"
            made.append(Claim(words, told(gains), f"{span(gains)} nats", on, ("digits.json",), page))
    return made
