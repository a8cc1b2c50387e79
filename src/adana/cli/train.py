"""``adana train``: one run from a recipe."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from adana import catalog, schedules
from adana.cli import Failed, Stopped, UsageError
from adana.cli.arguments import parse
from adana.cli.common import FAILURES, check_optimizers, command_line, completed, named_recipe, refusing
from adana.cli.streams import going_on
from adana.cli.words import one_line
from adana.lab.cells import published_rate
from adana.models import architecture, petaflop_hours, printed_equations
from adana.tables import printable
from adana.train.recipe import RECIPES, Execution, Recipe, load_data

DESCRIPTION = (
    "Train one model. RECIPE says what is trained, and options change it: small (the model of adana race), enoki or "
    "qwen3 (the paper's models), a recipe file, or a run folder to repeat. A run that was stopped goes on with the "
    "same command. On two devices: torchrun --nproc-per-node 2 -m adana train RECIPE ..."
)


@dataclass(frozen=True)
class Train:
    """Options of ``adana train``."""

    recipe: tyro.conf.OmitArgPrefixes[Recipe]
    execution: tyro.conf.OmitArgPrefixes[Execution] = field(default_factory=Execution)
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Options of the optimizer by their names in Python, such as weight_decay=1 beta2=0.99."""
    out: Path | None = None
    """Folder of the run; default runs/train/ARCH-HEADS-OPTIMIZER-DIGEST, where the digest is a hash of the recipe."""
    dry_run: bool = False
    """Print what would be trained, and the equation that each number comes from, and stop."""
    json: bool = False
    """Print the result as JSON on standard output."""


@dataclass(frozen=True)
class Derived:
    """A number that follows from others: what it is, its value, and the equation it is from."""

    name: str
    value: str
    equation: str


def run(argv: Sequence[str]) -> int:
    try:
        return _run(argv)
    except (Failed, UsageError) as error:
        if _first():  # every rank finds the same fault; one says so
            raise
        return 2 if isinstance(error, UsageError) else 1


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _run(argv: Sequence[str]) -> int:
    options = _parse(argv)
    check_optimizers([options.recipe.optimizer])
    recipe, source = _complete(options)
    out = options.out or Path("runs/train") / _name(recipe)
    stream = sys.stderr if options.json else sys.stdout

    def say(line: str) -> None:
        if _first():
            print(printable(line), file=stream, flush=True)

    with refusing():
        derived = derivation(recipe, source)
    with nullcontext() if options.dry_run else going_on():
        for number, row in enumerate(derived, 1):
            say(f"{number:2}. {row.name:24} {row.value:>14}  {row.equation}")
    if options.dry_run:
        return _dry(recipe, options, say)
    return _train(recipe, out, options, command_line("train", argv), say)


def _dry(recipe: Recipe, options: Train, say: Any) -> int:
    """Refuse what a run would refuse; too little memory is said only, as the run may be meant for another machine."""
    from adana.train.memory import TooLarge
    from adana.train.run import check

    with refusing():
        try:
            check(recipe, options.execution)
        except TooLarge as error:
            say(f"on this machine the run would be refused: {one_line(error)}")
    return 0


