"""Tables of docs/ablations.md from the results of ``benchmarks/overtraining.py`` at one horizon.

python benchmarks/contenders_table.py results/contenders-muon.json contenders:log_muon     the last word is the baseline
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from overtraining import paired

NAMES = {
    "adamw-dw": "AdamW",
    "adana": "ADana",
    "contenders:AlignedADana": "ADana, alpha by alignment, gain 2",
    "contenders:log_muon": "log-time Muon, kappa .7",
    "contenders:log_muon_neuron": "the same, second moment per neuron, log time",
    "contenders:log_muon_element": "the same, second moment per element, log time",
    "contenders:Lion": "Lion",
    "contenders:LogLion": "log-time Lion, kappa .85",
    "contenders:Signum": "Signum",
    "contenders:LogSignum": "log-time Signum",
    "pytorch_optimizer:SOAP": "SOAP",
}
WORDS = {"weight_decay": "decay"}


def table(found: dict[str, Any], baseline: str) -> str:
    """In Markdown: settings, losses of the seeds, and how far each is ahead of the baseline on the same seeds."""
    rows = {row["optimizer"]: row for row in found["rows"]}
    lines = ["| optimizer | lr | searched besides | losses of the seeds | mean | ahead: mean, 95 % interval, p |"]
    lines.append("|---|---|---|---|---|---|")
    for name, row in rows.items():
        options = ", ".join(f"{WORDS.get(key, key)} {shown(value)}" for key, value in row["options"].items())
        lr = f"{row['lr']:.3g}{'' if row['bracketed'] else '*'}"
        losses = ", ".join("diverged" if x is None else f"{x:.3f}" for x in row["losses"])
        mean = "" if row["loss"] is None else f"{statistics.fmean(row['losses']):.3f}"
        lines.append(f"| {NAMES[name]} | {lr} | {options} | {losses} | {mean} | {_ahead(row, rows[baseline])} |")
    return "\n".join(lines)


def shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else ", ".join(f"{x:g}" for x in value)


def _ahead(row: dict[str, Any], base: dict[str, Any]) -> str:
    if row is base or row["loss"] is None or base["loss"] is None:
        return ""
    found = paired(row["losses"], base["losses"])
    low, high = found["interval"]
    return f"{found['ahead']:+.3f}, {low:+.3f} to {high:+.3f}, p = {found['p']:.2g}"


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]))
