"""Qwen3 as the paper trains it: SwiGLU, RMSNorm, QK-norm, gated attention output, no GQA, untied (Section G.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from adana.models.config import DecoderConfig
from adana.models.layers import Decoder, causal_attention

__all__ = ["Qwen3", "Qwen3Config"]

EPS = 1e-6


@dataclass(frozen=True)
class Qwen3Config(DecoderConfig):
    """Sizes of a Qwen3 model; ``heads`` alone decides the paper's ladder (eq. 62).

    Args:
        heads: attention heads h; the width is ``head_dim * h``.
        layers: transformer blocks; default ``2h``.
        head_dim: 128, as in Qwen3.
        vocab_size: 50,304 in the paper.
        rope_base: base of the rotary frequencies. The paper does not say; 10^6 is Qwen3's own.
        embedding_dim: width of the residual stream; default ``head_dim * heads``.
        mlp_dim: width of the feed-forward part; default 3 times the residual stream's (eq. 63).

    Raises:
        ValueError: a size below 1, an odd ``head_dim``.

    >>> Qwen3Config(heads=6).total_parameters
    176379648
    """

    head_dim: int = 128
    rope_base: float = 1e6

    @property
    def depth(self) -> int:
        return 2 * self.heads if self.layers is None else self.layers

    @property
    def hidden(self) -> int:
        return 3 * self.width if self.mlp_dim is None else self.mlp_dim

    @property
    def parameters_per_layer(self) -> int:
        """Eq. (67): ``14 width^2`` and the norms."""
        attention = 5 * self.width * self.attention_dim + 2 * self.head_dim
        return attention + 3 * self.width * self.hidden + 2 * self.width

    @property
    def non_embedding_parameters(self) -> int:
        """Eq. (68) without the embeddings: the blocks and the last norm."""
        return self.depth * self.parameters_per_layer + self.width


class _RMSNorm(nn.RMSNorm):
    """In the weight's dtype, as autocast has LayerNorm do; a bf16 input with float32 weights is not fused."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.type_as(self.weight))


class _Attention(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        width, inner = config.width, config.attention_dim
        self.heads = config.heads
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        # A matrix of its own, not half of a doubled query projection: Muon orthogonalises each by itself.
        self.gate = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.query_norm = _RMSNorm(config.head_dim)
        self.key_norm = _RMSNorm(config.head_dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.query, self.key, self.value))
        attended = causal_attention(self.query_norm(q), self.key_norm(k), v, cos, sin)
        y: Tensor = self.out(attended * self.gate(x).sigmoid())
        return y


class _SwiGLU(nn.Module):
    """``down(SiLU(gate(x)) * up(x))`` (eq. 63)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class _Block(nn.Module):
    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.attention_norm = _RMSNorm(config.width)
        self.attention = _Attention(config)
        self.mlp_norm = _RMSNorm(config.width)
        self.mlp = _SwiGLU(config.width, config.hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        y: Tensor = x + self.mlp(self.mlp_norm(x))
        return y


class Qwen3(Decoder):
    """The decoder: token indices (batch, time) to logits (batch, time, vocabulary).

    Initial weights as Enoki's (Section C.1 gives one scheme for both).

    Args:
        config: sizes.
        seed: seed of the initial weights.

    Example:
        >>> import torch
        >>> model = Qwen3(Qwen3Config(heads=1, layers=1, vocab_size=256), seed=0)
        >>> model(torch.zeros(1, 8, dtype=torch.long)).shape
        torch.Size([1, 8, 256])
    """

    config: Qwen3Config

    def __init__(self, config: Qwen3Config, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)

    def make_block(self) -> nn.Module:
        return _Block(self.config)

    def make_norm(self) -> nn.Module:
        return _RMSNorm(self.config.width)
