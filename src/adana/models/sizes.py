"""Sizes in numbers: parameters by part, compute by each formula, the horizon.

Counts are those of the model itself, built on the meta device where it costs nothing. Each convention is a sum
of named parts: what is published (``total_parameters``) and what is really there (``model_parameters``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch

from adana.models.architectures import architecture_of, build
from adana.models.config import DecoderConfig

__all__ = ["Counts", "count", "flops_per_token", "horizon", "petaflop_days", "petaflop_hours"]

TOKENS_PER_PARAMETER = 20
MOST_PARAMETERS = 2**60
"""Beyond this not even the meta device can say how large a tensor is."""


@dataclass(frozen=True)
class Counts:
    """Parameters of a model, part by part.

    Attributes:
        layers: transformer blocks.
        embedding: token embedding, and any other matrix outside the blocks.
        head: output projection.
        attention: attention matrices of all layers, Qwen3's gate among them.
        mlp: feed-forward matrices of all layers, every expert's.
        router: routers of all layers; 0 for a dense model.
        qk_norms: norms of queries and keys, all layers.
        block_norms: other vectors of the blocks, all layers: norms before attention and feed-forward part.
        final_norm: the norm before the head.
        active_share: share of ``mlp`` that a token passes through; 1 for a dense model.
        norms_published: whether published counts include norms: Qwen3's (65)-(68) do, Enoki's (15)-(17) do not.
    """

    layers: int
    embedding: int
    head: int
    attention: int
    mlp: int
    router: int
    qk_norms: int
    block_norms: int
    final_norm: int
    active_share: float
    norms_published: bool

    @property
    def matrices(self) -> int:
        """Weights of the hidden matrices: ``12 n_embd^2 n_layer`` for Enoki, ``14 ...`` for Qwen3."""
        return self.attention + self.mlp + self.router

    @property
    def active_matrices(self) -> int:
        """Of those, the weights that each token passes through: the ``P`` of every compute formula."""
        return self.attention + self.router + round(self.active_share * self.mlp)

    @property
    def norms(self) -> int:
        return self.qk_norms + self.block_norms + self.final_norm

    @property
    def per_layer(self) -> int:
        """As published: (15) and (67)."""
        norms = self.qk_norms + self.block_norms if self.norms_published else 0
        return (self.matrices + norms) // self.layers

    @property
    def non_embedding_parameters(self) -> int:
        """As published: (16), and (68) without the embeddings."""
        return self.matrices + (self.norms if self.norms_published else 0)

    @property
    def total_parameters(self) -> int:
        """As published: (17) and (68)."""
        return self.non_embedding_parameters + self.embedding + self.head

    @property
    def model_parameters(self) -> int:
        """The number that ``sum(p.numel() for p in model.parameters())`` gives."""
        return self.matrices + self.norms + self.embedding + self.head


def _part(name: str, dimensions: int) -> str:
    if name.startswith("head."):
        return "head"
    inside, (*_, module, _) = name.startswith("blocks."), name.split(".")
    if dimensions < 2:
        return ("qk_norms" if module in ("query_norm", "key_norm") else "block_norms") if inside else "final_norm"
    if not inside:
        return "embedding"
    if module == "router":
        return "router"
    return "attention" if ".attention." in name else "mlp"


def count(config: DecoderConfig) -> Counts:
    """Count a model's parameters, without making its weights: one block stands for all, which are alike.

    Raises:
        ValueError: more parameters than can be counted, or a configuration whose own formulas do not give the
            parameters of its model.

    Example:
        >>> from adana.models import EnokiConfig
        >>> counts = count(EnokiConfig(heads=6))
        >>> counts.total_parameters, counts.model_parameters - counts.total_parameters
        (45711360, 3968)

    Source: Section C.3.1 (15)-(17), Section G.1 (65)-(68).
    """
    about = architecture_of(config)
    if config.total_parameters >= MOST_PARAMETERS:
        raise ValueError(
            f"{config.heads} heads and {config.depth} layers make a model of more than 2^60 parameters: choose fewer"
        )
    with torch.device("meta"):
        model = build(replace(config, layers=1))
    parts: Counter[str] = Counter()
    for name, p in model.named_parameters():
        parts[_part(name, p.ndim)] += p.numel() * (config.depth if name.startswith("blocks.") else 1)
    counts = Counts(
        layers=config.depth,
        embedding=parts["embedding"],
        head=parts["head"],
        attention=parts["attention"],
        mlp=parts["mlp"],
        router=parts["router"],
        qk_norms=parts["qk_norms"],
        block_norms=parts["block_norms"],
        final_norm=parts["final_norm"],
        active_share=config.active_share,
        norms_published=about.norms_counted,
    )
    for name in ("non_embedding_parameters", "total_parameters"):
        # Horizons and learning-rate laws read the configuration's number, compute and memory the model's.
        said, found = getattr(config, name), getattr(counts, name)
        if said != found:
            norms = "" if about.norms_counted else " without norms"
            raise ValueError(
                f"{type(config).__name__}.{name} gives {said:,}, but the model of architecture {about.name!r} has "
                f"{found:,}{norms}: correct the configuration's formula"
            )
    return counts


def flops_per_token(config: DecoderConfig, *, formula: str, seq_len: int = 2048) -> int:
    """Training compute per token, forward and backward.

    ``"6P"``: 6 times the hidden weights that a token passes through (28). ``"6N"``: and one embedding,
    ``6 n_vocab n_embd`` (29). ``"M"``: the hidden matrices and attention's products, ``12 n_layer n_embd l_seq`` (30).
    The paper's factor of 72 holds for Enoki; Qwen3's matrices make it 84.

    Args:
        config: sizes.
        formula: ``"6P"``, ``"6N"`` or ``"M"``.
        seq_len: tokens per sequence; only ``"M"`` uses it.

    Raises:
        ValueError: an unknown formula.

    >>> from adana.models import EnokiConfig
    >>> [flops_per_token(EnokiConfig(heads=6), formula=formula) for formula in ("6P", "6N", "M")]
    [42467328, 158367744, 80216064]

    Source: Section E.3.
    """
    matrices = 6 * count(config).active_matrices
    if formula == "6P":
        return matrices
    if formula == "6N":
        return matrices + 6 * config.vocab_size * config.width
    if formula == "M":
        return matrices + 12 * config.depth * config.attention_dim * seq_len
    raise ValueError(f"unknown compute formula {formula!r}: choose from '6P', '6N', 'M'")


def petaflop_hours(config: DecoderConfig, tokens: float) -> float:
    """Compute of a run as Table 1 and the loss laws have it: formula 6N, in units of 3.6e18.

    >>> from adana.models import EnokiConfig
    >>> round(petaflop_hours(EnokiConfig(heads=14), horizon(EnokiConfig(heads=14))), 2)
    0.88
    """
    return tokens * flops_per_token(config, formula="6N") / 3.6e18


def petaflop_days(config: DecoderConfig, tokens: float) -> float:
    """Compute of a run as Table 7 has it: formula 6P, in units of 8.64e19.

    >>> from adana.models import EnokiConfig
    >>> round(petaflop_days(EnokiConfig(heads=24), horizon(EnokiConfig(heads=24))), 2)
    0.47
    """
    return tokens * flops_per_token(config, formula="6P") / 8.64e19


def horizon(config: DecoderConfig, *, tokens_per_step: int | None = None) -> int:
    """Length of a compute-optimal run: 20 tokens per published total parameter, or that in whole steps (36).

    Args:
        config: sizes.
        tokens_per_step: None for the answer in tokens; else in optimizer steps of that many tokens.

    Raises:
        ValueError: fewer tokens in all than in one step.

    >>> from adana.models import EnokiConfig
    >>> horizon(EnokiConfig(heads=6)), horizon(EnokiConfig(heads=6), tokens_per_step=32 * 2048)
    (914227200, 13950)
    """
    tokens = TOKENS_PER_PARAMETER * config.total_parameters
    if tokens_per_step is None:
        return tokens
    if tokens_per_step < 1 or tokens_per_step > tokens:
        raise ValueError(f"tokens_per_step must be from 1 to the horizon's {tokens:,} tokens, got {tokens_per_step:,}")
    return tokens // tokens_per_step
