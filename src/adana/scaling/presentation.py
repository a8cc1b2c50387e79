"""What a fit says, in tables and sentences: the terminal and the report's page both take them from here."""

from __future__ import annotations

from collections.abc import Sequence

from adana.scaling.batch_shown import batch_shown
from adana.scaling.fits import (
    BatchLaws,
    DampingLaws,
    Fit,
    FormTest,
    LearningRateLaws,
    LossLaws,
    MultiplierRow,
    Multipliers,
    OptimizerLoss,
    OptimizerRate,
    Overtraining,
    RateBatchLaws,
    SizeTokensLaws,
)
from adana.scaling.intervals import Interval
from adana.scaling.overtraining_shown import overtraining_shown
from adana.scaling.rate_batch_shown import rate_batch_shown
from adana.scaling.shown import Shown
from adana.scaling.size_tokens_shown import size_tokens_shown
from adana.tables import Cell, Column, Table, span, tabulate

__all__ = ["Shown", "about_b", "about_form", "loss_shown", "multipliers_shown", "rates_shown", "shown", "starred"]


def shown(fit: Fit) -> Shown:
    """A fit of any kind, in tables and sentences."""
    if isinstance(fit, LearningRateLaws):
        found = rates_shown(fit.laws, at=fit.horizon)
    elif isinstance(fit, LossLaws):
        found = loss_shown(fit)
    elif isinstance(fit, Multipliers):
        found = multipliers_shown(fit)
    elif isinstance(fit, SizeTokensLaws):
        found = size_tokens_shown(fit)
    elif isinstance(fit, Overtraining):
        found = overtraining_shown(fit)
    elif isinstance(fit, BatchLaws):
        found = batch_shown(fit)
    elif isinstance(fit, RateBatchLaws):
        found = rate_batch_shown(fit)
    else:
        found = _dampings_shown(fit)
    if len(fit.models) < 2:
        return found
    mixed = f"runs of different models together: {' and '.join(fit.models)}"
    return Shown(found.tables, (*found.warnings, mixed), found.remarks)


# --- learning rates -------------------------------------------------------------------------------------


def rates_shown(laws: Sequence[OptimizerRate], *, at: str) -> Shown:
    """Learning-rate laws of several optimizers.

    Args:
        laws: by optimizer.
        at: the horizon that they hold for, in words.
    """

    def b_interval(law: OptimizerRate) -> Cell:
        found = law.fit.intervals.b
        if found is None:
            return Cell("not fitted")
        return Cell(span(found) + ("" if law.fit.b_identified else " ?"), found.low)

    tables = [
        tabulate(
            "law-table",
            f"{LearningRateLaws.formula}, P the non-embedding parameters, at {at}; with 95 % intervals. "
            "?: not identified.",
            laws,
            [
                Column("optimizer", lambda law: law.label, words=True),
                Column("a", lambda law: law.fit.law.a, ".3g"),
                Column("a, 95 %", lambda law: law.fit.intervals.a),
                Column("b", lambda law: law.fit.law.b, ".3g"),
                Column("b, 95 %", b_interval),
                Column("d", lambda law: law.fit.law.d, ".3f"),
                Column("d, 95 %", lambda law: law.fit.intervals.d, ".3f"),
            ],
        ),
        tabulate(
            "law-predictions",
            "Peak learning rates that the laws predict.",
            [(law.label, one) for law in laws for one in law.predictions],
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("size P", lambda it: it[1].non_embedding_parameters, "count"),
                Column("lr", lambda it: it[1].lr),
                Column("95 %", lambda it: it[1].interval),
            ],
        ),
    ]
    costs = [(law, cost) for law in laws for cost in law.sensitivity.costs]
    if costs:
        tables.append(
            tabulate(
                "law-costs",
                "What an error in the learning rate costs (56)-(59).",
                costs,
                [
                    Column("optimizer", lambda it: it[0].label, words=True),
                    Column("curvature", lambda it: it[0].sensitivity.curvature, ".3g"),
                    Column("off by", lambda it: it[1].of, words=True),
                    Column("loss", lambda it: it[1].loss, ".2g", unit="nats"),
                    Column("compute", lambda it: it[1].compute, ".3%"),
                ],
            )
        )
    warnings = []
    for law in laws:
        said = about_b(law)
        if said:
            warnings.append(f"{law.label}: {said}")
        warnings += [
            f"{law.label}: at {size:.3g} parameters the best learning rate is the last one tried on its side"
            for size in law.fit.unbracketed
        ]
    return Shown(tuple(tables), tuple(warnings), ("A law in size alone holds for the horizon it was fitted at.",))


def about_b(law: OptimizerRate) -> str | None:
    """What there is to say of b of a learning-rate law; None where the data tell it."""
    if law.fit.intervals.b is None:
        return "too few sizes to fit b; the law has b = 0"
    if law.fit.b_identified:
        return None
    kept = "0" if law.fit.law.b == 0 else f"{law.fit.law.b:.3g}, for 0 would not fit"
    return f"the data do not tell b; the law has b = {kept}"


# --- losses ---------------------------------------------------------------------------------------------


