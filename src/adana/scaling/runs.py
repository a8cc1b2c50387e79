"""Finished runs, from run folders or from a CSV, in the one form that the fits read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adana.scaling.laws import COMPUTE_FORMULAS, DEFAULT_KAPPA, PETAFLOP_HOUR, label

if TYPE_CHECKING:
    from adana.train.recipe import Recipe

__all__ = ["COLUMNS", "Horizon", "Run", "common_horizon", "read_runs"]

COLUMNS = {
    "optimizer": "its name",
    "final_loss": "validation loss in nats; empty or inf for a run that diverged",
    "lr": "peak learning rate",
    "stopped_at": "step at which a run was given up; such a row is left out",
    "seed": "seed; runs that differ in it alone are averaged",
    "weight_decay, options": "omega, other settings (in JSON, for adana plan); of several at one size the best counts",
    "kappa": "kappa, empty for the optimizer's default; each kappa is an optimizer of its own",
    "arch": "architecture, such as enoki or qwen3; with heads it gives sizes and compute",
    "heads": "attention heads (with layers, head_dim, vocab_size and seq_len where they are not the paper's)",
    "non_embedding_parameters": "P, where arch and heads do not say",
    "total_parameters": "parameters with both embeddings, where arch and heads do not say",
    "tokens": "tokens trained on (or steps and batch_tokens, or tokens_per_parameter)",
    "flops_6p, flops_6n, flops_m": "compute of the whole run, where arch and heads do not say",
    "linear_damping": "c of a damping alpha(t) = c (1 + t) (with steps and batch_tokens, for --law damping)",
}
"""Columns of a CSV, for ``adana fit --help``."""

SAME_HORIZON = 0.02
SIZES = ("layers", "head_dim", "vocab_size")

# What changes a run beside its size, its horizon and its optimizer: runs that differ in it are no seeds of one another.
_SETTINGS = ("anytime", "cooldown", "warmup_steps", "clip_norm", "balance", "order", "init_from", "init_optimizer")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        where: file and line, or folder.
        optimizer: its name.
        final_loss: nats a token; inf if it diverged.
        kappa: kappa where the optimizer has one, or the source names one.
        lr: peak learning rate.
        seed: seed.
        setting: other settings, as text; runs that differ in them are no seeds of one another.
        model: architecture and vocabulary, where the source says.
        non_embedding_parameters: P.
        total_parameters: with both embeddings.
        tokens: tokens trained on.
        steps: optimizer steps.
        batch_tokens: tokens a step.
        linear_damping: c of a damping alpha(t) = c (1 + t).
        flops: compute of the whole run by formula (``6p``, ``6n``, ``m``).
        weight_decay: omega, where the source says; part of ``setting`` too.
        options: the rest of ``setting``.
        keywords: what the optimizer was built with, omega and kappa included; None where the source does not say.
        text: hash of the text it was measured on, where the source says.
    """

    where: str
    optimizer: str
    final_loss: float
    kappa: float | None = None
    lr: float | None = None
    seed: int | None = None
    setting: str = ""
    model: str = ""
    non_embedding_parameters: float | None = None
    total_parameters: float | None = None
    tokens: float | None = None
    steps: float | None = None
    batch_tokens: float | None = None
    linear_damping: float | None = None
    flops: dict[str, float] = field(default_factory=dict)
    weight_decay: float | None = None
    options: str = ""
    keywords: dict[str, Any] | None = None
    text: str = ""

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa)

    def pfh(self, formula: str) -> float:
        """Compute in petaflop-hours by one of the three formulas.

        Raises:
            ValueError: the source says too little for it.
        """
        if formula not in self.flops:
            raise ValueError(
                f"{self.where}: no compute by formula {formula}: add the column flops_{formula}, or arch, heads "
                "and tokens"
            )
        return self.flops[formula] / PETAFLOP_HOUR

    @property
    def size(self) -> float:
        """P.

        Raises:
            ValueError: the source does not say.
        """
        if self.non_embedding_parameters is None:
            raise ValueError(f"{self.where}: no size: add the column non_embedding_parameters, or arch and heads")
        return self.non_embedding_parameters


@dataclass(frozen=True)
class Horizon:
    """How long the runs of a fit were: a law holds for runs as long, and for no others.

    Attributes:
        tokens_per_parameter: tokens over total parameters where that is what the runs share.
        tokens: tokens where they share those instead.
    """

    tokens_per_parameter: float | None
    tokens: float | None

    def __str__(self) -> str:
        if self.tokens_per_parameter is not None:
            return f"{self.tokens_per_parameter:.3g} tokens a total parameter"
        return f"{self.tokens:.3g} tokens at every size"


