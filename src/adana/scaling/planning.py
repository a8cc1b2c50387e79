"""What a run of some size needs, each number with the equation it is from.

Nothing here is measured: sizes are counted, the rest is the paper's arithmetic, its published laws, or laws of your
own from ``adana fit``. Outside what a law was fitted on, a plan says so, or has no number at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from adana import catalog
from adana.catalog import Optimizer
from adana.models import DecoderConfig, architecture, count, flops_per_token, model_name, printed_equations
from adana.models.config import VOCABULARY
from adana.scaling.damping import BATCH_TOKENS, damping_scale
from adana.scaling.fits import Fit, LearningRateLaws, LossLaws, OptimizerLoss, OptimizerRate
from adana.scaling.laws import COMPUTE_FORMULAS, PETAFLOP_HOUR, label
from adana.scaling.presentation import about_form
from adana.scaling.published import PublishedLearningRateLaw, PublishedLossLaw, learning_rate_laws, loss_laws

__all__ = ["Plan", "plan", "recipe_fields"]

SEQUENCE = 2048
LARGE_BATCH = 512 * SEQUENCE
TOKENS_PER_PARAMETER = 20.0
OMEGA = 4.0
SCALED = ("weight_decay", "damping_scale")
"""Settings of an own law's runs that a plan reckons with."""
FLOPS_PER_SECOND = 3.5e14
"""What an H100 made of formula 6N in Table 17: 217 PFH in 626 hours at 2.62B, 62 in 173 at 1.41B."""


VARIANTS: dict[str, dict[str, Any]] = {
    "3": {"beta2": 0.999},
    "5": {"beta3": 0.9, "damping": "linear"},
    "7": {"beta3": 0.9},
}
"""Of ADana, by number in Table 9: its keywords."""

STATE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int16": 2.0 + 4.0 / 256.0}
"""Bytes of a number of state; int16 has a float32 scale for every 256 codes."""


@dataclass(frozen=True)
class Plan:
    """A plan; ``equations`` says where each number is from, ``warnings`` what it must not be taken for.

    Attributes:
        arch: architecture.
        heads: attention heads.
        vocab_size: of the embedding and the head.
        seq_len: tokens a sequence.
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
        predicted_loss: nats a token; None where no law gives one.
        predicted_loss_low: lower end of its band.
        predicted_loss_high: upper end of its band.
        predicted_loss_source: tables and compute formula, or why there is none.
        weights_bytes: float32 weights.
        gradients_bytes: float32 gradients.
        state_bytes: optimizer state by ``state_dtype``; with int16, vectors stay float32, which is not counted apart.
        flops_per_second: assumed of one GPU, in formula 6N.
        gpu_hours: ``flops_6n`` at that speed.
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
    warnings: tuple[str, ...]
    equations: dict[str, str]


@dataclass(frozen=True)
class _Found:
    """A number with its band and source, or only the reason why there is none."""

    source: str
    equation: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    options: Mapping[str, Any] | None = None
    """What the optimizer of an own law's runs was built with."""
    batch_tokens: float | None = None
    """Tokens per step of an own law's runs."""


