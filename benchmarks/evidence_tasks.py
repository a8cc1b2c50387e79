"""Tables and claims of docs/evidence.md about digits, sparse and late gradients."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from evidence_claims import Claim, less, load, span, told
from race_table import own

BASELINES = ("adamw", "adamw-dw")
DIGITS_HEADINGS = ("steps", "optimizer", "lr", "weight decay", "own option", "test loss", "below AdamW", "errors")
SPARSE_HEADINGS = ("model", "optimizer", "lr", "weight decay", "own option", "loss", "below AdamW", "below ADana")
SHARE_HEADINGS = ("model", "parameters", "experts without a gradient in a step", "embedding rows without one")
LATE_HEADINGS = (
    "optimizer",
    "lr",
    "weight decay",
    "own option",
    "early bytes",
    "below AdamW",
    "late bytes",
    "late, below AdamW",
)
WHERE = {"dense": "on a dense model", "experts": "with rare experts", "tokens": "with rare tokens"}


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


def shares() -> list[list[str]]:
    about = load("sparse-gradients.json")["settings"]
    made = []
    for setting in WHERE:
        share = {name: f"{100 * value:.0f} %" for name, value in about[setting]["without gradient"].items()}
        made.append([setting, f"{about[setting]['parameters']:,}", share.get("experts", ""), share["rows"]])
    return made


def sparse() -> list[list[str]]:
    made = []
    found = groups("sparse-gradients.json", "setting")
    for setting, rows in ((name, found[name]) for name in WHERE):
        adamw, adana = better_adamw(rows), rows["adana"]
        for name, row in rows.items():
            gain = "" if row is adamw else span(less(adamw["losses"], row["losses"]))
            more = "" if row in (adamw, adana) else span(less(adana["losses"], row["losses"]))
            made.append([setting, name, *settings(row), f"{fmean(row['losses']):.3f}", gain, more])
    return made


def sparse_claims() -> list[Claim]:
    page, raw = "evidence.md#sparse-gradients-in-models", ("sparse-gradients.json",)
    about = load("sparse-gradients.json")["settings"]
    losses = {
        setting: {name: row["losses"] for name, row in rows.items()}
        for setting, rows in groups("sparse-gradients.json", "setting").items()
    }
    made = []
    for setting, where in WHERE.items():
        for words, ours, theirs in (
            ("ADana ends below AdamW", "adana", "adamw-dw"),
            ("DanaMK4 ends below AdamW", "dana-mk4", "adamw-dw"),
            ("DanaStarMK4 ends below ADana", "dana-star-mk4", "adana"),
            ("DanaStarMK4 ends below DanaMK4", "dana-star-mk4", "dana-mk4"),
        ):
            gains = less(losses[setting][theirs], losses[setting][ours])
            on = f"{about[setting]['parameters']:,} parameters, {len(gains)} seeds"
            made.append(Claim(f"{words} {where}", told(gains), f"{span(gains)} nats", on, raw, page))
    leads = [less(losses[setting]["adamw-dw"], losses[setting]["adana"]) for setting in ("experts", "dense")]
    change = less(leads[1], leads[0])
    on = f"both models, {len(change)} seeds"
    words = "ADana's lead over AdamW is smaller with rare experts than on the dense model"
    made.append(Claim(words, told(change), f"{span(change)} nats", on, raw, page))
    return made


def late() -> list[list[str]]:
    """Losses of bytes that occur all the time and of those that come late."""
    rows = {row["optimizer"]: row for row in load("late-parameters.json")["rows"]}
    adamw = rows["adamw-dw"]
    made = []
    for name, row in rows.items():
        cells = [name, *settings(row)]
        for part in ("early", "late"):
            cells += [f"{fmean(row[part]):.3f}", "" if row is adamw else span(less(adamw[part], row[part]))]
        made.append(cells)
    return made


def late_claims() -> list[Claim]:
    found = load("late-parameters.json")
    rows = {row["optimizer"]: row for row in found["rows"]}
    page, raw = "evidence.md#parameters-that-start-late", ("late-parameters.json",)
    made = []
    for words, ours, theirs, part in (
        ("ADana ends below AdamW on bytes that occur all the time, others coming late", "adana", "adamw-dw", "early"),
        ("ADana ends below AdamW on bytes that come late", "adana", "adamw-dw", "late"),
        ("DanaStarMK4 ends below DanaMK4 on bytes that come late", "dana-star-mk4", "dana-mk4", "late"),
        ("DanaStar ends below ADana on bytes that come late", "dana-star", "adana", "late"),
    ):
        gains = less(rows[theirs][part], rows[ours][part])
        on = f"{found['parameters']:,} parameters in four heads, {found['steps']} steps, {len(gains)} seeds"
        made.append(Claim(words, told(gains), f"{span(gains)} nats", on, raw, page))
    return made


def digit_claims() -> list[Claim]:
    """Against the AdamW that does better, at each number of steps."""
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
