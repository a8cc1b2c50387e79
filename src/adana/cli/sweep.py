"""``adana sweep``: learning rates by the paper's search, over grids of options."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from adana.catalog import FULL
from adana.cli import Failed, UsageError
from adana.cli.arguments import parse
from adana.cli.board import SweepBoard
from adana.cli.common import (
    check_optimizer,
    check_optimizers,
    command_line,
    completed,
    cores,
    experiment,
    make_runs_folder,
    named_recipe,
    pick_device,
    read_corpus,
    refusing,
    value_of,
)
from adana.cli.tables import say, show_table, terminal
from adana.cli.words import one_line
from adana.lab.cells import SEARCH_SEED, at, cells, start_of
from adana.lab.executors import LocalExecutor
from adana.lab.executors.base import EXECUTION, FolderExecutor
from adana.lab.race_search import race_search
from adana.lab.sweep import Best, sweep
from adana.train.recipe import RECIPES, Execution, Recipe

DESCRIPTION = (
    "Search the peak learning rate of each optimizer at each model size, as the paper does: by factors of 2 until the "
    "best has two worse ones on either side, then the same by factors of 1.25. With several values of an option each "
    "combination has a search of its own. RECIPE says what is trained: small (default), enoki, qwen3, a recipe file, "
    "or a run folder. An interrupted sweep goes on with the same command."
)


@dataclass(frozen=True)
class SearchedRecipe(Recipe):
    """What is trained, as in adana train; here --heads takes several values."""

    optimizer: tyro.conf.Suppress[str] = "adana"
    options: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)
    seed: tyro.conf.Suppress[int] = 0
    lr: float | None = None
    """Where a search starts; default the race's or a published learning rate, or the best of a search nearby."""
    heads: tuple[int, ...] = (2,)  # type: ignore[assignment]
    """Model sizes, in attention heads; each size has a search of its own."""


