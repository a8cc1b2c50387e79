"""The claims of docs/evidence.md about optimizers and rules that are no part of the package (docs/ablations.md)."""

from __future__ import annotations

from evidence_claims import Claim, less, load, span, told

SMALL = "28,672 parameters, {steps} steps, 5 seeds"


def claims() -> list[Claim]:
    rows = load("damping-race.json")["rows"]
    steps = load("damping-race.json")["steps"]
    aligned = next(row["losses"] for row in rows if row["optimizer"] != "adana")
    made = []
    for kappa in (0.55, 0.85):
        theirs = next(row["losses"] for row in rows if row["options"].get("kappa") == kappa)
        ahead = less(theirs, aligned)
        made.append(
            Claim(
                f"ADana with an alpha sized by the run itself ends below ADana with kappa {kappa:g}",
                told(ahead),
                f"{span(ahead)} nats",
                SMALL.format(steps=steps),
                ("damping-race.json",),
                "ablations.md#on-a-language-model",
            )
        )
    return made
