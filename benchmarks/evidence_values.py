"""Tables and claims of docs/evidence.md on kappa and delta, the learning rate searched at every value."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from evidence_claims import Claim, less, load, span, told
from evidence_pieces import NAMES
from overtraining_table import HEADS

KAPPA, DELTA = 0.85, 8.0
"""The defaults."""

Values = dict[float, dict[str, Any]]
"""Rows of the raw file by the option's value."""


def means(rows: Values) -> dict[float, float]:
    """Mean loss over the seeds by value, but of what diverged."""
    return {value: fmean(row["losses"]) for value, row in rows.items() if None not in row["losses"]}


def columns(found: dict[Any, Values]) -> list[float]:
    return sorted({value for rows in found.values() for value in rows})


def cells(rows: Values, values: list[float], digits: int) -> list[str]:
    """Mean loss over seeds and the learning rate at every value, the least in bold; empty where it was not run."""
    losses = means(rows)
    made = []
    for value in values:
        if value not in rows:
            made.append("")
        elif value not in losses:
            made.append("diverged")
        else:
            loss = f"{losses[value]:.{digits}f}"
            rate = f"{rows[value]['lr']:.2g}{'' if rows[value]['bracketed'] else '*'}"
            made.append(f"{f'**{loss}**' if losses[value] == min(losses.values()) else loss} ({rate})")
    return made


def best_beside(rows: Values, default: float) -> tuple[float, list[float]]:
    """The best value but the default, and how far it ends below the default on the same seeds."""
    losses = means(rows)
    best = min((value for value in losses if value != default), key=lambda value: losses[value])
    return best, less(rows[default]["losses"], rows[best]["losses"])


def on_known_texts() -> dict[float, Values]:
    """By the Hilberg exponent of the text, then by kappa."""
    found: dict[float, Values] = {}
    for row in load("kappa-texts.json")["rows"]:
        found.setdefault(row["exponent"], {})[row["kappa"]] = row
    return found


def on_dictionary() -> dict[tuple[int, str], Values]:
    """By parameters and optimizer with its clip, then by kappa."""
    found: dict[tuple[int, str], Values] = {}
    for row in load("kappa-sizes.json")["rows"]:
        clip = f", clip {row['clip_snr']:g}" if "clip_snr" in row else ""
        found.setdefault((row["parameters"], NAMES[row["optimizer"]] + clip), {})[row["kappa"]] = row
    return found


def by_delta() -> dict[tuple[float, str], Values]:
    """By horizon and optimizer, then by delta."""
    found: dict[tuple[float, str], Values] = {}
    for row in load("delta.json")["rows"]:
        found.setdefault((row["f"], NAMES[row["optimizer"]]), {})[row["delta"]] = row
    return found


def tables() -> list[tuple[list[str], list[list[str]]]]:
    """Headings and rows."""
    texts, words, deltas = on_known_texts(), on_dictionary(), by_delta()
    kappas = [f"kappa {value:g}" for value in columns(words)]
    return [
        (
            ["Hilberg exponent", *(f"kappa {value:g}" for value in columns(texts))],
            [[f"{exponent:g}", *cells(rows, columns(texts), 4)] for exponent, rows in texts.items()],
        ),
        (
            ["parameters", "optimizer", *kappas],
            [[f"{size:,}", name, *cells(rows, columns(words), 3)] for (size, name), rows in words.items()],
        ),
        (
            ["f", "optimizer", *(f"delta {value:g}" for value in columns(deltas))],
            [[f"{f:g}", name, *cells(rows, columns(deltas), 3)] for (f, name), rows in deltas.items()],
        ),
    ]


def claims() -> list[Claim]:
    """Whether a kappa from a text's exponent on is better; elsewhere, whether the best value ends below the default."""
    made = []
    for exponent, rows in on_known_texts().items():
        losses = means(rows)
        under, over = ([kappa for kappa in losses if (kappa < exponent) is side] for side in (True, False))
        if not under:
            continue
        low, high = (min(some, key=lambda kappa: losses[kappa]) for some in (under, over))
        gains = less(rows[low]["losses"], rows[high]["losses"])
        claim = f"Kappa {high:g} ends below {low:g} on a text of Hilberg exponent {exponent:g}"
        on = f"28,672 parameters, {len(gains)} seeds"
        page = "evidence.md#kappa-on-texts-of-known-exponent"
        made.append(Claim(claim, told(gains), f"{span(gains, 4)} nats", on, ("kappa-texts.json",), page))
    for (size, name), rows in on_dictionary().items():
        best, gains = best_beside(rows, KAPPA)
        default = rows[KAPPA]
        claim = f"{name}: kappa {best:g} ends below the default, {KAPPA:g}"
        on = f"{size:,} parameters in {HEADS[default['heads']]} heads, the dictionary, {default['steps']:,} steps"
        on += f", {len(gains)} seeds"
        page = "evidence.md#kappa-on-a-dictionary"
        made.append(Claim(claim, told(gains), f"{span(gains)} nats", on, ("kappa-sizes.json",), page))
    for (f, name), rows in by_delta().items():
        best, gains = best_beside(rows, DELTA)
        claim = f"{name}: delta {best:g} ends below the default, {DELTA:g}"
        on = f"{rows[DELTA]['parameters']:,} parameters in four heads, the dictionary, f = {f:g}, {len(gains)} seeds"
        made.append(Claim(claim, told(gains), f"{span(gains)} nats", on, ("delta.json",), "evidence.md#delta"))
    return made