def common_horizon(runs: Sequence[Run]) -> Horizon:
    """The horizon that runs share, to 2 %.

    Raises:
        ValueError: they share none, or the source does not say how long they were.

    Source: Section F.2 (36); why it is asked for: a law in P alone drifts with the budget.
    """
    for run in runs:
        if run.tokens is None:
            raise ValueError(
                f"{run.where}: no token horizon: add the column tokens, steps and batch_tokens, or tokens_per_parameter"
            )
    tokens = [run.tokens for run in runs if run.tokens is not None]
    ratios = [run.tokens / run.total_parameters for run in runs if run.tokens and run.total_parameters]
    if len(ratios) == len(runs) and max(ratios) <= min(ratios) * (1 + SAME_HORIZON):
        return Horizon(sum(ratios) / len(ratios), None)
    if max(tokens) <= min(tokens) * (1 + SAME_HORIZON):
        return Horizon(None, sum(tokens) / len(tokens))
    if len(ratios) < len(runs):
        raise ValueError(
            f"mixed horizons: {min(tokens):.3g} to {max(tokens):.3g} tokens, and no total_parameters to tell the "
            "tokens a parameter: add the column total_parameters, or arch and heads"
        )
    raise ValueError(
        f"mixed horizons: {min(ratios):.3g} to {max(ratios):.3g} tokens a parameter; a law holds for one: choose with "
        "--tokens-per-parameter"
    )


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """Read CSV files, and every finished run in or under folders.

    Args:
        paths: CSV files with the columns of :data:`COLUMNS`, or folders.

    Raises:
        ValueError: nothing finished there, a column is missing, or a value is not one.
        OSError: a path cannot be read.
    """
    runs: list[Run] = []
    for path in paths:
        if path.is_dir():
            found = [run for folder in sorted(path.rglob("run.json")) if (run := _run_folder(folder.parent))]
            if not found:
                raise ValueError(f"{path}: no finished run (a folder with run.json and result.json) in or under it")
            runs += found
        else:
            runs += _table(path)
    return runs


def _table(path: Path) -> list[Run]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(line for line in file if not line.startswith("#"))
            columns = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)  # Cells beyond the header's come under None.
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from None
    missing = [name for name in ("optimizer", "final_loss") if name not in columns]
    if missing:
        raise ValueError(
            f"{path} has no column {' and no column '.join(missing)}; it has {', '.join(columns) or 'none'}"
        )
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the column {' and the column '.join(twice)} twice: take one out")
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    for number, row in enumerate(rows, 1):
        if None in row:
            raise ValueError(
                f"{path.name}, row {number}: more cells than columns: quote a cell with a comma in it, and write "
                "numbers with a point"
            )
        if None in row.values():
            raise ValueError(
                f"{path.name}, row {number}: fewer cells than columns: write an empty cell as a comma, or fetch the "
                "file again if it was cut off"
            )
    named = [{name.strip(): value for name, value in row.items()} for row in rows]
    # The last loss of a run that was given up is no final loss.
    runs = [
        _from_row(row, f"{path.name}, row {number}")
        for number, row in enumerate(named, 1)
        if not (row.get("stopped_at") or "").strip()
    ]
    if not runs:
        raise ValueError(f"{path}: every run was given up (stopped_at), none has a final loss")
    return runs


def _from_row(row: dict[str, Any], where: str) -> Run:
    def number(name: str, *, least: float = 0.0, inclusive: bool = False) -> float | None:
        text = (row.get(name) or "").strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{where}: {name} is {text!r}, which is no number") from None
        if not math.isfinite(value) or value < least or (value == least and not inclusive):
            raise ValueError(f"{where}: {name} must be a number above {least:g}, got {text}")
        return value

    def whole(name: str, *, inclusive: bool = False) -> int | None:
        value = number(name, inclusive=inclusive)
        if value is not None and value != int(value):
            raise ValueError(f"{where}: {name} must be a whole number, got {value:g}")
        return None if value is None else int(value)

    optimizer = (row["optimizer"] or "").strip()
    if not optimizer:
        raise ValueError(f"{where}: optimizer is empty")
    loss = (row["final_loss"] or "").strip().lower()
    final_loss = math.inf if loss in ("", "inf", "+inf", "infinity") else None
    if final_loss is None:
        if loss in ("nan", "+nan", "-nan"):
            raise ValueError(f"{where}: final_loss is NaN: leave it empty if the run diverged, or take the row out")
        final_loss = number("final_loss")
    assert final_loss is not None
    seed = whole("seed", inclusive=True)
    options, decay = ((row.get(name) or "").strip() for name in ("options", "weight_decay"))
    weight_decay = _number_or_none(decay)
    if decay and weight_decay is None:
        options = "; ".join(filter(None, (f"weight_decay={decay}", options)))
    kappa = number("kappa", inclusive=True)
    if kappa is None:
        kappa = DEFAULT_KAPPA.get(optimizer)
    parameters, total = number("non_embedding_parameters"), number("total_parameters")
    steps, batch_tokens, tokens = number("steps"), number("batch_tokens"), number("tokens")
    flops = {name: value for name in COMPUTE_FORMULAS if (value := number(f"flops_{name}")) is not None}
    heads, arch, model = whole("heads"), (row.get("arch") or "").strip(), ""
    per_token: dict[str, float] = {}
    if heads is not None and arch:
        extra = {name: value for name in SIZES if (value := whole(name)) is not None}
        try:
            counted, counted_total, per_token, model = _sizes(arch, heads, whole("seq_len") or 2048, **extra)
            parameters, total = parameters or counted, total or counted_total
        except ValueError as error:
            if parameters is None or total is None:  # with both, a row needs no architecture that is known here
                raise ValueError(f"{where}: {error}") from None
            model = arch
    ratio = number("tokens_per_parameter")
    if tokens is None and steps is not None and batch_tokens is not None:
        tokens = steps * batch_tokens
    if tokens is None and ratio is not None and total is not None:
        tokens = ratio * total
    if steps is None and tokens is not None and batch_tokens is not None:
        steps = tokens / batch_tokens
    if tokens is not None:
        flops = {name: tokens * value for name, value in per_token.items()} | flops
    keywords = _keywords(options, weight_decay, kappa)
    if keywords is not None:
        weight_decay, options = _number_or_none(keywords.get("weight_decay")), _in_words(keywords)
    return Run(
        where,
        optimizer,
        final_loss,
        kappa=kappa,
        lr=number("lr"),
        seed=seed,
        setting="; ".join(text for name in ("weight_decay", "options") if (text := (row.get(name) or "").strip())),
        model=model,
        non_embedding_parameters=parameters,
        total_parameters=total,
        tokens=tokens,
        steps=steps,
        batch_tokens=batch_tokens,
        linear_damping=number("linear_damping"),
        flops=flops,
        weight_decay=weight_decay,
        options=options,
        keywords=keywords,
    )