def plan(
    heads: int,
    optimizer: str = "adana",
    *,
    arch: str = "enoki",
    kappa: float | None = None,
    variant: str = "",
    batch_tokens: int = BATCH_TOKENS,
    tokens_per_parameter: float = TOKENS_PER_PARAMETER,
    vocab_size: int = VOCABULARY,
    seq_len: int = SEQUENCE,
    layers: int | None = None,
    head_dim: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    flops_per_second: float = FLOPS_PER_SECOND,
    laws: Sequence[Fit] = (),
) -> Plan:
    """Plan a run: size, horizon, compute, hyper-parameters, expected loss, memory and time.

    Args:
        heads: attention heads; they decide every dimension.
        optimizer: a name of :data:`adana.catalog.OPTIMIZERS`.
        arch: architecture: ``enoki``, ``qwen3``, or another that is registered.
        kappa: of the DANA family; default 0.85, and 0.75 for a variant, as published.
        variant: ``3``, ``5`` or ``7`` of Table 9, for ``adana``.
        batch_tokens: tokens per step.
        tokens_per_parameter: tokens of the run over total parameters.
        vocab_size: of the embedding and the head.
        seq_len: tokens a sequence.
        layers: transformer blocks; default the ladder's.
        head_dim: width of a head; default the ladder's.
        lr: peak learning rate in place of a law's.
        weight_decay: omega; default what your own law was measured with, else 4, which the paper finds good at every
            size.
        flops_per_second: of one GPU, counted by formula 6N.
        laws: own laws of learning rate and loss, such as :func:`adana.scaling.fits.read_fit` reads from a file; they
            come before the published ones.

    Raises:
        ValueError: an unknown name, a number that is not positive, a kappa for an optimizer without one, or an own
            law of another kind.

    Example:
        >>> found = plan(40, "adamw")
        >>> f"{found.lr:.3g} from {found.lr_source}; {found.steps:,} steps; loss {found.predicted_loss:.2f}"
        '0.000191 from eq. (39); 798,600 steps; loss 2.52'
        >>> plan(40, "adana", kappa=0.7).lr_source
        'none published: adana on enoki has laws for kappa 0.75, 0.8, 0.85, 0.9, not 0.7'

    Source: Sections C.1, E, F, G.4 and H.
    """
    about_model = architecture(arch)
    about = catalog.find(optimizer)
    if variant and (optimizer != "adana" or variant not in ("3", "5", "7")):
        raise ValueError(f"variant must be 3, 5 or 7, of adana (Table 9), got {variant!r} of {optimizer}")
    own_kappa = about.kappa
    if kappa is not None and own_kappa is None and not (about.foreign and "kappa" in about.options):
        raise ValueError(f"{optimizer} has no kappa, got {kappa}")
    if kappa is not None and not 0 < kappa < math.inf:
        raise ValueError(f"kappa must be above 0, got {kappa}")
    for name, value in (
        ("batch_tokens", batch_tokens),
        ("tokens_per_parameter", tokens_per_parameter),
        ("seq_len", seq_len),
        ("flops_per_second", flops_per_second),
    ):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0, got {value}")
    if lr is not None and not 0 < lr < math.inf:
        raise ValueError(f"lr must be above 0, got {lr}")
    if weight_decay is not None and not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    if weight_decay is not None and about.decay is None:
        raise ValueError(f"{optimizer} has no weight decay, got {weight_decay}")
    for fit in laws:
        if not isinstance(fit, LearningRateLaws | LossLaws):
            raise ValueError("an own law must be what `adana fit --law lr` or `adana fit --law loss` made")
    if own_kappa is not None and kappa is None:
        kappa = 0.75 if variant else own_kappa

    config = about_model.sized(heads, layers=layers, vocab_size=vocab_size, head_dim=head_dim)
    counts = count(config)
    tokens = round(tokens_per_parameter * counts.total_parameters)
    steps = tokens // batch_tokens
    if steps < 1:
        raise ValueError(f"a step of {batch_tokens:,} tokens is more than the whole run of {tokens:,}")
    flops = {
        name: float(tokens) * flops_per_token(config, formula=of, seq_len=seq_len)
        for name, of in COMPUTE_FORMULAS.items()
    }
    if not math.isfinite(max(flops.values()) / flops_per_second):
        raise ValueError(
            f"no number is large enough for the hours of {tokens_per_parameter:g} tokens per parameter at "
            f"{flops_per_second:g} FLOP/s: choose fewer tokens or more FLOP/s"
        )

    warnings: list[str] = []
    if not about.torch:
        warnings.append(f"{optimizer} can be planned only: adana train does not have it yet")
    size = counts.non_embedding_parameters
    wanted = _Wanted(arch, config, optimizer, kappa, variant, batch_tokens, tokens_per_parameter, seq_len, size, flops)
    found_lr = _Found("given", value=lr) if lr is not None else None
    found_lr = found_lr or _own_lr(wanted, laws, warnings) or _published_lr(wanted, warnings)
    loss = _own_loss(wanted, laws, warnings) or _published_loss(wanted, warnings)
    scale, scale_source = _damping(wanted, found_lr, warnings) if about.damped else (None, "no damping")
    options = {**VARIANTS.get(variant, {}), **(found_lr.options or {})}
    stored = about.stored(options)
    omega_source = "given"
    if weight_decay is None:
        omega_source = "as in the runs of your fit" if "weight_decay" in options else f"the paper's is {OMEGA:g} (F.1)"
        weight_decay = float(options.get("weight_decay", OMEGA))
    # Somebody else's weight decay is an option as any other: omega is ours.
    for name in ("kappa",) if about.foreign else ("weight_decay", "damping_scale", "kappa"):
        options.pop(name, None)
    hidden = counts.matrices
    rest = counts.model_parameters - hidden
    states = stored[0] * hidden + stored[1] * rest
    return Plan(
        arch=arch,
        heads=heads,
        vocab_size=vocab_size,
        seq_len=seq_len,
        optimizer=optimizer,
        kappa=kappa,
        variant=variant,
        layers=config.depth,
        head_dim=config.head_dim,
        width=config.width,
        hidden=config.hidden,
        total_parameters=counts.total_parameters,
        non_embedding_parameters=size,
        model_parameters=counts.model_parameters,
        tokens_per_parameter=tokens_per_parameter,
        tokens=tokens,
        batch_tokens=batch_tokens,
        steps=steps,
        warmup_steps=steps / about.warmup,
        flops_6p=flops["6p"],
        flops_6n=flops["6n"],
        flops_m=flops["m"],
        pfh=flops["6n"] / PETAFLOP_HOUR,
        pf_days=flops["6p"] / (24 * PETAFLOP_HOUR),
        lr=found_lr.value,
        lr_low=found_lr.low,
        lr_high=found_lr.high,
        lr_source=found_lr.source,
        weight_decay=None if about.decay is None else weight_decay,
        weight_decay_offset=steps / 10 if about.decay == "log" else None,
        damping_scale=scale,
        options=options,
        predicted_loss=loss.value,
        predicted_loss_low=loss.low,
        predicted_loss_high=loss.high,
        predicted_loss_source=loss.source,
        weights_bytes=4 * counts.model_parameters,
        gradients_bytes=4 * counts.model_parameters,
        state_bytes={dtype: round(width * states) for dtype, width in STATE_BYTES.items()},
        flops_per_second=flops_per_second,
        gpu_hours=flops["6n"] / flops_per_second / 3600,
        warnings=tuple(warnings),
        equations=_equations(wanted, about, stored, found_lr, loss, omega_source) | {"damping_scale": scale_source},
    )


