"""Enoki, the paper's GPT-3-like decoder: RoPE, QK-LayerNorm, pre-LN, no biases, untied (Section C.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor, nn

from adana.models.config import DecoderConfig, check_size
from adana.models.layers import Decoder, causal_attention, rotary_table
from adana.models.moe import MLP, MixtureOfExperts

__all__ = ["Enoki", "EnokiConfig"]

MOST_EXPERTS = 65_536


@dataclass(frozen=True)
class EnokiConfig(DecoderConfig):
    """Sizes of an Enoki model; ``heads`` alone decides the paper's ladder.

    Args:
        heads: attention heads h; the width is ``head_dim * h``.
        layers: transformer blocks; default ``floor(3h/4)`` (eq. 12), at least 1.
        head_dim: 64 throughout the paper.
        vocab_size: 50,304 in the paper (GPT-2 BPE, padded); 256 for bytes.
        rope_base: base of the rotary frequencies.
        embedding_dim: width of the residual stream; default ``head_dim * heads`` (eq. 13).
        mlp_dim: width of the feed-forward part, of each expert where there are experts; default 4 times
            the residual stream's (eq. 14).
        experts: E, experts per layer; None for the paper's dense model.
        active: A, experts that a token uses; default 1.

    Raises:
        ValueError: a size below 1, an odd ``head_dim``, or more active experts than there are.

    >>> EnokiConfig(heads=6).non_embedding_parameters
    7077888
    """

    experts: int | None = None
    active: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("experts", self.experts)
        if self.experts is not None and self.experts > MOST_EXPERTS:  # each is a module: more would take minutes
            raise ValueError(f"experts must be at most {MOST_EXPERTS:,}, got {self.experts}")
        check_size("active", self.active)
        if self.active is not None and (self.experts is None or self.active > self.experts):
            raise ValueError(
                f"active={self.active} experts per token need at least as many experts, got {self.experts}"
            )

    @property
    def depth(self) -> int:
        return max(1, 3 * self.heads // 4) if self.layers is None else self.layers

    @property
    def hidden(self) -> int:
        return 4 * self.width if self.mlp_dim is None else self.mlp_dim

    @property
    def active_experts(self) -> int:
        return self.active or 1

    @property
    def parameters_per_layer(self) -> int:
        """Eq. (15): ``12 width^2``, norms not counted; with experts, all of them and the router."""
        experts, router = (1, 0) if self.experts is None else (self.experts, self.experts * self.width)
        return 4 * self.width * self.attention_dim + 2 * experts * self.width * self.hidden + router

    @property
    def active_share(self) -> float:
        return 1.0 if self.experts is None else self.active_experts / self.experts

    @property
    def variant(self) -> str:
        return "" if self.experts is None else f"{self.experts} experts of which a token uses {self.active_experts}"


class _Attention(nn.Module):
    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        width, inner = config.width, config.attention_dim
        self.heads = config.heads
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.query_norm = nn.LayerNorm(config.head_dim, bias=False)
        self.key_norm = nn.LayerNorm(config.head_dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.query, self.key, self.value))
        y: Tensor = self.out(causal_attention(self.query_norm(q), self.key_norm(k), v, cos, sin))
        return y


class _Block(nn.Module):
    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.attention = _Attention(config)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.mlp: nn.Module
        if config.experts is None:
            self.mlp = MLP(width, config.hidden)
        else:
            self.mlp = MixtureOfExperts(width, config.hidden, config.experts, config.active_experts)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor | None]:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        y, balance = self.mlp(self.mlp_norm(x)), None
        if isinstance(self.mlp, MixtureOfExperts):
            y, balance = y
        return x + y, balance


class Enoki(Decoder):
    """The decoder: token indices (batch, time) to logits (batch, time, vocabulary).

    Weights start as ``N(0, 1/fan_in)``, the two projections onto the residual stream as
    ``N(0, 1/(2 fan_in layers))`` (Table 5), from their own random stream: the same seed gives the same
    weights whatever the global generator's state, which is left alone.

    Args:
        config: sizes.
        seed: seed of the initial weights.

    Example:
        >>> import torch
        >>> model = Enoki(EnokiConfig(heads=1, vocab_size=256), seed=0)
        >>> model(torch.zeros(1, 8, dtype=torch.long)).shape
        torch.Size([1, 8, 256])

        With experts, the load-balance loss is returned beside the logits, only when asked for:

        >>> model = Enoki(EnokiConfig(heads=1, vocab_size=256, experts=4, active=2))
        >>> logits, balance = model(torch.zeros(1, 8, dtype=torch.long), balance_loss=True)
        >>> bool(1 <= balance <= 4)
        True
    """

    config: EnokiConfig

    def __init__(self, config: EnokiConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)

    def make_block(self) -> nn.Module:
        return _Block(self.config)

    def make_norm(self) -> nn.Module:
        return nn.LayerNorm(self.config.width, bias=False)

    @overload
    def forward(self, tokens: Tensor, *, balance_loss: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, tokens: Tensor, *, balance_loss: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, tokens: Tensor, *, balance_loss: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``balance_loss=True`` also the load-balance loss, the mean over the layers.

        A validation loss is made of the logits alone: the load-balance loss is not part of it.

        Raises:
            ValueError: ``balance_loss=True`` without experts.
        """
        cos, sin = rotary_table(tokens.shape[-1], self.config.head_dim, self.config.rope_base, tokens.device)
        x = self.embedding(tokens)
        balances = []
        for block in self.blocks:
            x, balance = block(x, cos, sin)
            balances.append(balance)
        logits: Tensor = self.head(self.norm(x))
        if not balance_loss:
            return logits
        if self.config.experts is None:
            raise ValueError("balance_loss=True needs a model with experts; this one is dense")
        return logits, torch.stack(balances).mean()