def _keywords(options: str, weight_decay: float | None, kappa: float | None) -> dict[str, Any] | None:
    """An optimizer's keywords from a row's cells; None where its options are words."""
    try:
        found = json.loads(options or "{}")
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    named = {"weight_decay": weight_decay, "kappa": kappa}
    return found | {name: value for name, value in named.items() if value is not None}


def _in_words(setting: dict[str, Any]) -> str:
    """What there is to say beside kappa and omega, which are said apart."""
    return ", ".join(f"{name}={value}" for name, value in setting.items() if name not in ("kappa", "weight_decay"))


def _number_or_none(value: object) -> float | None:
    """A setting's number for showing; settings are compared as text, which may say anything."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


@cache
def _sizes(arch: str, heads: int, seq_len: int, **overrides: int) -> tuple[int, int, dict[str, float], str]:
    from adana.models import architecture, flops_per_token, model_name

    config = architecture(arch).sized(heads, **overrides)
    per_token = {
        name: float(flops_per_token(config, formula=formula, seq_len=seq_len))
        for name, formula in COMPUTE_FORMULAS.items()
    }
    return config.non_embedding_parameters, config.total_parameters, per_token, model_name(config)


def _run_folder(folder: Path) -> Run | None:
    """A run as :func:`adana.train.run.train` leaves it; None while it is unfinished."""
    from adana.models import flops_per_token, model_name
    from adana.train.folder import read_result
    from adana.train.recipe import read_recipe

    try:
        result, recipe = read_result(folder), read_recipe(folder)
        config = recipe.model_config()
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder}: not a run of this version of adana ({error})") from None
    if result is None:
        return None
    loss = result.final_loss
    if loss is not None and not (isinstance(loss, int | float) and 0 < loss < math.inf):
        raise ValueError(f"{folder}: final_loss in result.json must be a number above 0, or null, got {loss!r}")
    tokens, options = recipe.tokens, recipe.options
    kappa = options.get("kappa", DEFAULT_KAPPA.get(recipe.optimizer))
    linear = None
    if options.get("damping") == "linear":  # alpha(t) = alpha~ T^-kappa (1 + t)
        linear = options.get("damping_scale", 1.0) * recipe.total_steps ** -(kappa or 0.0)
    setting = {name: options[name] for name in sorted(options) if name != "kappa"} | _unusual(recipe)
    return Run(
        str(folder),
        recipe.optimizer,
        math.inf if loss is None else loss,
        kappa=kappa,
        lr=recipe.lr,
        seed=recipe.seed,
        setting=json.dumps(setting),
        model=model_name(config),
        non_embedding_parameters=config.non_embedding_parameters,
        total_parameters=config.total_parameters,
        tokens=tokens,
        steps=recipe.total_steps,
        batch_tokens=recipe.tokens_per_step,
        linear_damping=linear,
        flops={
            name: float(tokens) * flops_per_token(config, formula=formula, seq_len=recipe.seq_len)
            for name, formula in COMPUTE_FORMULAS.items()
        },
        weight_decay=_number_or_none(options.get("weight_decay")),
        options=_in_words(setting),
        keywords=dict(options) | ({} if kappa is None else {"kappa": kappa}),
        text=result.corpus_sha256,
    )


def _unusual(recipe: Recipe) -> dict[str, Any]:
    """Settings of the run that are not a recipe's own."""
    usual = type(recipe)()
    return {name: value for name in _SETTINGS if (value := getattr(recipe, name)) != getattr(usual, name)}