def recipe_fields(found: Plan) -> dict[str, Any]:
    """A plan as the fields of a recipe that differ from :class:`adana.train.recipe.Recipe`'s own.

    Raises:
        ValueError: the plan has no learning rate, or its batch is no whole number of sequences.

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


@dataclass(frozen=True)
class _Wanted:
    arch: str
    config: DecoderConfig
    optimizer: str
    kappa: float | None
    variant: str
    batch_tokens: int
    tokens_per_parameter: float
    seq_len: int
    non_embedding_parameters: int
    flops: dict[str, float]

    @property
    def heads(self) -> int:
        return self.config.heads

    @property
    def shape(self) -> str:
        """What of the model's shape is not the paper's ladder's."""
        usual, parts = architecture(self.arch).sized(self.heads), []
        if self.config.head_dim != usual.head_dim:
            parts.append(f"heads of {self.config.head_dim}, not {usual.head_dim}")
        if self.config.depth != usual.depth:
            parts.append(f"{self.config.depth} layers, not {usual.depth}")
        return " and ".join(parts)

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa)

    @property
    def unlike_the_papers(self) -> str:
        """What of vocabulary and sequence the published laws were not measured with."""
        parts = [
            f"{what} of {own:,}, not {its:,}"
            for what, own, its in (
                ("a vocabulary", self.config.vocab_size, VOCABULARY),
                ("sequences", self.seq_len, SEQUENCE),
            )
            if own != its
        ]
        return " and ".join(parts)

    def pfh(self, formula: str) -> float:
        return self.flops[formula] / PETAFLOP_HOUR


def _kappa(row: PublishedLearningRateLaw | PublishedLossLaw) -> float | None:
    """Kappa of a published law; the optimizer's default where the paper prints none."""
    return catalog.default_kappa(row.optimizer) if row.kappa is None else row.kappa


def _kappas(rows: Sequence[PublishedLearningRateLaw | PublishedLossLaw]) -> str:
    return ", ".join(f"{kappa:g}" for kappa in sorted({kappa for kappa in map(_kappa, rows) if kappa is not None}))


