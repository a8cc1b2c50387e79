"""What all decoders share: rotary positions, causal attention, the initial weights, the decoder's frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adana.models.config import DecoderConfig

__all__ = ["Decoder", "causal_attention", "rotary_table"]


def rotary_table(length: int, head_dim: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles ``position * base^(-2i/head_dim)``, each (length, head_dim / 2), float32."""
    half = head_dim // 2
    frequency = base ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries and keys, attend to the past.

    Args:
        query, key, value: (batch, time, heads, head_dim).
        cos, sin: from :func:`rotary_table`.

    Returns:
        (batch, time, heads * head_dim).
    """
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    # Under autocast the norms before this return float32: without the cast, FlashAttention would be passed over.
    q, k = _rotate(q, cos, sin).type_as(v), _rotate(k, cos, sin).type_as(v)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).flatten(2)


class Decoder(nn.Module):
    """Embedding, blocks, norm, head: token indices (batch, time) to logits (batch, time, vocabulary).

    Subclasses say which block (:meth:`make_block`) and which norm (:meth:`make_norm`). Names say what a parameter
    is: ``*.attention.*`` and ``*.router.*`` count as such, other matrices of a block as its feed-forward part; what
    ends in ``attention.out.weight`` or ``down.weight`` is a projection onto the residual stream and starts smaller.

    On the meta device (``with torch.device("meta"):``) a model costs nothing and holds no weights.

    Args:
        config: sizes.
        seed: seed of the initial weights.
    """

    def __init__(self, config: DecoderConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        device = torch.empty(0).device  # torch 2.7 does not tell of "with torch.device(...)" otherwise
        with torch.device("meta"):  # the layers' own initialisation would cost time and draw random numbers
            self.embedding = nn.Embedding(config.vocab_size, config.width)
            self.blocks = nn.ModuleList(self.make_block() for _ in range(config.depth))
            self.norm = self.make_norm()
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        if device.type != "meta":
            self.to_empty(device=device)
            self.initialize(seed)

    def make_block(self) -> nn.Module:
        """A transformer block: called with the residual stream (batch, time, width) and the rotary table, returns
        the residual stream."""
        raise NotImplementedError

    def make_norm(self) -> nn.Module:
        """The norm before the head."""
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Any:
        """Logits; an architecture with experts also takes ``balance_loss=True`` and then returns a pair."""
        cos, sin = rotary_table(tokens.shape[-1], self.config.head_dim, self.config.rope_base, tokens.device)
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.head(self.norm(x))

    def get_output_embeddings(self) -> nn.Linear:
        """The head, so that no other layer is taken for it: with bytes the vocabulary may be as wide as a layer."""
        return self.head

    def initial_values(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Name and initial value of each parameter, one at a time, on the CPU in float32.

        Matrices and the embedding are ``N(0, 1/fan_in)``, the projections onto the residual stream
        ``N(0, 1/(2 fan_in layers))``, norms 1. They depend on the sizes and the seed alone: not on the global
        generator, the device, or how the model is spread over ranks.

        Source: Table 5, equations (18)-(20).
        """
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.ndim < 2:
                yield name, torch.ones(p.shape, dtype=torch.float32, device="cpu")
                continue
            fan_in = p.shape[1]  # an embedding's rows have the width too: N(0, 1/width)
            residual = name.endswith(("attention.out.weight", "down.weight"))
            std = 1 / math.sqrt(fan_in * (2 * self.config.depth if residual else 1))
            yield name, torch.randn(p.shape, generator=generator, dtype=torch.float32, device="cpu") * std

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Set every parameter to its :meth:`initial_values`."""
        parameters = dict(self.named_parameters())
        for name, value in self.initial_values(seed):
            parameters[name].copy_(value)
