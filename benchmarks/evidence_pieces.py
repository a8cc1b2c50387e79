"""The claims of docs/evidence.md about the pieces of the rules, from what docs/ablations.md shows."""

from __future__ import annotations

from typing import Any

from ablations import LINES
from evidence_claims import Claim, joined, less, load, span, told

SMALL = "28,672 parameters in four heads"
NAMES = {"adana": "ADana", "dana-mk4": "DanaMK4", "log-muon": "Log-time Muon"}


def ablations(files: tuple[str, ...], size: str, page: str) -> list[Claim]:
    """ADana against ADana with one piece changed, at every horizon."""
    rows: dict[str, dict[str, list[float | None]]] = {}
    raw: dict[str, dict[str, None]] = {}  # files in order, each once
    for file in files:
        for one in load(file)["measured"]:
            for row in one["rows"]:
                rows.setdefault(row["name"], {})[f"{one['steps']:,}"] = row["losses"]
                raw.setdefault(row["name"], {})[file] = None
    made = []
    for name, losses in rows.items():
        if name == "adana":
            continue
        diverged = [steps for steps, some in losses.items() if None in some]
        gains = {
            steps: less(some, rows["adana"][steps])  # type: ignore[arg-type]
            for steps, some in losses.items()
            if steps not in diverged
        }
        if not gains:  # diverged everywhere: no loss to compare
            continue
        holds, amount = joined(gains, "{} steps")
        amount += f"; diverged at {', '.join(diverged)}" if diverged else ""
        what = LINES[name][0]
        words = f"ADana ends below {what}" if what.startswith("AdamW") else f"ADana ends below ADana with {what}"
        on = f"{size}, {len(rows['adana'][next(iter(losses))])} seeds"
        made.append(Claim(words, holds, amount, on, tuple(raw[name]), page))
    return made


def cooldowns() -> list[Claim]:
    """Every optimizer with a cooldown against itself without."""
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for row in load("cooldown.json")["rows"]:
        rows.setdefault((row["optimizer"], row["cooldown"]), {})[f"{row['f']:g}"] = row
    without = {(row["optimizer"], f"{row['f']:g}"): row["losses"] for row in load("overtraining-gcide.json")["rows"]}
    made = []
    for (name, share), by_f in rows.items():
        gains = {f: less(without[name, f][: len(row["losses"])], row["losses"]) for f, row in by_f.items()}
        holds, amount = joined(gains, "f = {}")
        words = f"{NAMES[name]} with a momentum cooldown over the last {100 * share:.0f} % ends below that without"
        on = f"{SMALL}, the dictionary, {len(next(iter(gains.values())))} seeds"
        raw = ("cooldown.json", "overtraining-gcide.json")
        made.append(Claim(words, holds, amount, on, raw, "ablations.md#momentum-cooldown"))
    return made


def amcs() -> list[Claim]:
    """The table of AMCS's source at a small size."""
    losses = {row["name"]: row["losses"] for row in load("amcs-table.json")["rows"]}
    made = []
    for words, ours, theirs in (
        ("AMCS ends below AdamW, both with constant decay", "AMCS", "AdamW"),
        ("AdamW's direction orthogonalised ends below Muon", "Ortho-Adaptive", "Muon"),
    ):
        gains = less(losses[theirs], losses[ours])
        on = f"Qwen3 of 262,976 parameters, 640 steps, {len(gains)} seeds"
        page = "ablations.md#the-table-of-amcss-source"
        made.append(Claim(words, told(gains), f"{span(gains)} nats", on, ("amcs-table.json",), page))
    return made