def _train(recipe: Recipe, out: Path, options: Train, command: str, say: Any) -> int:
    from adana.train.run import Interrupted, Progress, train

    started = False

    def report(progress: Progress) -> None:
        nonlocal started
        started = True
        if progress.metrics is not None:
            say(line(progress))

    try:
        with going_on(), _stop_signals() as asked:
            say(f"run folder: {out}")
            result = train(
                recipe,
                out,
                execution=options.execution,
                command=command,
                report=report,
                should_stop=lambda: asked["signal"] is not None,
            )
    except Interrupted:
        with going_on():
            by = asked["signal"] or "a signal to another of its processes"
            say(f"stopped by {by}: saved in {out}. The same command goes on from here.")
        return 0
    except KeyboardInterrupt as error:
        if _first():
            print(f"adana train: interrupted{f': {error}' if str(error) else ''}", file=sys.stderr)
        raise Stopped from None
    except FAILURES as error:
        raise Failed(one_line(error)) from None
    except (ValueError, TypeError) as error:
        raise UsageError(one_line(error)) from None
    if options.json and _first():
        print(json.dumps(asdict(result), indent=1))
    if result.diverged_at is not None:
        hint = "a smaller --lr, or --non-finite skip (goes on from the last checkpoint)"
        raise Failed(f"{out} diverged at step {result.diverged_at}: {result.reason}; try {hint}")
    how = "finished" if started else "was finished already"
    with going_on():
        say(
            f"{how}: validation loss {result.final_loss:.4f} nats per token"
            f"{'' if result.bits_per_byte is None else f', {result.bits_per_byte:.4f} bits per byte'}; {out}"
        )
    return 0


@contextmanager
def _stop_signals() -> Iterator[dict[str, str | None]]:
    """Ctrl-C, a polite kill and SLURM's warning ask the run to save and end; a second Ctrl-C ends it at once."""
    asked: dict[str, str | None] = {"signal": None}
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        if asked["signal"] is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked["signal"] = signal.Signals(number).name

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- from the command line to a whole recipe ------------------------------------------------------------


def _parse(argv: Sequence[str]) -> Train:
    name = argv[0] if argv and not argv[0].startswith("-") else None
    if name is None and not {"-h", "--help"}.intersection(argv):
        raise UsageError(f"name a recipe first: {', '.join(RECIPES)}, a recipe file, or a run folder")
    base = named_recipe(name or "small")
    rest = list(argv[1:] if name is not None else argv)
    return parse(
        Train,
        "train RECIPE",
        DESCRIPTION,
        rest,
        default=Train(base),
        config=(tyro.conf.SuppressFixed,),  # the optimizer's keywords come as NAME=VALUE
    )


def _complete(options: Train) -> tuple[Recipe, str]:
    """The recipe with nothing left open, and where its learning rate is from.

    Raises:
        UsageError: an impossible value, unfit data, or no learning rate.
    """
    with refusing():
        options.execution.check()
        recipe = completed(options.recipe, options.set)
        recipe.check()
        if recipe.vocab_size is None:
            recipe = replace(recipe, vocab_size=load_data(recipe, verify=False).vocabulary)
        recipe = replace(recipe, steps=recipe.total_steps)
        recipe.check()
        source = "given"
        if recipe.lr is None:
            found = published_rate(recipe)
            if found.value is None:
                raise ValueError(f"no learning rate: {found.source}: give one with --lr")
            recipe = replace(recipe, lr=found.value)
            source = "; ".join([found.equation, *found.warnings])
        _check_optimizer(recipe)
    return recipe, source


def _check_optimizer(recipe: Recipe) -> None:
    from adana.train.optimizers import try_optimizer

    assert recipe.lr is not None
    try_optimizer(recipe.optimizer, lr=recipe.lr, options=recipe.optimizer_options())


def _name(recipe: Recipe) -> str:
    """A folder name that says what the run is; an anytime run keeps it when it is made longer."""
    digest = recipe.digest("steps") if recipe.anytime else recipe.digest()
    return f"{architecture(recipe.arch).name}-{recipe.heads}-{catalog.file_name(recipe.optimizer)}-{digest}"


# --- what it says ---------------------------------------------------------------------------------------


