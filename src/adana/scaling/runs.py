"""Finished runs in the one form that the fits read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from adana.identity import as_text
from adana.records import Record
from adana.scaling.laws import PETAFLOP_HOUR, label

__all__ = ["Horizon", "Run", "common_horizon", "told_apart"]

SAME_HORIZON = 0.02


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        where: file and line, or folder.
        optimizer: its name.
        final_loss: nats per token; inf if it diverged.
        kappa: kappa where the optimizer has one, or the source names one.
        lr: peak learning rate.
        seed: seed.
        settings: all that decides its numbers but the optimizer, kappa, learning rate, seed and text, by the names of
            :class:`~adana.train.recipe.Recipe`, as far as the source says: runs that differ in it are no seeds.
        model: architecture and vocabulary, where the source says.
        non_embedding_parameters: P.
        total_parameters: with both embeddings.
        tokens: tokens trained on.
        steps: optimizer steps.
        batch_tokens: tokens per step.
        linear_damping: c of a damping alpha(t) = c (1 + t).
        flops: compute of the whole run by formula (``6p``, ``6n``, ``m``).
        weight_decay: omega, where the source says; part of ``settings`` too.
        options: in words, the optimizer's other options and what else tells it from runs of its size.
        keywords: what the optimizer was built with, omega and kappa included; None where the source does not say.
        text: hash of the text it was measured on, where the source says.
        derived: what the source does not say and was reckoned from what it says, such as ``tokens = C / 6N``.
    """

    where: str
    optimizer: str
    final_loss: float
    kappa: float | None = None
    lr: float | None = None
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=lambda: {"options": {}})
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
    derived: tuple[str, ...] = ()

    @cached_property
    def setting(self) -> str:
        """:attr:`settings` as a text that is the same where they are."""
        return as_text(self.settings)

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
class Horizon(Record):
    """How long the runs of a fit were: a law holds for runs as long, and for no others.

    Attributes:
        tokens_per_parameter: tokens over total parameters where that is what the runs share.
        tokens: tokens where they share those instead.
    """

    tokens_per_parameter: float | None
    tokens: float | None = None

    def __post_init__(self) -> None:
        if self.tokens_per_parameter is None and self.tokens is None:
            raise ValueError("a horizon has tokens_per_parameter or tokens, got neither")

    def __str__(self) -> str:
        if self.tokens_per_parameter is not None:
            return f"{self.tokens_per_parameter:.3g} tokens per total parameter"
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
            "tokens per parameter: add the column total_parameters, or arch and heads"
        )
    raise ValueError(
        f"mixed horizons: {min(ratios):.3g} to {max(ratios):.3g} tokens per parameter; a law holds for one: choose "
        "with --tokens-per-parameter"
    )


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, with what differs between those of one optimizer, size and horizon said in their ``options``."""

    def alike(run: Run) -> Any:
        return run.label, run.model, run.non_embedding_parameters, run.tokens

    values: dict[Any, dict[str, set[str]]] = {}
    for run in runs:
        of_group = values.setdefault(alike(run), {})
        for name in run.settings.keys() - {"options", "words"}:
            of_group.setdefault(name, set()).add(as_text({name: run.settings[name]}))
    varying = {key: {name for name, seen in found.items() if len(seen) > 1} for key, found in values.items()}
    return [replace(run, options=_in_words(run.settings, sorted(varying[alike(run)]))) for run in runs]


def _in_words(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """The optimizer's options beside omega, which is said apart, and these of the other settings."""
    options = {name: value for name, value in settings["options"].items() if name != "weight_decay"}
    more = {name: settings[name] for name in names if name in settings}
    words = [settings["words"]] if "words" in settings else []
    return ", ".join(words + [f"{name}={value}" for name, value in {**options, **more}.items()])
