"""``adana fit``: laws and compute multipliers from finished runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from adana.cli import UsageError
from adana.cli.setting import command_line
from adana.scaling.runs import COLUMNS, read_runs
from adana.train.folder import write_json

DESCRIPTION = (
    "Fit a law to finished runs: run folders, or a CSV with these columns (optimizer and final_loss, and what the law "
    "asks for):\n\n" + "\n".join(f"  {name}: {what}." for name, what in COLUMNS.items()) + "\n\n"
    "Where runs of one size differ in learning rate or setting, a loss law and a multiplier take the best."
)


@dataclass(frozen=True)
class Fit:
    """Options of ``adana fit``."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUNS...")]
    """Run folders, folders of them, or CSV files."""
    law: Literal["lr", "loss", "multiplier", "damping"]
    """Learning rate over size; loss over compute; compute against a baseline; linear damping over the horizon."""
    arch: str | None = None
    """Your own architecture that run folders are of, as package.module:NAME; give it once for each."""
    optimizers: tuple[str, ...] = ()
    """Only these (by name, or by name and kappa as shown)."""
    tokens_per_parameter: float | None = None
    """Only runs of this horizon."""
    compute: Literal["6n", "6p", "m"] = "6n"
    """Compute formula of loss laws and multipliers: with one embedding, without, or with attention."""
    form: Literal["single", "broken"] = "single"
    """Loss law: L = a + e C^-f, or L = a + b C^-c + e C^-f."""
    exponents: Literal["free", "shared"] = "free"
    """Loss law: exponents of each optimizer's own, or one set."""
    saturation: str = "free"
    """Loss law: a is free, 0, or at most a number."""
    without_outliers: bool = False
    """Loss law: leave out the losses that are flagged."""
    baseline: str = "adamw"
    """Multiplier: the optimizer to compare with (by name, or by name and kappa as shown)."""
    seed_noise: float | None = None
    """Multiplier: standard deviation of one run's loss, where the runs have one seed."""
    top: int = 5
    """Learning-rate law: how many learning rates count at a size."""
    resample: Literal["residuals", "sizes"] = "residuals"
    """Learning-rate law: what the bootstrap draws; sizes, as in the paper, wants ten of them."""
    predict: tuple[float, ...] = ()
    """Sizes (non-embedding parameters; lr) or petaflop-hours (loss) to predict for; default ten times the largest."""
    bootstrap: int = 400
    """Bootstrap samples: an interval wants a hundred or more."""
    seed: int = 0
    """Of starts and bootstrap."""
    output: Path | None = None
    """Also write the fit as JSON here; adana plan --law reads it."""
    json: bool = False
    """Print the fit as JSON on standard output."""


def run(argv: Sequence[str]) -> int:
    options: Fit = tyro.cli(Fit, args=list(argv), prog="adana fit", description=DESCRIPTION)
    if not options.paths:
        raise UsageError("name run folders, or a CSV file")
    for path in options.paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    for name, least in (("top", 1), ("bootstrap", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} must be at least {least}, got {getattr(options, name)}")
    if options.seed_noise is not None and not 0 <= options.seed_noise < float("inf"):
        raise UsageError(f"--seed-noise must be a number of at least 0, got {options.seed_noise}")
    ratio = options.tokens_per_parameter
    if ratio is not None and not 0 < ratio < float("inf"):
        raise UsageError(f"--tokens-per-parameter must be above 0, got {ratio}")
    if options.output is not None and (options.output.is_dir() or not options.output.name):
        raise UsageError(f"--output {options.output}: a folder: name a file")
    if any(not 0 < value < float("inf") for value in options.predict):
        raise UsageError(f"--predict must be above 0, got {' '.join(map(str, options.predict))}")
    saturation = _saturation(options.saturation)
    try:
        payload = _fit(options, saturation)
        payload["command"] = command_line("fit", argv)
        printed = _text(payload)
        if options.output is not None:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.output, payload, indent=None)
    except ModuleNotFoundError as error:
        print(f"adana fit: error: {error.name} is not installed: pip install 'adana[fit]'", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else " ".join(str(error).split())
        print(f"adana fit: error: {where}", file=sys.stderr)
        return 1
    except ArithmeticError as error:
        what = "the fit ran out of the range of numbers: are sizes nearly equal, or a value in the wrong unit?"
        print(f"adana fit: error: {what} ({error})", file=sys.stderr)
        return 1
    if options.json:
        print(printed)
    else:
        show(Console(highlight=False), payload)
    return 0


def _text(payload: dict[str, Any]) -> str:
    try:
        return json.dumps(payload, allow_nan=False)
    except ValueError:
        raise ArithmeticError("a result is not finite") from None


def _saturation(text: str) -> float | None:
    if text == "free":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"--saturation {text}: write free, 0, or a greatest value for a")
    return value


