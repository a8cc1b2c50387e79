"""What decides a run's numbers (:class:`Recipe`), and what does not (:class:`Execution`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from adana import catalog, foreign, identity, schedules
from adana.data import text as corpora
from adana.data.dataset import TokenDataset, from_corpus, open_dataset
from adana.files import read_json
from adana.models import DecoderConfig, architecture, flops_per_token, horizon
from adana.typed import from_mapping

__all__ = ["RECIPES", "Execution", "Recipe", "enoki", "load_data", "qwen3", "read_recipe", "small"]

WARMUP = 0.02
OFFSET = 0.1
MOST = 2**63  # torch's generators and sizes take no more


@dataclass(frozen=True)
class Recipe:
    """All that decides a run's numbers, up to the order in which sums are taken. Saved in run.json."""

    optimizer: str = "adana"
    """adana, adamw, ... (an unknown name lists all). Names in -dw: weight decay fades in log time as it trains."""
    lr: float | None = None
    """Peak learning rate; default what the paper's law gives for this optimizer and model size."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further keywords of the optimizer."""
    arch: str = "enoki"
    """Architecture: enoki, qwen3, or your own by its name or as package.module:NAME."""
    heads: int = 2
    """Attention heads, which set the size of the model: its other dimensions follow from them."""
    layers: int | None = None
    """Transformer blocks; default by the architecture's rule for this number of heads."""
    head_dim: int | None = None
    """Width of a head; default the architecture's: 64 (enoki), 128 (qwen3)."""
    embedding_dim: int | None = None
    """Width of the residual stream; default heads * head_dim."""
    mlp_dim: int | None = None
    """Width of the feed-forward part; default the architecture's: 4 (enoki) or 3 (qwen3) times the residual stream."""
    vocab_size: int | None = None
    """Tokens the model knows; default as many as the data has."""
    experts: int | None = None
    """Experts per layer, for architectures that have them (enoki); default none, a dense model."""
    active: int | None = None
    """Experts that a token uses; default 1."""
    balance: float = 0.01
    """Weight of the experts' load-balance loss; it is never part of a reported loss."""
    seq_len: int = 256
    """Tokens per sequence."""
    batch_size: int = 4
    """Sequences per step, over all ranks and micro-batches."""
    steps: int | None = 1500
    """Optimizer steps, over which learning rate and decay are scheduled. None makes it 20 tokens per parameter."""
    anytime: bool = False
    """No planned end: the learning rate is constant until a cool-down, and such a run can be made longer later."""
    warmup_steps: int | None = None
    """Steps in which the learning rate rises; default 2 % of all (with --anytime, of 20 tokens per parameter)."""
    cooldown: float = 0.2
    """Share of an --anytime run, at its end, in which the learning rate falls."""
    clip_norm: float = 0.5
    """Gradients whose norm over all parameters is larger are scaled down to it."""
    seed: int = 0
    """Random seed of the initial weights and of the order of the data."""
    data: str | None = None
    """Folder made by `adana data build`; default the Python standard library, as bytes."""
    text: tuple[str, ...] = ()
    """Text files in place of a data folder: bytes, the last 5 % of each held out."""
    order: Literal["random", "permuted"] = "random"
    """Sequences of the text: at random places, or each one once per epoch in a random order."""
    evaluations: int = 8
    """How many times validation loss is measured, the end included."""
    validation_tokens: int = corpora.VALIDATION_TOKENS
    """Tokens of the fixed validation set, at most."""
    init_from: str | None = None
    """Checkpoint, or run folder, whose weights to start from."""
    init_optimizer: Literal["fresh", "from-adamw"] = "fresh"
    """With --init-from: a fresh optimizer, or adana with the averages of the AdamW in the checkpoint."""

    def model_config(self) -> DecoderConfig:
        """Sizes of the model.

        Raises:
            ValueError: an unknown architecture, a size that it does not take, or one that cannot be.
        """
        return architecture(self.arch).sized(
            self.heads,
            layers=self.layers,
            head_dim=self.head_dim,
            embedding_dim=self.embedding_dim,
            mlp_dim=self.mlp_dim,
            vocab_size=corpora.VOCABULARY if self.vocab_size is None else self.vocab_size,
            experts=self.experts,
            active=self.active,
        )

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.seq_len

    @property
    def ladder_steps(self) -> int:
        """Steps of 20 tokens per parameter, at least 1 (36)."""
        config = self.model_config()
        return max(1, horizon(config) // self.tokens_per_step)

    @property
    def total_steps(self) -> int:
        """The horizon T in steps."""
        return self.ladder_steps if self.steps is None else self.steps

    @property
    def tokens(self) -> int:
        return self.total_steps * self.tokens_per_step

    @property
    def flops(self) -> float:
        """Training compute as the paper counts it, by 6N (Table 1); of a mixture, a token's experts alone."""
        return float(self.tokens) * flops_per_token(self.model_config(), formula="6N")

    @property
    def warmup(self) -> float:
        """Steps of warm-up: T/50 (Section F.2); T of 20 tokens per parameter where the run has no horizon."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return WARMUP * (self.ladder_steps if self.anytime else self.total_steps)

    @property
    def stable_steps(self) -> int:
        """Steps before an anytime run cools down."""
        return self.total_steps - round(self.cooldown * self.total_steps)

    def gamma(self, step: int) -> float:
        """Learning-rate factor of a step."""
        if self.anytime:
            return float(schedules.wsd(step, self.total_steps, warmup=self.warmup, stable=self.stable_steps))
        fraction = WARMUP if self.warmup_steps is None else self.warmup_steps / self.total_steps
        return float(schedules.gamma(step, self.total_steps, warmup_fraction=fraction))

    def optimizer_options(self) -> dict[str, Any]:
        """Keywords of the optimizer, the horizon among them where it has one."""
        known: dict[str, Any] = {"total_steps": None if self.anytime else self.total_steps}
        if self.anytime:
            known["weight_decay_offset"] = max(1.0, OFFSET * self.ladder_steps)
        taken = catalog.find(self.optimizer).options
        return {name: value for name, value in known.items() if name in taken} | self.options

    def resolved(self) -> Recipe:
        """The same run with nothing left to a default that follows from something else.

        Of the options, omega is named and others only where they are not the default: a run that was given a default
        has the settings of one that was not.

        >>> Recipe("adana").resolved() == Recipe("adana", options={"weight_decay": 4.0, "form": "paper"}).resolved()
        True
        """
        config, warmup = self.model_config(), self.warmup
        return replace(
            self,
            options=self._options_that_tell(),
            layers=config.depth,
            head_dim=config.head_dim,
            embedding_dim=config.width,
            mlp_dim=config.hidden,
            vocab_size=config.vocab_size,
            active=None if self.experts is None else self.active or 1,
            steps=self.total_steps,
            warmup_steps=int(warmup) if warmup == int(warmup) else None,  # of a part of a step there is no other way
        )

    def _options_that_tell(self) -> dict[str, Any]:
        if foreign.is_foreign(self.optimizer):  # its code alone knows its defaults, and reading a run imports no code
            return self.options
        entry = catalog.find(self.optimizer)
        usual = identity.plain(entry.in_recipes())
        told = {
            name: value
            for name, value in self.options.items()
            if name not in usual or identity.plain(value) != usual[name]
        }
        decay = {name: self.options.get(name, usual[name]) for name in ("weight_decay",) if name in usual}
        return told | decay

    def identity(self) -> dict[str, Any]:
        """Everything but the learning rate and the seed: runs in which this is the same are seeds of one another.

        A new field belongs to it by itself. Whoever compares runs by something takes that out by its name.

        >>> one, other = Recipe(lr=1e-3, options={"weight_decay": 1}), Recipe(seed=1, options={"weight_decay": 1.0})
        >>> one.identity() == other.identity()
        True
        """
        return {name: value for name, value in self._plain().items() if name not in ("lr", "seed")}

    def digest(self, *without: str) -> str:
        """Eight hexadecimal digits of everything, the learning rate and the seed included, but those fields."""
        return identity.digest({name: value for name, value in self._plain().items() if name not in without})

    def _plain(self) -> dict[str, Any]:
        found = self.to_json()
        # The names of folders hang on these values: counts stay whole numbers, as they always were in them.
        numbers = {one.name for one in fields(Recipe) if "float" in str(one.type)}
        return {
            name: identity.plain(value) if name in numbers or name == "options" else value
            for name, value in found.items()
        }

    def to_json(self) -> dict[str, Any]:
        """As it is read back from JSON: lists where there were tuples."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Recipe:
        """A recipe from what :meth:`to_json` gave, or what somebody wrote by hand.

        Raises:
            ValueError: a name that is not a recipe's, or a value of the wrong type.
        """
        recipe = from_mapping(cls, found, what="a recipe")
        if ":" not in recipe.arch:  # else it may be imported before it is needed
            architecture(recipe.arch)
        return recipe

    def check(self) -> None:
        """Refuse what cannot be run, before anything is read or written.

        Raises:
            ValueError: an impossible value; the message shows it.
        """
        for name in ("seq_len", "batch_size", "evaluations", "validation_tokens", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
            if value is not None and value >= MOST:
                raise ValueError(f"{name} must be less than 2^63, got {value}")
        if not 0 <= self.seed < MOST:
            raise ValueError(f"seed must be at least 0 and less than 2^63, got {self.seed}")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be a finite number above 0, got {self.lr!r}")
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0 (inf for none), got {self.clip_norm!r}")
        if not 0 <= self.balance < math.inf:
            raise ValueError(f"balance must be a finite number of at least 0, got {self.balance!r}")
        if not 0 < self.cooldown < 1:
            raise ValueError(f"cooldown must lie between 0 and 1, got {self.cooldown!r}")
        if self.data is not None and self.text:
            raise ValueError(f"data={self.data!r} and text={self.text!r} exclude one another: choose one")
        if self.init_optimizer == "from-adamw":
            able = [name for name, entry in catalog.OPTIMIZERS.items() if entry.goes_on_from]
            if self.init_from is None or self.optimizer not in able:
                names = " or ".join(able)
                raise ValueError(
                    f"init_optimizer='from-adamw' makes an {names} out of a checkpoint: pass init_from, and {names}"
                )
        self.model_config()
        if not 0 <= self.warmup < (self.stable_steps if self.anytime else self.total_steps):
            end = "cool-down" if self.anytime else "end"
            raise ValueError(f"a warm-up of {self.warmup:g} steps leaves none before the {end} of {self.total_steps}")


@dataclass(frozen=True)
class Execution:
    """How the recipe is run. None of it decides its numbers: all may differ when a run goes on."""

    device: str | None = None
    """Torch device; default a GPU if there is one, else the CPU."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """Under torchrun: each process holds the whole model (ddp, auto) or a part of everything (fsdp)."""
    micro_batch_size: int | None = None
    """Sequences a device takes at a time; default its whole share of a step."""
    compile: bool | None = None
    """Compile the model with torch.compile; default on a GPU."""
    log_every: int | None = 10
    """Steps between lines of metrics.jsonl and of the console; None for evaluations only."""
    save_every: int | None = 1000
    """Steps between checkpoints; None saves only when the run is stopped and at its end."""
    keep_last: int = 2
    """How many of the newest checkpoints to keep."""
    keep_every: int | None = None
    """Also keep the checkpoints whose step is a multiple of this."""
    keep_final: bool = True
    """Keep checkpoints once the run has finished."""
    asynchronous: bool | None = None
    """Write checkpoints while training goes on; default on a GPU."""
    use_previous: bool = False
    """Where the newest checkpoint is corrupt, set it aside and go on from the one before."""
    non_finite: Literal["stop", "skip"] = "stop"
    """On a loss or gradient that is not finite: stop the run, or skip the step."""
    diagnostics_every: int | None = None
    """Steps between lines of diagnostics.jsonl, which describe the optimizer's state; default no such file."""
    log: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go besides metrics.jsonl (pip install 'adana[log]')."""

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: a number below 1.
        """
        names = ("micro_batch_size", "log_every", "save_every", "keep_last", "keep_every", "diagnostics_every")
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def small(**changes: Any) -> Recipe:
    """The race's model, data and budget (docs/decisions/0001): under a minute on one core.

    >>> small(optimizer="adana", lr=2e-3).tokens
    1536000
    """
    return replace(Recipe(), **changes)


def enoki(heads: int = 6, **changes: Any) -> Recipe:
    """Enoki as the paper trains it: 32 sequences of 2,048 tokens per step, 20 tokens per parameter.

    Args:
        heads: the one knob of the ladder.
        changes: any other field of :class:`Recipe`.

    Source: Sections C, F.2; Table 16.

    >>> enoki(heads=6, vocab_size=50304).total_steps
    13950
    """
    return replace(Recipe(heads=heads, seq_len=2048, batch_size=32, steps=None, evaluations=100), **changes)


def qwen3(heads: int = 6, **changes: Any) -> Recipe:
    """Qwen3 as the paper trains it; as :func:`enoki` otherwise.

    Source: Section G.

    >>> qwen3(heads=6, vocab_size=50304).total_steps
    53826
    """
    return enoki(heads, arch="qwen3", **changes)


RECIPES = {"small": small, "enoki": enoki, "qwen3": qwen3}


def read_recipe(path: Path, *, to_run: bool = True) -> Recipe:
    """A recipe from a run folder, its ``run.json``, or a JSON file of its own.

    Args:
        path: the folder or file.
        to_run: refuse somebody else's optimizer whose name nobody has typed. What a finished run says can be read
            without importing its code.

    Raises:
        ValueError: no recipe is in it, or one whose optimizer is code that nobody has asked for by name; the message
            names the file.
        OSError: it cannot be read.
    """
    file = path / "run.json" if path.is_dir() else path
    found = read_json(file, says="is not a recipe")
    if "recipe" in found:
        found = found["recipe"]
    if not isinstance(found, dict):
        raise ValueError(f"{file} is not a recipe: expected an object, got {type(found).__name__}")
    try:
        recipe = Recipe.from_json(found)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if to_run:
        foreign.check_allowed(recipe.optimizer, file)
    return recipe


def load_data(recipe: Recipe, *, verify: bool = True) -> TokenDataset:
    """The recipe's tokens.

    Args:
        recipe: says which.
        verify: compare the checksums of a data folder's shards.

    Raises:
        ValueError: a corrupt shard, tokens that the model does not know, or fewer than one sequence.
        OSError: a file cannot be read.
    """
    if recipe.data is not None:
        data = open_dataset(recipe.data, verify=verify)
    else:
        data = from_corpus(corpora.text_files(recipe.text) if recipe.text else corpora.standard_library())
    if recipe.vocab_size is not None or recipe.data is None:
        data.require(vocab_size=recipe.model_config().vocab_size)
    need = recipe.seq_len + 1
    for part, stream in (("training", data.train), ("held-out", data.validation)):
        if len(stream) < need:
            raise ValueError(
                f"the text is too short: its {part} part has {len(stream):,} tokens and one sequence of "
                f"seq_len={recipe.seq_len} needs {need:,}; pass more text or a smaller --seq-len"
            )
    return data
