"""Tiny real data and a tiny model for the examples: the source of Python's own argparse, read as bytes."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

LENGTH = 32
ADAMW_LR, ADANA_LR = 1.2e-2, 4.8e-3  # 0.4 of AdamW's


def rows(count: int = 240) -> np.ndarray:
    """Texts of 32 bytes, as whole numbers (count, 32)."""
    text = np.frombuffer(Path(argparse.__file__).read_bytes(), dtype=np.uint8)
    return text[: count * LENGTH].reshape(count, LENGTH).astype(np.int64)


def model():
    """A torch model that predicts the next byte from the three before it."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(256, 32), _context(),
        nn.Linear(96, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, 256),
    )  # fmt: skip


def _context():
    import torch
    from torch import nn

    class Context(nn.Module):
        """Beside each vector the two before it."""

        def forward(self, x):
            padded = nn.functional.pad(x, (0, 0, 2, 0))
            return torch.cat((padded[:, :-2], padded[:, 1:-1], x), dim=-1)

    return Context()


def loss(model, tokens):
    """Mean cross-entropy of the next byte, in nats."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def llama():
    """A tiny Llama of transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": LENGTH}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, bos_token_id=0, eos_token_id=0))