def _published_lr(wanted: _Wanted, warnings: list[str]) -> _Found:
    here = [
        row
        for row in learning_rate_laws()
        if row.law is not None
        and (row.arch, row.optimizer, row.variant) == (wanted.arch, wanted.optimizer, wanted.variant)
    ]
    name = wanted.optimizer + (f" variant {wanted.variant}" if wanted.variant else "")
    if wanted.shape:
        return _Found(f"none published: the laws are of the paper's sizes: you have {wanted.shape}")
    if not here:
        return _Found(f"none published: the paper has no learning-rate law for {name} on {wanted.arch}")
    same_kappa = [row for row in here if _kappa(row) == wanted.kappa]
    if not same_kappa:
        return _Found(
            f"none published: {name} on {wanted.arch} has laws for kappa {_kappas(here)}, not {wanted.kappa:g}"
        )
    rows = [row for row in same_kappa if row.batch_tokens == wanted.batch_tokens]
    if not rows:
        batches = " and ".join(f"{row.batch_tokens:,}" for row in same_kappa)
        return _Found(
            f"none published: the law of {wanted.label} on {wanted.arch} is for {batches} tokens per step, not "
            f"{wanted.batch_tokens:,}"
        )
    row = rows[0]
    assert row.law is not None
    if row.heads_from is None:
        warnings.append(f"lr: {row.source} does not say which sizes it was fitted on")
    elif wanted.heads < row.heads_from or (row.heads_to or row.used_to or 0) < wanted.heads:
        upper = row.heads_to or row.used_to
        used = ""
        if row.used_to and row.heads_to and row.heads_to < wanted.heads <= row.used_to:
            used = f" (the paper used it up to {row.used_to})"
        warnings.append(
            f"lr is extrapolated: {row.source} was fitted on {row.heads_from} to {upper} heads, not "
            f"{wanted.heads}{used}"
        )
    if not math.isclose(wanted.tokens_per_parameter, TOKENS_PER_PARAMETER, rel_tol=0.02):
        warnings.append(
            f"lr: {row.source} holds at 20 tokens per parameter; at {wanted.tokens_per_parameter:g} a law in size "
            "alone drifts, and no published law says how"
        )
    if wanted.unlike_the_papers:
        warnings.append(f"lr: {row.source} was not measured with this: {wanted.unlike_the_papers}")
    if row.note:
        warnings.append(f"lr: {row.source}: {row.note}")
    source = f"eq. {row.source}" if row.source.startswith("(") else row.source
    size = wanted.non_embedding_parameters
    a, b, d = row.printed
    return _Found(source, f"{a} ({b} + P)^{d}, {source}", row.law(size), *row.band(size))


def _published_loss(wanted: _Wanted, warnings: list[str]) -> _Found:
    if wanted.variant:
        return _Found(f"none published: the loss laws leave out variant {wanted.variant}")
    here = [
        row
        for row in loss_laws()
        if (row.arch, row.optimizer, row.compute) == (wanted.arch, wanted.optimizer, "6n") and row.law is not None
    ]
    if not here:
        known = sorted({row.label for row in loss_laws() if row.arch == wanted.arch and row.law is not None})
        return _Found(f"none published: {wanted.arch} has loss laws for {', '.join(known)} only")
    rows = [row for row in here if _kappa(row) == wanted.kappa and row.form == "broken"]
    if not rows:
        return _Found(
            f"none published: {wanted.optimizer} on {wanted.arch} has loss laws for kappa {_kappas(here)}, not "
            f"{wanted.kappa:g}"
        )
    if wanted.batch_tokens != BATCH_TOKENS:
        return _Found(
            f"none published: the loss laws are for {BATCH_TOKENS:,} tokens per step, not {wanted.batch_tokens:,}"
        )
    if not math.isclose(wanted.tokens_per_parameter, TOKENS_PER_PARAMETER, rel_tol=0.02):
        return _Found(
            f"none published: the loss laws are for 20 tokens per parameter, not {wanted.tokens_per_parameter:g}"
        )
    if wanted.shape:
        return _Found(f"none published: the laws are of the paper's sizes: you have {wanted.shape}")
    if wanted.unlike_the_papers:
        return _Found(f"none published: the loss laws are of other text: you have {wanted.unlike_the_papers}")
    row = rows[0]
    assert row.law is not None
    if not row.heads_from <= wanted.heads <= row.heads_to:
        warnings.append(
            f"predicted_loss is extrapolated: {row.source} is of {row.heads_from} to {row.heads_to} heads, not "
            f"{wanted.heads}"
        )
    compute = wanted.pfh("6n")
    a, e, f, b, c = row.printed
    source = f"{row.source}, C by 6N in petaflop-hours"
    return _Found(source, f"{a} + {b} C^-{c} + {e} C^-{f}, {source}", row.law(compute), *row.band(compute))


