"""Enoki, the paper's GPT-3-like decoder: RoPE, QK-LayerNorm, pre-LN, no biases, untied (Section C.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Enoki", "EnokiConfig"]


@dataclass(frozen=True)
class EnokiConfig:
    """Sizes of an Enoki model; ``heads`` alone decides the paper's ladder.

    Args:
        heads: attention heads h; the width is ``head_dim * h``.
        layers: transformer blocks; default ``floor(3h/4)`` (eq. 12), at least 1.
        head_dim: 64 throughout the paper.
        vocab_size: 50,304 in the paper (GPT-2 BPE, padded); 256 for bytes.
        rope_base: base of the rotary frequencies.

    Raises:
        ValueError: a size below 1, or an odd ``head_dim``.

    >>> EnokiConfig(heads=6).non_embedding_parameters
    7077888
    """

    heads: int
    layers: int | None = None
    head_dim: int = 64
    vocab_size: int = 50304
    rope_base: float = 10000.0

    def __post_init__(self) -> None:
        for name in ("heads", "depth", "head_dim", "vocab_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                label = "layers" if name == "depth" else name
                raise ValueError(f"{label} must be a whole number of at least 1, got {value!r}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary embeddings, got {self.head_dim}")

    @property
    def depth(self) -> int:
        return max(1, 3 * self.heads // 4) if self.layers is None else self.layers

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @property
    def non_embedding_parameters(self) -> int:
        """P of eq. (16): ``12 width^2`` a layer, norms not counted."""
        return 12 * self.width**2 * self.depth

    @property
    def total_parameters(self) -> int:
        """D of eq. (17): P and two embeddings, norms not counted."""
        return self.non_embedding_parameters + 2 * self.width * self.vocab_size


class _Attention(nn.Module):
    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm = nn.LayerNorm(config.head_dim, bias=False)
        self.key_norm = nn.LayerNorm(config.head_dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.query, self.key, self.value))
        q, k, v = (y.transpose(1, 2) for y in (self.query_norm(q), self.key_norm(k), v))
        y = F.scaled_dot_product_attention(_rotate(q, cos, sin), _rotate(k, cos, sin), v, is_causal=True)
        mixed: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return mixed


class _Block(nn.Module):
    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.attention = _Attention(config)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        y: Tensor = x + self.down(F.gelu(self.up(self.mlp_norm(x))))
        return y


class Enoki(nn.Module):
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
    """

    def __init__(self, config: EnokiConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):  # the layers' own initialisation, replaced below, draws from it
            self.embedding = nn.Embedding(config.vocab_size, config.width)
            self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
            self.norm = nn.LayerNorm(config.width, bias=False)
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self._initialize(seed)

    @torch.no_grad()
    def _initialize(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.ndim == 2:  # norms keep their ones
                fan_in = p.shape[1]  # an embedding's rows have the width too: N(0, 1/width)
                residual = name.endswith(("attention.out.weight", "down.weight"))
                std = 1 / math.sqrt(fan_in * (2 * self.config.depth if residual else 1))
                p.copy_(torch.randn(p.shape, generator=generator) * std)

    def forward(self, tokens: Tensor) -> Tensor:
        half = self.config.head_dim // 2
        device = tokens.device
        frequency = self.config.rope_base ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
        angle = torch.arange(tokens.shape[-1], device=device, dtype=torch.float32)[:, None] * frequency
        cos, sin = angle.cos(), angle.sin()
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits: Tensor = self.head(self.norm(x))
        return logits


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).type_as(x)
