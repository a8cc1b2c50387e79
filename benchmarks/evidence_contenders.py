"""The claims of docs/evidence.md about optimizers and rules that are no part of the package (docs/ablations.md)."""

from __future__ import annotations

from evidence_claims import Claim, less, load, span, told

SMALL = "28,672 parameters, {steps} steps, 5 seeds"


MADE = (
    (
        "muon",
        "log_muon_element",
        "log_muon",
        "Log-time Muon with a second moment per element ends below that without",
        280,
    ),
    (
        "muon-long",
        "log_muon_element",
        "log_muon",
        "Log-time Muon with a second moment per element ends below that without",
        560,
    ),
    (
        "muon",
        "log_muon_neuron",
        "log_muon",
        "Log-time Muon with a second moment per neuron ends below that without",
        280,
    ),
    ("sign", "LogLion", "Lion", "Lion in log time ends below Lion", 280),
    ("sign", "LogSignum", "Signum", "Signum in log time ends below Signum", 280),
)


def contenders() -> list[Claim]:
    found = []
    for file, name, other, claim, steps in MADE:
        rows = {row["optimizer"]: row["losses"] for row in load(f"contenders-{file}.json")["rows"]}
        ahead = less(rows[f"contenders:{other}"], rows[f"contenders:{name}"])
        page = "ablations.md#" + (
            "signs-in-log-time-and-soap" if file == "sign" else "a-second-moment-after-orthogonalisation"
        )
        on = SMALL.format(steps=steps)
        found.append(Claim(claim, told(ahead), f"{span(ahead)} nats", on, (f"contenders-{file}.json",), page))
    return found


def claims() -> list[Claim]:
    return [*damping(), *contenders()]


def damping() -> list[Claim]:
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