Law = TypeVar("Law", OptimizerRate, OptimizerLoss)


def _own(laws: Sequence[Law], wanted: _Wanted, what: str, warnings: list[str]) -> Law | None:
    """The first own law of the wanted optimizer."""
    found = [
        law for law in laws if (law.optimizer, law.kappa) == (wanted.optimizer, wanted.kappa) and not wanted.variant
    ]
    if len(found) > 1:
        warnings.append(f"{what}: {len(found)} of your laws are of {wanted.label}: the first is used")
    if found:
        return found[0]
    if laws:
        variant = f" variant {wanted.variant}" if wanted.variant else ""
        others = ", ".join(law.label for law in laws)
        warnings.append(f"{what}: your law is of {others}, not of {wanted.label}{variant}: it is not used")
    return None


def _check_own(fit: LearningRateLaws | LossLaws, what: str, wanted: _Wanted, warnings: list[str]) -> None:
    ratio = fit.span.tokens_per_parameter
    if ratio is None or not math.isclose(ratio, wanted.tokens_per_parameter, rel_tol=0.05):
        warnings.append(f"{what}: your law was fitted at {fit.horizon}, not {wanted.tokens_per_parameter:g}")
    own = model_name(wanted.config)
    if fit.models and fit.models != (own,):
        warnings.append(f"{what}: your law was fitted on {' and '.join(fit.models)}, not {own}")
    if fit.batch_tokens is not None and fit.batch_tokens != wanted.batch_tokens:
        warnings.append(
            f"{what}: your law was fitted at {fit.batch_tokens:,.0f} tokens per step, not {wanted.batch_tokens:,}"
        )


def _own_lr(wanted: _Wanted, fits: Sequence[Fit], warnings: list[str]) -> _Found | None:
    mine = [(law, fit) for fit in fits if isinstance(fit, LearningRateLaws) for law in fit.laws]
    law = _own([law for law, _ in mine], wanted, "lr", warnings)
    if law is None:
        return None
    fit = next(fit for other, fit in mine if other is law)
    value, band = law.fit.predict(wanted.non_embedding_parameters)
    sizes = law.fit.sizes
    _check_own(fit, "lr", wanted, warnings)
    if not sizes[0] <= wanted.non_embedding_parameters <= sizes[-1]:
        warnings.append(
            f"lr is extrapolated: your law was fitted on {sizes[0]:.3g} to {sizes[-1]:.3g} non-embedding parameters, "
            f"not {wanted.non_embedding_parameters:.3g}"
        )
    if law.options is None:
        warnings.append("lr: the runs of your law have no one setting of the optimizer; the paper's is shown")
    found = law.fit.law
    equation = f"your fit: {found.a:.4g} ({found.b:.4g} + P)^{found.d:.4g}"
    source = f"your fit: {fit.formula}"
    return _Found(source, equation, value, band.low, band.high, law.options, fit.batch_tokens)