@dataclass(frozen=True)
class Sweep:
    """Options of ``adana sweep``."""

    recipe: tyro.conf.OmitArgPrefixes[SearchedRecipe]
    execution: tyro.conf.OmitArgPrefixes[Execution] = EXECUTION
    optimizers: tuple[str, ...] = FULL
    """Optimizers whose learning rates are searched; "all" for those of the full race."""
    weight_decay: Annotated[tuple[str, ...], tyro.conf.arg(metavar="OMEGA...|paper")] = ()
    """Weight decays to try (omega, where they fade in log time); "paper" for those that the paper tried; default 4."""
    kappa: tuple[float, ...] = ()
    """Values of kappa to try: adana and its relatives weigh momentum by t^(1 - kappa) at step t; default 0.85 alone."""
    clip_snr: tuple[float, ...] = ()
    """Values of clip_snr to try: how far dana-mk4 and dana-star-mk4 let momentum exceed its noise; default theirs."""
    damping_scale: tuple[float, ...] = ()
    """Values of damping_scale to try: a factor of the momentum's weight, in optimizers that have it; default theirs."""
    beta2: tuple[float, ...] = ()
    """Values of beta2 to try for AdamW, NAdamW, AdEMAMix and Muon; fair are 0.95 0.99 0.999; default theirs."""
    grid: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE,VALUE...")] = ()
    """Values to try of any other option that is a number, of optimizers named as package.module:Class."""
    seeds: tuple[int, ...] = ()
    """Random seeds; the loss of a learning rate is the mean over them. Default 0 alone."""
    fine: float | None = 1.25
    """Factor between learning rates of the second, finer search; None leaves that search out."""
    rule: Literal["paper", "race"] = "paper"
    """paper: the search described above; race: the 16 runs that gave the race its settings."""
    stop_hopeless: bool = False
    """Stop runs whose loss is worse than the median of the other runs of their search at the same step."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Further options of all optimizers, by their names in Python, such as eps=1e-10."""
    engine: Literal["local", "ray", "slurm"] = "local"
    """Where runs are trained: processes of this machine, a Ray cluster (RAY_ADDRESS), or SLURM jobs."""
    workers: int | None = None
    """Runs at the same time; default one per core (one on a GPU), what the Ray cluster has room for, 16 SLURM jobs."""
    threads: int = 1
    """Torch threads per run."""
    slurm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Parameters of a SLURM job, by their names in submitit: timeout_min=240 slurm_partition=gpu gpus_per_node=1. With
    cluster=local they are tried without SLURM."""
    out: Path = Path("runs/sweep")
    """Folder of the runs."""
    output: Path = Path("results/sweep")
    """Results go to OUTPUT.csv (one row per run, for adana fit) and OUTPUT.json (the best points)."""
    json: bool = False
    """Print the best points as JSON on standard output."""


def run(argv: Sequence[str]) -> int:
    options = _parse(argv)
    base, searched = _cells(options)
    corpus = read_corpus(base)
    _check_engine(options)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {options.output.parent}: {error.strerror}") from None
    runs = make_runs_folder(corpus, options.out)
    command = command_line("sweep", argv)
    console = terminal(stderr=options.json)
    executor = _executor(options, runs, command, corpus.sha256)
    say(
        console,
        f"{corpus.name}: {len(searched)} searches, {executor.workers} runs at a time in {runs}; results in "
        f"{options.output}.csv and .json",
        style="",
    )
    board = SweepBoard(console)
    executor.listen(board.update)
    with experiment(console, runs), executor, board:
        bests = _search(options, base, searched, executor, board, command)
    if options.json:
        print(json.dumps([asdict(best) for best in bests], indent=1))
    else:
        show_table(console, board.table())
    return 0


def _search(
    options: Sweep,
    base: Recipe,
    searched: Sequence[Recipe],
    executor: FolderExecutor,
    board: SweepBoard,
    command: str,
) -> list[Best]:
    if options.rule == "race":
        return race_search(
            base,
            list(dict.fromkeys(cell.optimizer for cell in searched)),
            executor,
            options.output,
            command=command,
            on_submit=board.submitted,
            on_run=board.ended,
            on_best=board.found,
        )
    return sweep(
        searched,
        executor,
        seeds=options.seeds or (0,),
        fine=options.fine,
        stop_hopeless=options.stop_hopeless,
        output=options.output,
        command=command,
        on_submit=board.submitted,
        on_run=board.ended,
        on_best=board.best,
    )


def _parse(argv: Sequence[str]) -> Sweep:
    named = bool(argv) and not argv[0].startswith("-")
    found = named_recipe(argv[0] if named else "small")
    values = {one.name: getattr(found, one.name) for one in fields(Recipe)}
    setting = SearchedRecipe(**(values | {"heads": (found.heads,)}))
    # A recipe that somebody wrote says whose it is.
    optimizers = (found.optimizer,) if named and argv[0] not in RECIPES else FULL
    return parse(
        Sweep,
        "sweep [RECIPE]",
        DESCRIPTION,
        argv[1:] if named else argv,
        default=Sweep(setting, optimizers=optimizers),
        config=(tyro.conf.SuppressFixed,),
    )


def _cells(options: Sweep) -> tuple[Recipe, list[Recipe]]:
    """What all runs share, and a recipe for every search; all that can be refused is refused here."""
    names = list(FULL) if list(options.optimizers) == ["all"] else list(dict.fromkeys(options.optimizers))
    check_optimizers(names)
    heads = list(dict.fromkeys(options.recipe.heads))
    seeds = options.seeds or (SEARCH_SEED if options.rule == "race" else 0,)
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds must be different numbers of at least 0, got {' '.join(map(str, seeds))}")
    for name in ("workers", "threads"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UsageError(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.fine is not None and not 1 < options.fine < float("inf"):
        raise UsageError(f"--fine must be a factor above 1, got {options.fine:g}")
    paper_decays = options.weight_decay == ("paper",)
    grids = {} if paper_decays or not options.weight_decay else {"weight_decay": _numbers(options.weight_decay)}
    for name in ("kappa", "clip_snr", "damping_scale", "beta2"):
        if getattr(options, name):
            grids[name] = tuple(dict.fromkeys(getattr(options, name)))
    grids |= _named_grids(options.grid)
    if options.rule == "race":
        _check_race(options, heads, seeds, grids, paper_decays)
    values = {one.name: getattr(options.recipe, one.name) for one in fields(Recipe)}
    with refusing():
        options.execution.check()
        base = completed(Recipe(**(values | {"heads": heads[0], "seed": seeds[0]})), options.set)
        base.check()
        if base.vocab_size is None and base.data is not None:
            base = replace(base, vocab_size=read_corpus(base).vocabulary)
        if options.rule == "race":
            base = replace(base, steps=base.total_steps, evaluations=1)
        found = cells(base, optimizers=names, heads=heads, grids=grids, paper_decays=paper_decays)
        for cell in found:
            cell.check()
            lr = cell.lr or start_of(cell)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_optimizer(cell.optimizer, lr, cell.total_steps, at(cell, lr, 0).optimizer_options())
    if options.stop_hopeless and base.evaluations < 2:
        raise UsageError("--stop-hopeless judges runs on their way: it needs --evaluations of at least 2")
    return base, found


def _check_race(
    options: Sweep, heads: Sequence[int], seeds: Sequence[int], grids: dict[str, Any], paper_decays: bool
) -> None:
    given = [f"--{name.replace('_', '-')}" for name in grids]
    given += ["--weight-decay"] * paper_decays + ["--stop-hopeless"] * options.stop_hopeless
    given += ["--heads with several sizes"] * (len(heads) > 1) + ["--seeds with several"] * (len(seeds) > 1)
    given += ["--fine"] * (options.fine != 1.25) + ["--set"] * bool(options.set)
    given += ["--lr"] * (options.recipe.lr is not None)
    if given:
        raise UsageError(f"--rule race has a search of its own and takes no {', no '.join(given)}")


def _named_grids(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    found = {}
    for text in texts:
        name, separator, values = text.partition("=")
        try:
            numbers = tuple(dict.fromkeys(float(value) for value in values.split(",")))
        except ValueError:
            numbers = ()
        if not separator or not name.isidentifier() or not numbers:
            raise UsageError(f"--grid {text}: write NAME=VALUE,VALUE, such as momentum=0.9,0.95")
        found[name] = numbers
    return found


def _numbers(texts: Sequence[str]) -> tuple[float, ...]:
    try:
        values = tuple(dict.fromkeys(float(text) for text in texts))
    except ValueError:
        raise UsageError(f"--weight-decay {' '.join(texts)}: write numbers, or paper") from None
    if not all(0 <= value < float("inf") for value in values):
        raise UsageError(f"--weight-decay must be finite numbers of at least 0, got {' '.join(texts)}")
    return values


# --- engines --------------------------------------------------------------------------------------------


def _check_engine(options: Sweep) -> None:
    packages = {"ray": "ray", "slurm": "submitit"}
    package = packages.get(options.engine)
    if package is not None and importlib.util.find_spec(package) is None:
        raise UsageError(f"--engine {options.engine} needs {package}: pip install 'adana[{options.engine}]'")
    if options.slurm and options.engine != "slurm":
        raise UsageError(f"--slurm is for --engine slurm, got --engine {options.engine}")


def _executor(options: Sweep, runs: Path, command: str, data_sha256: str) -> FolderExecutor:
    common: dict[str, Any] = {
        "threads": options.threads,
        "execution": options.execution,
        "command": command,
        "data_sha256": data_sha256,
        "keep_stopped": options.stop_hopeless,
    }
    try:
        if options.engine == "ray":
            from adana.lab.executors.ray import RayExecutor

            return RayExecutor(runs, workers=options.workers, **common)
        if options.engine == "slurm":
            from adana.lab.executors.slurm import SlurmExecutor

            parameters = {}
            for text in options.slurm:
                name, separator, value = text.partition("=")
                if not separator or not name.isidentifier():
                    raise UsageError(f"--slurm {text}: write NAME=VALUE, such as timeout_min=240")
                parameters[name] = value_of(value)
            cluster = str(parameters.pop("cluster", "slurm"))
            return SlurmExecutor(runs, workers=options.workers or 16, parameters=parameters, cluster=cluster, **common)
    except (FileNotFoundError, ValueError) as error:  # no sbatch here, a parameter that submitit does not know
        raise UsageError(f"--engine {options.engine}: {one_line(error)}") from None
    except ConnectionError as error:
        raise Failed(f"--engine {options.engine}: {one_line(error)}") from None
    device = pick_device(options.execution.device)
    common["execution"] = replace(options.execution, device=device)
    workers = options.workers or (cores() if device == "cpu" else 1)
    return LocalExecutor(runs, workers=workers, **common)