def derivation(recipe: Recipe, lr_source: str = "given") -> list[Derived]:
    """Every derived number of a whole recipe with the equation it came from."""
    config, steps = recipe.model_config(), recipe.total_steps
    sizes = printed_equations(config)
    assert recipe.lr is not None
    ladder = recipe.ladder_steps
    options = recipe.optimizer_options()
    rows = [
        Derived("layers", f"{config.depth}", sizes["layers"]),
        Derived("width", f"{config.width}", sizes["width"]),
        Derived("parameters P", f"{config.non_embedding_parameters:,}", sizes["non_embedding_parameters"]),
        Derived("total parameters", f"{config.total_parameters:,}", sizes["total_parameters"]),
        Derived("tokens per step", f"{recipe.tokens_per_step:,}", f"{recipe.batch_size} sequences * {recipe.seq_len}"),
        Derived(
            "steps T",
            f"{steps:,}",
            f"20 total parameters / {recipe.tokens_per_step:,} (36)"
            if steps == ladder
            else f"given; (36) has {ladder:,}",
        ),
        Derived("tokens", f"{recipe.tokens:,}", f"{recipe.tokens / config.total_parameters:.3g} per parameter"),
        Derived("petaflop-hours", f"{petaflop_hours(config, recipe.tokens):.3g}", "6 tokens (P + width * vocab_size)"),
        Derived("learning rate", f"{recipe.lr:.4g}", lr_source),
        Derived("warm-up steps", f"{recipe.warmup:g}", _default("T/50 (F.2)", recipe.warmup_steps)),
    ]
    if recipe.anytime:
        rows.append(Derived("cool-down from step", f"{recipe.stable_steps:,}", f"(1 - {recipe.cooldown:g}) T"))
    else:
        rows.append(Derived("final learning rate", f"{recipe.lr * recipe.gamma(steps):.4g}", "cosine to a tenth (F.2)"))
    form = catalog.decay_form(recipe.optimizer, options)
    if form is None:
        return [*rows, _own_decay(recipe)]
    omega = options.get("weight_decay", catalog.PAPER_OMEGA)
    decay = schedules.decay_formula(
        weight_decay=omega,
        decay=form,
        total_steps=options["total_steps"],
        weight_decay_offset=options.get("weight_decay_offset"),
    )
    no_offset = form == "constant" or not omega
    offset = (
        "given"
        if "weight_decay_offset" in recipe.options
        else "20 tokens per parameter / 10"
        if recipe.anytime
        else "T/10"
    )
    rows.append(
        Derived(
            "weight decay",
            f"omega {omega:g}",
            decay + ("" if no_offset else f"; offset {offset} (3.3)"),
        )
    )
    return rows


def _own_decay(recipe: Recipe) -> Derived:
    """Of an optimizer that does not decay by omega."""
    option = catalog.find(recipe.optimizer).options.get("weight_decay")
    value = recipe.options.get("weight_decay", None if option is None else option.default)
    if value is None:
        return Derived("weight decay", "none", f"{recipe.optimizer} has none")
    given = "given" if "weight_decay" in recipe.options else "its default"
    return Derived("weight decay", f"{value:g}", f"{given}, in {recipe.optimizer}'s own unit; hidden matrices and head")


def _default(equation: str, given: Any) -> str:
    return equation if given is None else "given"


def line(progress: Any) -> str:
    """One dense line about a step."""
    m: Mapping[str, Any] = progress.metrics
    tokens = m["tokens"] / m["step"]
    parts = [f"{m['step']:>7}/{progress.steps} {100 * m['step'] / progress.steps:5.1f} %"]
    parts.append("loss  -    " if m["loss"] is None else f"loss {m['loss']:.4f}")
    if "validation_loss" in m:
        parts.append(f"val {m['validation_loss']:.4f}")
    parts.append(f"lr {m['lr']:.2e}")
    if m["grad_norm"] is not None:
        parts.append(f"|g| {m['grad_norm']:.2f}")
    rate = m["tokens_per_second"]
    parts.append(f"{1000 * tokens / rate:.0f} ms")
    parts.append(f"{rate / 1000:.1f}k tokens/s")
    if "mfu" in m:
        parts.append(f"MFU {100 * m['mfu']:.0f} %")
    parts.append(f"{m['memory'] / 2**30:.1f} GiB")
    left = (progress.steps - m["step"]) * tokens / rate
    parts.append(f"{left / 3600:.1f} h left" if left >= 3600 else f"{left:.0f} s left")
    return "  ".join(parts)