def _damping(wanted: _Wanted, lr: _Found, warnings: list[str]) -> tuple[float, str]:
    """alpha~ and where it is from: an own law's runs, scaled to the batch, or the published exponent alone."""
    scale, base, own = 1.0, float(BATCH_TOKENS), False
    options, own_batch = lr.options, lr.batch_tokens
    if options is not None and own_batch:
        scale, base, own = float(options.get("damping_scale", 1.0)), float(own_batch), True
        if base == wanted.batch_tokens:
            return scale, "as in the runs of your fit"
    measured = all(BATCH_TOKENS <= batch <= LARGE_BATCH for batch in (base, wanted.batch_tokens))
    if not measured or wanted.seq_len != SEQUENCE:
        asked = f"from {base:,.0f} of your runs to {wanted.batch_tokens:,}" if own else f"at {wanted.batch_tokens:,}"
        asked += f" in sequences of {wanted.seq_len:,}" if wanted.seq_len != SEQUENCE else ""
        warnings.append(
            f"damping_scale is extrapolated: B^0.33 was measured from 32 to 512 sequences of {SEQUENCE:,} "
            f"({BATCH_TOKENS:,} to {LARGE_BATCH:,} tokens per step), not {asked}"
        )
    factor = damping_scale(wanted.batch_tokens) / damping_scale(base)
    of = f"{scale:g} of your runs x " if own else ""
    return scale * factor, f"{of}(tokens per step / {base:,.0f})^0.33 (H.1)"


def _own_loss(wanted: _Wanted, fits: Sequence[Fit], warnings: list[str]) -> _Found | None:
    mine = [(law, fit) for fit in fits if isinstance(fit, LossLaws) for law in fit.laws]
    law = _own([law for law, _ in mine], wanted, "predicted_loss", warnings)
    if law is None:
        return None
    fit = next(fit for other, fit in mine if other is law)
    compute = wanted.pfh(fit.compute)
    value, band = law.fit.predict(compute)
    computes = [row.pfh for row in law.fit.residuals]
    _check_own(fit, "predicted_loss", wanted, warnings)
    if not min(computes) <= compute <= max(computes):
        warnings.append(
            f"predicted_loss is extrapolated: your law was fitted on {min(computes):.3g} to {max(computes):.3g} PFH, "
            f"not {compute:.3g}"
        )
    warnings += [f"predicted_loss: {said}" for said in about_form(fit)]
    unit = f"C by {COMPUTE_FORMULAS[fit.compute]} in petaflop-hours"
    found = law.fit.law
    steep = f"{found.b:.4g} C^-{found.c:.4g} + " if found.b else ""
    equation = f"your fit: {found.a:.4g} + {steep}{found.e:.4g} C^-{found.f:.4g}, {unit}"
    return _Found(f"your fit: {fit.formula}, {unit}", equation, value, band.low, band.high)


def _no_omega(about: Optimizer) -> str:
    return "in its own unit, among its options" if about.foreign else "no decay"


def _equations(
    wanted: _Wanted, about: Optimizer, stored: tuple[int, int], lr: _Found, loss: _Found, omega_source: str
) -> dict[str, str]:
    sizes = printed_equations(wanted.config)
    matrices, vocabulary = sizes.pop("matrices"), f"{wanted.config.vocab_size:,}"
    decay = "lambda(t) = omega/(T/10 + t)" if about.decay == "log" else "lambda = omega/T constant"
    states = f"{stored[0]} tensors per model parameter"
    if stored[0] != stored[1]:
        states = f"{stored[0]} per parameter of hidden matrices, {stored[1]} of the rest"
    return {
        **sizes,
        "tokens": f"{wanted.tokens_per_parameter:g} x total parameters (C.1)",
        "steps": "floor(tokens / tokens per step) (36)",
        "warmup_steps": "T/50 (F.2)" if about.warmup == 50 else f"T/{about.warmup}, the optimizer's own rule",
        "flops_6p": f"{matrices} x tokens (28)",
        "flops_6n": f"({matrices} + 6 width {vocabulary}) x tokens (29)",
        "flops_m": f"({matrices} + 12 layers width {wanted.seq_len:,}) x tokens (30)",
        "pfh": "flops_6n / 3.6e18 (Table 1)",
        "pf_days": "flops_6p / 8.64e19 (Table 7)",
        "lr": lr.equation or lr.source,
        "weight_decay": _no_omega(about) if about.decay is None else f"{decay} (F.2); {omega_source}",
        "weight_decay_offset": "T/10 (F.2)",
        "predicted_loss": loss.equation or loss.source,
        "weights_bytes": "4 bytes per model parameter: float32 (F.2)",
        "gradients_bytes": "4 bytes per model parameter: float32 (F.2)",
        "state_bytes": f"{states}; bytes of a number: 4, 2, or 2 + 4/256",
        "gpu_hours": "flops_6n / (FLOP/s x 3,600)",
    }
