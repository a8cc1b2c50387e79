"""What every decoder's sizes have in common: they follow from ``heads``, and each can be given instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

__all__ = ["VOCABULARY", "DecoderConfig", "check_size"]

VOCABULARY = 50304
"""GPT-2's 50,257 tokens, padded to a multiple of 128 (Table 2)."""


def check_size(name: str, value: int | None) -> None:
    """Refuse what is not a whole number of at least 1; None, where the rule decides, passes."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


@dataclass(frozen=True)
class DecoderConfig(ABC):
    """Sizes of a decoder; a size left at None follows the architecture's scaling rule (Table 18).

    ``layers``, ``embedding_dim`` and ``mlp_dim`` are given or None; the sizes that result are the properties
    ``depth``, ``width`` and ``hidden``, so that ``dataclasses.replace(config, heads=...)`` scales the rest.

    Raises:
        ValueError: a size that is not a whole number of at least 1, or an odd ``head_dim``.
    """

    heads: int
    layers: int | None = None
    head_dim: int = 64
    vocab_size: int = VOCABULARY
    rope_base: float = 10000.0
    embedding_dim: int | None = None
    mlp_dim: int | None = None

    def __post_init__(self) -> None:
        for name in ("heads", "layers", "head_dim", "vocab_size", "embedding_dim", "mlp_dim"):
            check_size(name, getattr(self, name))
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary embeddings, got {self.head_dim}")
        if not self.rope_base > 1:
            raise ValueError(f"rope_base must be above 1, got {self.rope_base!r}")

    @property
    @abstractmethod
    def depth(self) -> int:
        """Transformer blocks, ``n_layer``."""

    @property
    @abstractmethod
    def hidden(self) -> int:
        """Width of the feed-forward part, ``d_mlp``."""

    @property
    def width(self) -> int:
        """Width of the residual stream, ``n_embd``: ``head_dim * heads`` unless overridden."""
        return self.head_dim * self.heads if self.embedding_dim is None else self.embedding_dim

    @property
    def attention_dim(self) -> int:
        """Width of all heads together, ``n_head d_h``; Table 5's ``d_qkv``."""
        return self.heads * self.head_dim

    @property
    @abstractmethod
    def parameters_per_layer(self) -> int:
        """Published count of one block."""

    @property
    def non_embedding_parameters(self) -> int:
        """Published count of everything but the two embeddings: P of the laws."""
        return self.depth * self.parameters_per_layer

    @property
    def total_parameters(self) -> int:
        """Published count of everything: P, the embedding and the head."""
        return self.non_embedding_parameters + 2 * self.width * self.vocab_size

    @property
    def active_share(self) -> float:
        """Share of the feed-forward weights that a token passes through; 1 for a dense model."""
        return 1.0

    @property
    def variant(self) -> str:
        """In words, what sets the model apart beside the common sizes; empty where nothing does."""
        return ""
