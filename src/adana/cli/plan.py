"""``adana plan``: from a size to a whole run, each number with its equation."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from adana.catalog import default_kappa
from adana.cli import UsageError
from adana.cli.arguments import parse
from adana.cli.common import check_optimizer, refusing
from adana.cli.tables import say, show_table, terminal
from adana.files import write_json
from adana.models import architecture
from adana.scaling.fits import Fit, LearningRateLaws, LossLaws, RateBatchLaws, SizeTokensLaws, read_fit
from adana.scaling.lookup import TOKENS_PER_PARAMETER
from adana.scaling.own_joint import best_for_budget
from adana.scaling.planning import FLOPS_PER_SECOND, plan
from adana.scaling.plans import Plan, recipe_fields
from adana.tables import Column, tabulate
from adana.train.recipe import Recipe

DESCRIPTION = (
    "What a run of some size needs: parameters, tokens, steps, compute, learning rate, decay, damping, expected loss, "
    "memory and hours, each with the equation it is from. Nothing is run."
)


@dataclass(frozen=True)
class Options:
    """Options of ``adana plan``."""

    heads: int | None = None
    """Size of the model in attention heads; its dimensions follow. With --budget alone, the best size is taken."""
    arch: str = "enoki"
    """Architecture: enoki, qwen3, or your own by its name or as package.module:NAME."""
    optimizer: str = "adana"
    """Name as in `adana race`. One that ends in -dw decays weights in log time: less and less as it trains."""
    kappa: float | None = None
    """Option of adana and its relatives, which weigh momentum by t^(1 - kappa) at step t; default 0.85 (with --variant,
    0.75)."""
    variant: Literal["3", "5", "7"] | None = None
    """Ablation of adana, by its number in the paper: 3 has beta2 0.999, 7 beta3 0.9, 5 that and linear damping; default
    none."""
    batch_tokens: int = 65536
    """Tokens per step."""
    tokens_per_parameter: float | None = None
    """Tokens per parameter of the run, embeddings included; default 20."""
    tokens: float | None = None
    """Tokens of the run; default by --tokens-per-parameter."""
    budget: float | None = None
    """FLOPs of the run, counted as 6 x tokens x parameters: size and tokens are then the best by your own law over both
    (--law with a file of adana fit --law tokens)."""
    vocab_size: int = 50304
    """Tokens of the vocabulary."""
    seq_len: int = 2048
    """Tokens per sequence."""
    layers: int | None = None
    """Transformer blocks; default the paper's for this size. For other shapes there is no published law."""
    head_dim: int | None = None
    """Width of an attention head; default the paper's."""
    lr: float | None = None
    """Peak learning rate; default what a law gives."""
    weight_decay: float | None = None
    """Weight decay, in log time called omega; default that of the runs your own law is from, else 4."""
    law: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Laws of your own, as adana fit --output writes them; they come before the published ones."""
    flops_per_second: float = FLOPS_PER_SECOND
    """Speed of one GPU, for the hours: 6 x tokens x parameters per second; as the paper's H100 hours come to."""
    recipe: Path | None = None
    """Write the plan to this file, as a recipe that adana train FILE runs; default no file."""
    data: str | None = None
    """With --recipe: folder made by adana data build to train on; default the Python standard library."""
    text: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """With --recipe: text files in place of a data folder."""
    json: bool = False
    """Print the plan as JSON."""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "plan", DESCRIPTION, argv)
    laws: list[Fit] = []
    for path in options.law:
        with refusing():
            fit = read_fit(path)
        if not isinstance(fit, LearningRateLaws | LossLaws | RateBatchLaws | SizeTokensLaws):
            raise UsageError(f"{path}: a fit of --law {fit.law}: name one of --law lr, lr-batch, loss or tokens")
        laws.append(fit)
    if options.recipe is not None and (options.recipe.is_dir() or not options.recipe.name):
        raise UsageError(f"--recipe {options.recipe}: a folder: name a file")
    given = [name for name in ("tokens_per_parameter", "tokens", "budget") if getattr(options, name) is not None]
    for name in given:
        if not 0 < getattr(options, name) < float("inf"):
            raise UsageError(f"--{name.replace('_', '-')} must be above 0, got {getattr(options, name)}")
    if len(given) > 1:
        raise UsageError(f"--{' and --'.join(given).replace('_', '-')} each say how long the run is: name one")
    if options.heads is None and options.budget is None:
        raise UsageError("name a size with --heads, or a budget with --budget")
    try:
        heads, ratio, best = _size_and_horizon(options, laws)
        found = plan(
            heads,
            options.optimizer,
            arch=options.arch,
            kappa=options.kappa,
            variant=options.variant or "",
            batch_tokens=options.batch_tokens,
            tokens_per_parameter=ratio,
            vocab_size=options.vocab_size,
            seq_len=options.seq_len,
            layers=options.layers,
            head_dim=options.head_dim,
            lr=options.lr,
            weight_decay=options.weight_decay,
            flops_per_second=options.flops_per_second,
            laws=laws,
        )
        if best:
            found = replace(found, warnings=(best, *found.warnings))
        if options.recipe is not None:
            write_recipe(found, options.recipe, data=options.data, text=options.text)
        elif options.data is not None or options.text:
            raise ValueError("--data and --text are noted in a recipe: name one with --recipe FILE")
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"--recipe {options.recipe}: cannot be written there: {error.strerror}") from None
    if options.json:
        print(json.dumps(asdict(found), indent=1))
    else:
        show(terminal(), found)
        if options.recipe is not None:
            own = f" --arch {shlex.quote(found.arch)}" if ":" in found.arch else ""  # imported where it is named
            say(terminal(), f"recipe: adana train {shlex.quote(str(options.recipe))}{own}", style="")
    return 0