def loss_shown(fit: LossLaws) -> Shown:
    """Loss laws: their numbers, predictions, the held-out sizes, residuals, and Table 15 beside a single law."""
    tables = [
        _loss_laws(fit),
        tabulate(
            "loss-predictions",
            "Losses that the laws predict, with the interval of a new run's: law, noise and other forms.",
            [
                (law.label, one, None if law.fit.two_powers is None else law.fit.two_powers(one.pfh))
                for law in fit.laws
                for one in law.predictions
            ],
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("PFH", lambda it: it[1].pfh),
                Column("loss", lambda it: it[1].loss, ".4f"),
                Column("95 %", lambda it: it[1].interval, ".4f"),
                Column("two power laws", lambda it: it[2], ".4f"),
            ],
        ),
    ]
    held = [(law.label, law.hold_out) for law in fit.laws if law.hold_out is not None]
    if held:
        tables.append(
            tabulate(
                "loss-held-out",
                "The largest size of each, predicted from the others.",
                held,
                [
                    Column("optimizer", lambda it: it[0], words=True),
                    Column("PFH", lambda it: it[1].pfh),
                    Column("measured", lambda it: it[1].loss, ".4f"),
                    Column("predicted", lambda it: it[1].predicted, ".4f"),
                    Column("error", lambda it: it[1].error, "+.4f"),
                    Column("95 %", lambda it: it[1].interval, ".4f"),
                ],
            )
        )
    tables.append(
        tabulate(
            "loss-residuals",
            "How far each loss is from its law.",
            [(law.label, one) for law in fit.laws for one in law.fit.residuals],
            [
                Column("optimizer", lambda it: it[0], words=True),
                Column("PFH", lambda it: it[1].pfh),
                Column("loss", lambda it: it[1].loss, ".4f"),
                Column("loss - law", lambda it: it[1].residual, "+.4f"),
            ],
        )
    )
    if fit.form == "single":
        tables.append(_literature(fit))
    remarks = [f"Noise of a point {fit.noise:.2g} nats; {fit.starts.agreeing} of {fit.starts.tried} starts agree."]
    if fit.held_out:
        remarks.append(
            f"{fit.covered} of {fit.held_out} losses, each predicted from the sizes below it, lie in the interval; "
            f"those above are {fit.laws[0].fit.widening:.2f} times as wide as that."
        )
    if fit.form_test is not None and not fit.form_test.rejects:
        remarks.append(f"Two power laws do not fit better than one ({_tested(fit.form_test)}).")
    return Shown(tuple(tables), tuple(_loss_warnings(fit)), tuple(remarks))


def _loss_laws(fit: LossLaws) -> Table:
    def interval(law: OptimizerLoss, name: str) -> Cell:
        found = law.fit.intervals.get(name)
        if found is None:
            return Cell("held")
        return Cell(span(found) + ("" if law.fit.identified[name] else " ?"), found.low)

    columns: list[Column[OptimizerLoss]] = [Column("optimizer", lambda law: law.label, words=True)]
    for name in ("a", "e", "f") if fit.form == "single" else ("a", "e", "f", "b", "c"):
        columns += [
            Column(name, lambda law, name=name: getattr(law.fit.law, name), ".3g"),  # type: ignore[misc]
            Column(f"{name}, 95 %", lambda law, name=name: interval(law, name)),  # type: ignore[misc]
        ]
    columns.append(Column("R²", lambda law: law.fit.r_squared, ".5f"))
    return tabulate(
        "loss-laws",
        f"{fit.formula}, C by {fit.compute.upper()} in petaflop-hours, at {fit.horizon}; with 95 % intervals. "
        "?: not identified.",
        fit.laws,
        columns,
    )


def _literature(fit: LossLaws) -> Table:
    irreducible = fit.saturation > 0
    rows = [(f"{law.label} (yours)", [law.fit.law.f] * 2, None, "") for law in fit.laws]
    rows += [
        (one["paper"], one["f"], one["max_pfh"], "read off a figure" if one["from_figure"] else "")
        for one in fit.literature
        if one["compute"] in (fit.compute, "?") and one["irreducible"] == irreducible
    ]
    return tabulate(
        "loss-literature",
        f"Published exponents f {'with' if irreducible else 'without'} an irreducible loss (Table 15).",
        rows,
        [
            Column("paper", lambda it: it[0], words=True),
            Column("f", lambda it: Cell(f"{it[1][0]:.3g}" if it[1][0] == it[1][1] else span(it[1]), it[1][0])),
            Column("up to PFH", lambda it: it[2], ",.0f"),
            Column("remark", lambda it: it[3], words=True),
        ],
    )


def _tested(test: FormTest) -> str:
    first, second = test.freedom
    return f"F({first}, {second}) = {test.statistic:.3g}, p = {test.p:.2g}"


