"""A plan, and what of it a recipe says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adana.models import architecture
from adana.scaling.second_opinion import SecondOpinion

__all__ = ["Plan", "recipe_fields"]


@dataclass(frozen=True)
class Plan:
    """A plan; ``equations`` says where each number is from, ``warnings`` what it must not be taken for.

    Attributes:
        arch: architecture.
        heads: attention heads.
        vocab_size: of the embedding and the head.
        seq_len: tokens per sequence.
        optimizer: command-line name.
        kappa: kappa; None for an optimizer without one.
        variant: number in Table 9 of an ablation of ADana, else empty.
        layers: transformer blocks.
        head_dim: width of a head.
        width: residual stream.
        hidden: width of the feed-forward part.
        total_parameters: published count, both embeddings in it.
        non_embedding_parameters: published count, P of the laws.
        model_parameters: what the model really has.
        tokens_per_parameter: of the horizon.
        tokens: of the whole run.
        batch_tokens: tokens per step.
        steps: T.
        warmup_steps: T/50; T/10 for AMCS, whose own rule that is.
        flops_6p: compute of the whole run by Kaplan's formula.
        flops_6n: by Chinchilla's, as the loss laws count it.
        flops_m: by DeepSeek's.
        pfh: ``flops_6n`` in petaflop-hours.
        pf_days: ``flops_6p`` in petaflop-days.
        lr: peak learning rate; None where no law gives one.
        lr_low: lower end of its band.
        lr_high: upper end of its band.
        lr_source: equation or file it is from, or why there is none.
        weight_decay: omega; None for an optimizer without decay.
        weight_decay_offset: t0 = T/10 in steps; None for constant decay.
        damping_scale: alpha~; None for an optimizer without damping.
        options: further keywords of the optimizer: a variant's, or those that your own law was measured with.
        predicted_loss: nats per token; None where no law gives one.
        predicted_loss_low: lower end of its band.
        predicted_loss_high: upper end of its band.
        predicted_loss_source: tables and compute formula, or why there is none.
        weights_bytes: float32 weights.
        gradients_bytes: float32 gradients.
        state_bytes: optimizer state by ``state_dtype``; with int16, vectors stay float32, which is not counted apart.
        flops_per_second: assumed of one GPU, in formula 6N.
        gpu_hours: ``flops_6n`` at that speed.
        second_opinion: of another published law over size and tokens, which is not used; None where there is none.
        warnings: where a number lies outside what was measured.
        equations: by field.
    """

    arch: str
    heads: int
    vocab_size: int
    seq_len: int
    optimizer: str
    kappa: float | None
    variant: str
    layers: int
    head_dim: int
    width: int
    hidden: int
    total_parameters: int
    non_embedding_parameters: int
    model_parameters: int
    tokens_per_parameter: float
    tokens: int
    batch_tokens: int
    steps: int
    warmup_steps: float
    flops_6p: float
    flops_6n: float
    flops_m: float
    pfh: float
    pf_days: float
    lr: float | None
    lr_low: float | None
    lr_high: float | None
    lr_source: str
    weight_decay: float | None
    weight_decay_offset: float | None
    damping_scale: float | None
    options: dict[str, Any]
    predicted_loss: float | None
    predicted_loss_low: float | None
    predicted_loss_high: float | None
    predicted_loss_source: str
    weights_bytes: int
    gradients_bytes: int
    state_bytes: dict[str, int]
    flops_per_second: float
    gpu_hours: float
    second_opinion: SecondOpinion | None
    warnings: tuple[str, ...]
    equations: dict[str, str]


def recipe_fields(found: Plan) -> dict[str, Any]:
    """A plan as the fields of a recipe that differ from :class:`adana.train.recipe.Recipe`'s own.

    Raises:
        ValueError: the plan has no learning rate, or its batch is no whole number of sequences.

    >>> from adana.scaling import plan
    >>> fields = recipe_fields(plan(6, "adana"))
    >>> fields["steps"], fields["batch_size"], fields["options"]
    (13950, 32, {'kappa': 0.85, 'weight_decay': 4.0})
    """
    if found.lr is None:
        raise ValueError(f"no learning rate to write into a recipe ({found.lr_source}): give one with --lr")
    sequences, rest = divmod(found.batch_tokens, found.seq_len)
    if rest or not sequences:
        raise ValueError(
            f"{found.batch_tokens:,} tokens per step are no whole number of sequences of {found.seq_len:,}: choose "
            "another --batch-tokens or --seq-len"
        )
    options = dict(found.options)
    for name, value, usual in (
        ("kappa", found.kappa, None),
        ("weight_decay", found.weight_decay, None),
        ("damping_scale", found.damping_scale, 1.0),
    ):
        if value is not None and value != usual:
            options[name] = value
    about = architecture(found.arch)
    by_rule = about.sized(found.heads, head_dim=found.head_dim, vocab_size=found.vocab_size)
    return {
        "optimizer": found.optimizer,
        "lr": found.lr,
        "options": options,
        "arch": found.arch,
        "heads": found.heads,
        "layers": None if found.layers == by_rule.depth else found.layers,
        "head_dim": None if found.head_dim == about.head_dim else found.head_dim,
        "vocab_size": found.vocab_size,
        "seq_len": found.seq_len,
        "batch_size": sequences,
        "steps": found.steps,
    }