def _fit(options: Fit, saturation: float | None) -> dict[str, Any]:
    from adana.scaling import fitting

    wanted = options.optimizers
    if wanted and options.law == "multiplier":
        wanted = (*wanted, options.baseline)
    runs = fitting.select(
        read_runs(options.paths), optimizers=wanted, tokens_per_parameter=options.tokens_per_parameter
    )
    if options.law == "lr":
        return fitting.learning_rate_law(
            runs,
            top=options.top,
            bootstrap=options.bootstrap,
            seed=options.seed,
            resample=options.resample,
            predict=options.predict,
            formula=options.compute,
        )
    if options.law == "loss":
        return fitting.loss_law(
            runs,
            formula=options.compute,
            form=options.form,
            exponents=options.exponents,
            saturation=saturation,
            bootstrap=options.bootstrap,
            seed=options.seed,
            predict=options.predict,
            without_outliers=options.without_outliers,
        )
    if options.law == "multiplier":
        return fitting.multipliers(
            runs,
            baseline=options.baseline,
            formula=options.compute,
            seed_noise=options.seed_noise,
            seed=options.seed,
        )
    return fitting.damping_law(runs, bootstrap=options.bootstrap, seed=options.seed)


def show(console: Console, payload: dict[str, Any]) -> None:
    """A fit as tables."""
    {"lr": _show_lr, "loss": _show_loss, "multiplier": _show_multiplier, "damping": _show_damping}[payload["law"]](
        console, payload
    )
    if len(payload["models"]) > 1:
        _say(console, f"runs of different models together: {' and '.join(payload['models'])}")


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def _range(ends: Sequence[float | None] | None, digits: str = ".3g") -> str:
    if ends is None:
        return ""
    low, high = ends
    return f"{low or 0:{digits}} to {'infinity' if high is None else format(high, digits)}"


def _say(console: Console, line: str) -> None:
    console.print(f"! {line}", style="yellow", markup=False)


def _show_lr(console: Console, payload: dict[str, Any]) -> None:
    from adana.scaling.fitting import b_in_words

    rows = []
    for law in payload["laws"]:
        ends = law["intervals"]
        if law["b_identified"]:
            b = f"{law['b']:.3g} ({_range(ends['b'])})"
        else:
            b = "not fitted" if ends["b"] is None else f"not identified ({_range(ends['b'])})"
        rows.append(
            [law["label"], f"{law['a']:.3g} ({_range(ends['a'])})", b, f"{law['d']:.3f} ({_range(ends['d'], '.3f')})"]
        )
    title = f"{payload['formula']}, P non-embedding parameters; at {payload['horizon']}"
    _table(console, title, ["optimizer", "a (95 %)", "b (95 %)", "d (95 %)"], rows)
    rows = [
        [law["label"], f"{one['non_embedding_parameters']:.4g}", f"{one['lr']:.4g}", _range(one["interval"])]
        for law in payload["laws"]
        for one in law["predictions"]
    ]
    _table(console, "Predicted peak learning rate", ["optimizer", "P", "lr", "95 %"], rows)
    rows = [
        [
            law["label"],
            f"{law['sensitivity']['curvature']:.3g}",
            cost["of"],
            f"{cost['loss']:.2g} nats",
            "" if cost["compute"] is None else f"{100 * cost['compute']:.2g} %",
        ]
        for law in payload["laws"]
        for cost in law["sensitivity"]["costs"]
    ]
    if rows:
        _table(
            console,
            "What an error costs (56)-(59)",
            ["optimizer", "curvature", "learning rate off by", "loss", "compute"],
            rows,
        )
    for law in payload["laws"]:
        said = b_in_words(law)
        if said:
            _say(console, f"{law['label']}: {said}")
        for size in law["unbracketed"]:
            _say(
                console,
                f"{law['label']}: at {size:.3g} parameters the best learning rate is the last one tried on its side",
            )
    console.print("A law in size alone holds for the horizon it was fitted at.", style="dim")