def _size_and_horizon(options: Options, laws: Sequence[Fit]) -> tuple[int, float, str]:
    """Heads, tokens over total parameters, and what there is to say of a budget."""
    if options.budget is not None:
        return best_for_budget(
            options.budget,
            laws,
            options.optimizer,
            options.kappa if options.kappa is not None else default_kappa(options.optimizer),
            options.arch,
            heads=options.heads,
            vocab_size=options.vocab_size,
            layers=options.layers,
            head_dim=options.head_dim,
        )
    assert options.heads is not None
    if options.tokens is None:
        ratio = options.tokens_per_parameter
        return options.heads, TOKENS_PER_PARAMETER if ratio is None else ratio, ""
    config = architecture(options.arch).sized(
        options.heads, layers=options.layers, vocab_size=options.vocab_size, head_dim=options.head_dim
    )
    return options.heads, options.tokens / config.total_parameters, ""


def write_recipe(found: Plan, path: Path, *, data: str | None = None, text: Sequence[str] = ()) -> None:
    """Write the recipe of a plan, whole or not at all.

    Raises:
        ValueError: the plan is none of a run that can be trained.
        OSError: the file cannot be written.
    """
    fields = recipe_fields(found)
    fields["data"] = None if data is None else str(Path(data).resolve())
    fields["text"] = [str(Path(name).resolve()) for name in text]
    recipe = Recipe.from_json(fields)
    recipe.check()
    check_optimizer(recipe.optimizer, found.lr or 0.0, recipe.total_steps, recipe.options)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, recipe.to_json())


def show(console: Console, found: Plan) -> None:
    """The plan as a table."""
    kappa = "" if found.kappa is None else f"{found.kappa:g}"
    rows: list[tuple[str, str, str]] = []

    def row(title: str, field: str, value: str) -> None:
        rows.append((title, value, found.equations[field]))

    row("layers", "layers", f"{found.layers}")
    row("width", "width", f"{found.width:,}")
    row("feed-forward width", "hidden", f"{found.hidden:,}")
    row("total parameters", "total_parameters", f"{found.total_parameters:,}")
    row("non-embedding parameters P", "non_embedding_parameters", f"{found.non_embedding_parameters:,}")
    row("model parameters", "model_parameters", f"{found.model_parameters:,}")
    row("tokens", "tokens", f"{found.tokens:,}")
    row(f"steps T of {found.batch_tokens:,} tokens", "steps", f"{found.steps:,}")
    row("warm-up steps", "warmup_steps", f"{found.warmup_steps:,.0f}")
    row("FLOPs, 6P", "flops_6p", f"{found.flops_6p:.3g}")
    row("FLOPs, 6N", "flops_6n", f"{found.flops_6n:.3g}")
    row("FLOPs, M", "flops_m", f"{found.flops_m:.3g}")
    row("petaflop-hours", "pfh", f"{found.pfh:.3g}")
    row("petaflop-days", "pf_days", f"{found.pf_days:.3g}")
    row("peak learning rate", "lr", _with_band(found.lr, found.lr_low, found.lr_high, ".3g"))
    row("weight decay omega", "weight_decay", "none" if found.weight_decay is None else f"{found.weight_decay:g}")
    if found.weight_decay_offset is not None:
        row("decay offset t0", "weight_decay_offset", f"{found.weight_decay_offset:,.0f} steps")
    if found.damping_scale is not None:
        row("damping scale alpha~", "damping_scale", f"{found.damping_scale:.3g}")
    for name, value in found.options.items():
        rows.append((name, str(value), "Table 9" if found.variant else "as in the runs of your fit"))
    row(
        "expected final loss",
        "predicted_loss",
        _with_band(found.predicted_loss, found.predicted_loss_low, found.predicted_loss_high, ".3f"),
    )
    row("weights", "weights_bytes", _size(found.weights_bytes))
    row("gradients", "gradients_bytes", _size(found.gradients_bytes))
    for dtype, size in found.state_bytes.items():
        row(f"optimizer state, {dtype}", "state_bytes", _size(size))
    row(f"GPU hours at {found.flops_per_second:.3g} FLOP/s", "gpu_hours", f"{found.gpu_hours:,.3g}")
    columns: list[Column[tuple[str, str, str]]] = [
        Column("", lambda it: it[0], words=True),
        Column("value", lambda it: it[1]),
        Column("from", lambda it: it[2], words=True),
    ]
    heading = f"{found.arch}, {found.heads} heads, {found.optimizer}"
    heading += (f" variant {found.variant}" if found.variant else "") + (f", kappa {kappa}" if kappa else "")
    show_table(console, tabulate("plan", heading, rows, columns))
    for warning in found.warnings:
        say(console, warning)
    if found.second_opinion is not None:
        say(console, str(found.second_opinion), style="dim")
    if found.lr is not None or found.predicted_loss is not None:
        said = "A published law's band is what its printed digits leave open; an own fit's is its 95 % interval."
        say(console, said, style="dim")


def _with_band(value: float | None, low: float | None, high: float | None, digits: str) -> str:
    if value is None:
        return "none"
    if low is None or high is None:
        return f"{value:{digits}}"
    return f"{value:{digits}} ({low:{digits}} to {high:{digits}})"


def _size(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.2f} MiB"
