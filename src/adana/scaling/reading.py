"""Runs read from run folders and from rows of tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from adana.catalog import default_kappa
from adana.files import parse_json
from adana.identity import plain
from adana.scaling.columns import COLUMNS, ReadTable, parse_columns, read_table
from adana.scaling.laws import COMPUTE_FORMULAS
from adana.scaling.runs import Run, told_apart

__all__ = ["COLUMNS", "read_runs", "runs_of"]

UNLIKELY = 1e6
"""Parameters per token from which on a unit is wrong."""
SIZES = ("layers", "head_dim", "vocab_size")

# Taken out of what tells two settings apart: the label says the optimizer, and the text is compared by its hash.
_COMPARED_APART = ("optimizer", "data", "text")


def read_runs(paths: Iterable[Path], columns: Sequence[str] = ()) -> list[Run]:
    """Read tables, and every finished run in or under folders.

    Args:
        paths: tables with the columns of :data:`COLUMNS` or of a layout that is known, or folders.
        columns: ``NAME=EXPRESSION``, what the tables call a column, such as ``tokens=D*1e9``.

    Raises:
        ValueError: nothing finished there, a column is missing, or a value is not one.
        OSError: a path cannot be read.
    """
    mapping = parse_columns(columns)
    runs: list[Run] = []
    for path in paths:
        if path.is_dir():
            found = [run for folder in sorted(path.rglob("run.json")) if (run := _run_folder(folder.parent))]
            if not found:
                raise ValueError(f"{path}: no finished run (a folder with run.json and result.json) in or under it")
            runs += found
        else:
            runs += runs_of(read_table(path, mapping))
    return told_apart(runs)


def runs_of(table: ReadTable) -> list[Run]:
    """The finished runs of a table.

    Raises:
        ValueError: a value is none of its column's, or every run was given up.
    """
    # The last loss of a run that was given up is no final loss.
    runs = [_from_row(row, where) for where, row in table.rows if not (row.get("stopped_at") or "").strip()]
    if not runs:
        raise ValueError(f"{table.path}: every run was given up (stopped_at), none has a final loss")
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
    kappa = number("kappa", inclusive=True)
    if kappa is None:
        kappa = default_kappa(optimizer)
    settings = _settings(row)
    keywords = {**settings["options"], **({} if kappa is None else {"kappa": kappa})}
    parameters, total = number("non_embedding_parameters"), number("total_parameters")
    either, compute = number("parameters"), number("flops")
    derived = []
    if either is not None:
        derived.append("parameters taken for those with embeddings, and for those without")
        parameters, total = parameters or either, total or either
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
    if compute is not None:
        flops = dict.fromkeys(COMPUTE_FORMULAS, compute) | flops
    size = total or parameters
    if tokens is None and steps is not None and batch_tokens is not None:
        tokens = steps * batch_tokens
        derived.append("tokens = steps * batch_tokens")
    if tokens is None and ratio is not None and size is not None:
        tokens = ratio * size
        derived.append("tokens = tokens_per_parameter * parameters")
    if tokens is None and compute is not None and size is not None:
        tokens = compute / (6 * size)
        derived.append("tokens D = C / 6N")
    if steps is None and tokens is not None and batch_tokens is not None:
        steps = tokens / batch_tokens
    if tokens is not None and not per_token and compute is None:  # where it is said, the source's own comes first
        six = {"6p": parameters, "6n": total}
        reckoned = {name: 6 * value * tokens for name, value in six.items() if value is not None}
        if set(reckoned) - set(flops):
            derived.append("C = 6 * parameters * tokens")
        flops = reckoned | flops
    if tokens is not None:
        flops = {name: tokens * value for name, value in per_token.items()} | flops
    if tokens is not None and size is not None and tokens * UNLIKELY < size:
        raise ValueError(
            f"{where}: {tokens:g} tokens for {size:g} parameters cannot be: is a unit missing? With --columns, "
            "tokens=COLUMN*1e9 or parameters=COLUMN*1e6 says it"
        )
    return Run(
        where,
        optimizer,
        final_loss,
        kappa=kappa,
        lr=number("lr"),
        seed=seed,
        settings=settings,
        model=model,
        non_embedding_parameters=parameters,
        total_parameters=total,
        tokens=tokens,
        steps=steps,
        batch_tokens=batch_tokens,
        linear_damping=number("linear_damping"),
        flops=flops,
        weight_decay=_number_or_none(settings["options"].get("weight_decay")),
        keywords=None if "words" in settings else keywords,
        text=(row.get("text_sha256") or "").strip(),
        derived=tuple(derived),
    )


def _settings(row: dict[str, Any]) -> dict[str, Any]:
    """What a row's cells say of :attr:`Run.settings`, as values: ``1`` and ``1.0`` are one, and so are ``{}`` and none.

    Options that are no JSON object are ``words``, compared as they stand.
    """
    from adana.train.recipe import Recipe

    found = {}
    for field_ in fields(Recipe):
        text = (row.get(field_.name) or "").strip()
        if text and field_.name not in (*_COMPARED_APART, "lr", "seed", "options"):
            found[field_.name] = _value(text)
    text, decay = ((row.get(name) or "").strip() for name in ("options", "weight_decay"))
    options = _value(text) if text else {}
    words = [] if isinstance(options, dict) else [text]
    options = {name: value for name, value in options.items() if name != "kappa"} if not words else {}
    if decay and _number_or_none(decay) is None:
        words.insert(0, f"weight_decay={decay}")
    elif decay:
        options["weight_decay"] = float(decay)
    found["options"] = plain(options)
    if words:
        found["words"] = "; ".join(words)
    return found


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


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
        result, recipe = read_result(folder), read_recipe(folder, to_run=False)
        config = recipe.model_config()
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder}: not a run of this version of adana ({error})") from None
    if result is None:
        return None
    loss = result.final_loss
    if loss is not None and not (isinstance(loss, int | float) and 0 < loss < math.inf):
        raise ValueError(f"{folder}: final_loss in result.json must be a number above 0, or null, got {loss!r}")
    tokens, options = recipe.tokens, recipe.options
    kappa = options.get("kappa", default_kappa(recipe.optimizer))
    linear = None
    if options.get("damping") == "linear":  # alpha(t) = alpha~ T^-kappa (1 + t)
        linear = options.get("damping_scale", 1.0) * recipe.total_steps ** -(kappa or 0.0)
    settings = {
        name: value
        for name, value in recipe.resolved().identity().items()
        if name not in _COMPARED_APART and value is not None
    }
    settings["options"] = {name: value for name, value in settings["options"].items() if name != "kappa"}
    return Run(
        str(folder),
        recipe.optimizer,
        math.inf if loss is None else loss,
        kappa=kappa,
        lr=recipe.lr,
        seed=recipe.seed,
        settings=settings,
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
        weight_decay=_number_or_none(settings["options"].get("weight_decay")),
        keywords={**plain(options)} | ({} if kappa is None else {"kappa": kappa}),
        text=result.corpus_sha256,
    )