def _show_loss(console: Console, payload: dict[str, Any]) -> None:
    names = ["a", "e", "f"] + (["b", "c"] if payload["form"] == "broken" else [])
    rows = []
    for law in payload["laws"]:
        cells = [law["label"]]
        for name in names:
            ends = law["intervals"].get(name)
            mark = "" if ends is None or law["identified"][name] else "?"
            cells.append(f"{law[name]:.3g}{mark}" + ("" if ends is None else f"\n{_range(ends)}"))
        rows.append([*cells, "" if law["r_squared"] is None else f"{law['r_squared']:.5f}"])
    title = f"{payload['formula']}, C by {payload['compute'].upper()} in petaflop-hours; at {payload['horizon']}"
    _table(console, title, ["optimizer", *names, "R2"], rows)
    rows = [
        [law["label"], f"{one['pfh']:.4g}", f"{one['loss']:.4f}", _range(one["interval"], ".4f")]
        for law in payload["laws"]
        for one in law["predictions"]
    ]
    _table(console, "Predicted loss", ["optimizer", "PFH", "loss", "95 %"], rows)
    held = [law for law in payload["laws"] if law["hold_out"] is not None]
    if held:
        rows = [
            [
                law["label"],
                f"{out['pfh']:.4g}",
                f"{out['loss']:.4f}",
                f"{out['predicted']:.4f}",
                f"{out['error']:+.4f}",
                _range(out["interval"], ".4f"),
            ]
            for law in held
            for out in [law["hold_out"]]
        ]
        columns = ["optimizer", "PFH", "measured", "predicted", "error", "95 %"]
        _table(console, "The largest size, predicted from the others", columns, rows)
    rows = [
        [law["label"], f"{one['pfh']:.4g}", f"{one['loss']:.4f}", f"{one['residual']:+.4f}"]
        for law in payload["laws"]
        for one in law["residuals"]
    ]
    _table(console, "Residuals", ["optimizer", "PFH", "loss", "loss - law"], rows)
    if payload["form"] == "single":
        irreducible = payload["saturation"] > 0
        rows = [[f"{law['label']} (yours)", f"{law['f']:.3f}", "", ""] for law in payload["laws"]]
        for one in payload["literature"]:
            if one["compute"] in (payload["compute"], "?") and one["irreducible"] == irreducible:
                low, high = one["f"]
                shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                remark = "read off a figure" if one["from_figure"] else ""
                rows.append([one["paper"], shown, f"{one['max_pfh']:,.0f}", remark])
        kind = "with" if irreducible else "without"
        _table(
            console,
            f"Published exponents f {kind} an irreducible loss (Table 15)",
            ["", "f", "up to PFH", ""],
            rows,
        )
    for one in payload["outliers"]:
        what = "left out" if one["left_out"] else "kept: --without-outliers leaves it out"
        _say(
            console,
            f"{one['label']}: {one['loss']:.4g} at {one['pfh']:.4g} PFH is an outlier, the others say "
            f"{one['expected']:.4g} ({what})",
        )
    for law in payload["laws"]:
        unknown = [name for name in names if name in law["identified"] and not law["identified"][name]]
        if unknown:
            _say(
                console,
                f"{law['label']}: {', '.join(unknown)} not identified (?): other values fit as well; trust predictions "
                "within the data, and their intervals beyond",
            )
    if payload["no_hold_out"]:
        _say(console, f"no size was held out: {payload['no_hold_out']}")
    starts = payload["starts"]
    console.print(
        f"Noise of a point {payload['noise']:.2g} nats; {starts['agreeing']} of {starts['tried']} starts agree.",
        style="dim",
    )


def _show_multiplier(console: Console, payload: dict[str, Any]) -> None:
    rows = []
    for row in payload["rows"]:
        mark = "*" if row["extrapolated"] else ""
        known = row["multiplier"] is not None
        rows.append(
            [
                row["label"] + (" (outlier)" if row["outlier"] else ""),
                f"{row['pfh']:.4g}",
                f"{row['loss']:.4f}",
                f"{row['multiplier']:.3f}{mark}" if known else "none",
                _range(row["interval"], ".3f"),
                f"{100 * row['efficiency']:+.1f} %{mark}" if known else "",
            ]
        )
    title = f"Compute {payload['baseline']} would need for the same loss (C.2.1); C by {payload['compute'].upper()}"
    if payload["horizon"] is not None:
        title += f"; at {payload['horizon']}"
    _table(console, title, ["optimizer", "PFH", "loss", "multiplier", "95 %", "efficiency"], rows)
    for one in payload["ladder"]:
        if one["outlier"]:
            _say(console, f"{payload['baseline']}: {one['loss']:.4g} at {one['pfh']:.4g} PFH is an outlier")
    if any(row["extrapolated"] for row in payload["rows"]):
        console.print(f"* extrapolated: outside the losses of {payload['baseline']}.", style="dim")
    if payload["seed_noise"] is None:
        console.print("No intervals: one seed a point says nothing about noise; --seed-noise gives it.", style="dim")
    else:
        console.print(f"Intervals from a seed noise of {payload['seed_noise']:.2g} nats a run.", style="dim")


def _show_damping(console: Console, payload: dict[str, Any]) -> None:
    names = ("scale", "kappa", "batch_exponent", "size_exponent")
    rows = []
    for law in payload["laws"]:
        cells = [law["optimizer"]]
        for name in names:
            value = law[name]
            cells.append("not varied" if value is None else f"{value:.3g} ({_range(law['intervals'][name])})")
        rows.append(cells)
    _table(console, payload["formula"], ["optimizer", *(name.replace("_", " ") for name in names)], rows)
    rows = [
        [
            law["optimizer"],
            f"{point['non_embedding_parameters']:.3g}",
            f"{point['batch_tokens']:,.0f}",
            f"{point['steps']:,.0f}",
            f"{point['best']:.3g}" + ("" if point["bracketed"] else " (edge)"),
            f"{point['kappa']:.3f}",
        ]
        for law in payload["laws"]
        for point in law["points"]
    ]
    columns = ["optimizer", "P", "tokens a step", "steps T", "best c", "-log_T c"]
    _table(console, "Best linear damping alpha(t) = c (1 + t)", columns, rows)
