"""The tables of docs/evidence.md over tokens per parameter, from results/overtraining-*.json.

python benchmarks/overtraining_table.py gcide
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import stdev
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]


def measured(text: str) -> list[Row]:
    return json.loads((RESULTS / f"overtraining-{text}.json").read_text())["rows"]


def losses(rows: list[Row]) -> list[list[str]]:
    """By horizon: mean loss of every optimizer and its standard deviation over the seeds; the least in bold."""
    made = []
    for f, own in by_horizon(rows).items():
        least = min(row["loss"] for row in own.values() if row["loss"] is not None)
        cells = [_loss(own.get(name), least) for name in optimizers(rows)]
        some = next(iter(own.values()))
        made.append([f"{f:g}", f"{some['steps']:,}", f"{len(some['losses'])}", *cells])
    return made


def _loss(row: Row | None, least: float) -> str:
    if row is None or row["loss"] is None:
        return "not run" if row is None else "diverged"
    loss = f"{row['loss']:.3f}"
    spread = f" ± {stdev(row['losses']):.3f}" if len(row["losses"]) > 1 else ""
    return f"{f'**{loss}**' if row['loss'] == least else loss}{spread}"


def settings(rows: list[Row]) -> list[list[str]]:
    """By horizon: learning rate, omega and own option of every optimizer; a star where a rate is not bracketed."""
    return [
        [f"{f:g}", *(_setting(own[name]) if name in own else "not run" for name in optimizers(rows))]
        for f, own in by_horizon(rows).items()
    ]


def _setting(row: Row) -> str:
    options = dict(row["options"])
    omega = options.pop("weight_decay")
    (own,) = options.values()
    value = own[1] if isinstance(own, list) else own
    return f"{row['lr']:.2g}{'' if row['bracketed'] else '*'}, {omega:g}, {value:g}"


def ahead(rows: list[Row], of: str) -> list[list[str]]:
    """By horizon: nats that each optimizer is ahead of another on the same seeds, with 95 % by Student's t and p."""
    names = [name for name in optimizers(rows) if name != of]
    made = []
    for f, own in by_horizon(rows).items():
        found = [own[name].get(f"against {of}") if name in own else None for name in names]
        made.append([f"{f:g}", *map(_ahead, found)])
    return made


def _ahead(found: dict[str, Any] | None) -> str:
    if found is None or found["ahead"] is None:
        return ""
    if found["interval"] is None:
        return f"{found['ahead']:.3f}"
    low, high = found["interval"]
    return f"{found['ahead']:.3f} ({low:.3f} to {high:.3f}), p {found['p']:.2g}"


def by_horizon(rows: list[Row]) -> dict[float, dict[str, Row]]:
    found: dict[float, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["f"], {})[row["optimizer"]] = row
    return dict(sorted(found.items()))


def optimizers(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["optimizer"] for row in rows))


def shown(headings: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [headings, ["---"] * len(headings), *rows])


if __name__ == "__main__":
    for text in sys.argv[1:]:
        found = measured(text)
        names = optimizers(found)
        print(shown(["f", "steps", "seeds", *names], losses(found)), end="\n\n")
        print(shown(["f: lr, omega, own option", *names], settings(found)), end="\n\n")
        for of in ("adamw-dw", "muon-dw"):
            print(shown([f"f: ahead of {of}", *(n for n in names if n != of)], ahead(found, of)), end="\n\n")