def about_form(fit: LossLaws) -> list[str]:
    """What there is to warn of about the form of a loss law."""
    said = []
    if fit.form_test is not None and fit.form_test.rejects:
        said.append(
            f"one power law is not the form of these losses: two fit better ({_tested(fit.form_test)}); fit them with "
            "--form broken"
        )
    elif fit.form_test is None and fit.form == "single":
        said.append(
            "too few sizes to test the form (it takes five of each optimizer): beyond the data the intervals hold only "
            "if one power law is the right form"
        )
    if fit.trend is not None and fit.trend.rejects:
        said.append(f"the residuals follow compute, so that the form does not fit ({_tested(fit.trend)})")
    return said


def _loss_warnings(fit: LossLaws) -> list[str]:
    said = about_form(fit)
    for one in fit.outliers:
        what = "left out" if one.left_out else "kept: --without-outliers leaves it out"
        measured = f"{one.loss:.4g} at {one.pfh:.4g} PFH"
        said.append(f"{one.label}: {measured} is an outlier, the others say {one.expected:.4g} ({what})")
    for law in fit.laws:
        unknown = [name for name, known in law.fit.identified.items() if not known]
        if unknown:
            said.append(
                f"{law.label}: {', '.join(unknown)} not identified (?): other values fit as well; trust predictions "
                "within the data, and their intervals beyond"
            )
    if fit.no_hold_out:
        said.append(f"no size was held out to be predicted: {fit.no_hold_out}")
    return said


# --- multipliers and dampings ---------------------------------------------------------------------------


def multipliers_shown(fit: Multipliers) -> Shown:
    """Compute multipliers, and below them the baseline's own losses."""
    baseline = [
        MultiplierRow(f"{fit.baseline} (baseline)", one.pfh, one.loss, 1.0, False, None, one.outlier)
        for one in fit.ladder
    ]
    at = "" if fit.horizon is None else f"; at {fit.horizon}"
    table = tabulate(
        "multiplier-numbers",
        f"Compute that {fit.baseline} would need for the same loss, over the compute used (Section C.2.1); C by "
        f"{fit.compute.upper()} in petaflop-hours{at}.",
        [*fit.rows, *baseline],
        [
            Column("optimizer", lambda row: row.label, words=True),
            Column("PFH", lambda row: row.pfh),
            Column("loss", lambda row: row.loss, ".4f"),
            Column("multiplier", lambda row: starred(row.multiplier, ".3f", row.extrapolated)),
            Column("95 %", lambda row: row.interval, ".3f"),
            Column("saved", lambda row: starred(row.efficiency, "+.1%", row.extrapolated)),
        ],
    )
    measured = [(row.label, row) for row in fit.rows] + [(fit.baseline, row) for row in baseline]
    warnings = [f"{name}: {row.loss:.4g} at {row.pfh:.4g} PFH is an outlier" for name, row in measured if row.outlier]
    unknown = [f"{row.label} at {row.pfh:.4g} PFH" for row in fit.rows if row.multiplier is None]
    if unknown:
        warnings.append(f"no budget gives {fit.baseline} the loss of {', '.join(unknown)}: no multiplier")
    remarks = []
    if any(row.extrapolated for row in fit.rows):
        remarks.append(f"* extrapolated: outside the losses of {fit.baseline}.")
    if fit.seed_noise is None:
        remarks.append(
            "No intervals: every setting ran with one seed, which says nothing about noise; --seed-noise gives it."
        )
    else:
        remarks.append(f"Intervals from a seed noise of {fit.seed_noise:.2g} nats per run.")
    return Shown((table,), tuple(warnings), tuple(remarks))


def starred(value: float | None, form: str, star: bool | None) -> Cell | None:
    """A number, with a star where it is extrapolated."""
    if value is None:
        return None
    made = Column[float]("", lambda it: it, form).cell(value)
    return Cell(made.text + ("*" if star else ""), made.sort)


def _dampings_shown(fit: DampingLaws) -> Shown:
    rows: list[tuple[str, str, float | None, Interval | None]] = [
        (law.optimizer, name.replace("_", " "), getattr(law.fit, name), law.fit.intervals.get(name))
        for law in fit.laws
        for name in ("scale", "kappa", "batch_exponent", "size_exponent")
    ]
    points = [(law.optimizer, point) for law in fit.laws for point in law.fit.points]
    return Shown(
        (
            tabulate(
                "damping-laws",
                f"{fit.formula}; with 95 % intervals.",
                rows,
                [
                    Column("optimizer", lambda it: it[0], words=True),
                    Column("number", lambda it: it[1], words=True),
                    Column("value", lambda it: it[2], ".3g", none="not varied"),
                    Column("95 %", lambda it: it[3]),
                ],
            ),
            tabulate(
                "damping-points",
                "Best linear damping alpha(t) = c (1 + t). Bracketed: whether a smaller and a larger one did worse.",
                points,
                [
                    Column("optimizer", lambda it: it[0], words=True),
                    Column("size P", lambda it: it[1].non_embedding_parameters, "count"),
                    Column("tokens per step", lambda it: it[1].batch_tokens, ",.0f"),
                    Column("steps T", lambda it: it[1].steps, ",.0f"),
                    Column("best c", lambda it: it[1].best, ".3g"),
                    Column("bracketed", lambda it: it[1].bracketed),
                    Column("-log_T c", lambda it: it[1].kappa, ".3f"),
                ],
            ),
        )
    )
