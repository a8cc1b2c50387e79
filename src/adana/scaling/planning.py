"""What a run of some size needs, each number with the equation it is from.

Nothing here is measured: sizes are counted, the rest is the paper's arithmetic, its published laws, or laws of your
own from ``adana fit``. Outside what a law was fitted on, a plan says so, or has no number at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from adana import catalog
from adana.catalog import Optimizer
from adana.models import architecture, count, flops_per_token, printed_equations
from adana.models.config import VOCABULARY
from adana.scaling.damping import BATCH_TOKENS, damping_scale
from adana.scaling.fits import Fit, LearningRateLaws, LossLaws, RateBatchLaws, SizeTokensLaws
from adana.scaling.laws import COMPUTE_FORMULAS, PETAFLOP_HOUR
from adana.scaling.lookup import (
    SEQUENCE,
    TOKENS_PER_PARAMETER,
    VARIANTS,
    VARIANTS_OF,
    Found,
    published_learning_rate,
    published_loss,
)
from adana.scaling.own_joint import own_joint_loss, own_joint_rate
from adana.scaling.own_laws import Wanted, own_learning_rate, own_loss
from adana.scaling.plans import Plan, recipe_fields
from adana.scaling.second_opinion import step_law
from adana.suggestions import omega_of

__all__ = ["plan"]

LARGE_BATCH = 512 * SEQUENCE
FLOPS_PER_SECOND = 3.5e14
"""What an H100 made of formula 6N in Table 17: 217 PFH in 626 hours at 2.62B, 62 in 173 at 1.41B."""


STATE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int16": 2.0 + 4.0 / 256.0}
"""Bytes of a number of state; int16 has a float32 scale for every 256 codes."""


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
        seq_len: tokens per sequence.
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
    if variant and (optimizer != VARIANTS_OF or variant not in VARIANTS):
        *first, last = VARIANTS
        known = f"{', '.join(first)} or {last}"
        raise ValueError(f"variant must be {known}, of {VARIANTS_OF} (Table 9), got {variant!r} of {optimizer}")
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
        if not isinstance(fit, LearningRateLaws | LossLaws | RateBatchLaws | SizeTokensLaws):
            raise ValueError(
                "an own law must be what `adana fit --law lr` or `adana fit --law loss` made, "
                "or --law lr-batch or --law tokens"
            )
    if own_kappa is not None and kappa is None:
        kappa = 0.75 if variant else own_kappa

    config = about_model.sized(heads, layers=layers, vocab_size=vocab_size, head_dim=head_dim)
    counts = count(config)
    per_token = {name: flops_per_token(config, formula=of, seq_len=seq_len) for name, of in COMPUTE_FORMULAS.items()}
    many = tokens_per_parameter * counts.total_parameters
    if not math.isfinite(many * max(per_token.values()) / flops_per_second):
        raise ValueError(
            f"no number is large enough for the hours of {tokens_per_parameter:g} tokens per parameter at "
            f"{flops_per_second:g} FLOP/s: choose fewer tokens or more FLOP/s"
        )
    tokens = round(many)
    steps = tokens // batch_tokens
    if steps < 1:
        raise ValueError(f"a step of {batch_tokens:,} tokens is more than the whole run of {tokens:,}")
    flops = {name: float(tokens) * each for name, each in per_token.items()}

    warnings: list[str] = []
    size = counts.non_embedding_parameters
    wanted = Wanted(arch, config, optimizer, kappa, variant, batch_tokens, tokens_per_parameter, seq_len, flops)
    found_lr = Found("given", value=lr) if lr is not None else None
    found_lr = found_lr or own_learning_rate(wanted, laws, warnings) or own_joint_rate(wanted, laws, warnings)
    found_lr = found_lr or published_learning_rate(wanted)
    loss = own_loss(wanted, laws, warnings) or own_joint_loss(wanted, laws, warnings)
    loss = loss or published_loss(wanted, flops["6n"])
    warnings += [*found_lr.warnings, *loss.warnings]
    scale, scale_source = _damping(wanted, found_lr, warnings) if about.damped else (None, "no damping")
    options = {**VARIANTS.get(variant, {}), **(found_lr.options or {})}
    stored = about.stored(options)
    omega_source = "given"
    if weight_decay is None:
        omega_source = (
            "as in the runs of your fit"
            if "weight_decay" in options
            else f"the paper's is {catalog.PAPER_OMEGA:g} (F.1); 2 sqrt(tokens / (20 parameters)) between 0.5 and 4 is "
            f"{omega_of(tokens_per_parameter, 1.0):.2g} (adana.suggest)"
        )
        weight_decay = float(options.get("weight_decay", catalog.PAPER_OMEGA))
    # Somebody else's weight decay is an option as any other: omega is ours.
    for name in ("kappa",) if about.foreign else ("weight_decay", "damping_scale", "kappa"):
        options.pop(name, None)
    hidden = counts.matrices
    rest = counts.model_parameters - hidden
    states = stored[0] * hidden + stored[1] * rest
    made = Plan(
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
        second_opinion=step_law(optimizer, size, tokens),
        warnings=tuple(warnings),
        equations=_equations(wanted, about, stored, found_lr, loss, omega_source) | {"damping_scale": scale_source},
    )
    try:
        recipe_fields(made)
    except ValueError as error:
        return replace(made, warnings=(*made.warnings, f"this plan cannot be run as it is: {error}"))
    return made


def _damping(wanted: Wanted, lr: Found, warnings: list[str]) -> tuple[float, str]:
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


def _no_omega(about: Optimizer) -> str:
    return "in its own unit, among its options" if about.foreign else "no decay"


def _equations(
    wanted: Wanted, about: Optimizer, stored: tuple[int, int], lr: Found, loss: Found, omega_source: str
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
