from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from adana.models import Qwen3, Qwen3Config

CONFIG = Qwen3Config(heads=2, layers=1, head_dim=8, vocab_size=20)


def written_out(w: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Section G.1 read aloud: one layer, two heads of 8, positions by complex numbers, attention by hand."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w[name]

    def rotate(x: torch.Tensor) -> torch.Tensor:
        position = torch.arange(x.shape[1], dtype=torch.float64)[:, None]
        turn = torch.exp(1j * position * 1e6 ** (-torch.arange(4, dtype=torch.float64) / 4))[:, None]
        y = torch.complex(x[..., :4], x[..., 4:]) * turn
        return torch.cat((y.real, y.imag), -1)

    x = w["embedding.weight"][tokens]
    y = norm(x, "blocks.0.attention_norm.weight")
    q, k, v, gate = (
        (y @ w[f"blocks.0.attention.{name}.weight"].T).unflatten(-1, (2, 8))
        for name in ("query", "key", "value", "gate")
    )
    q = rotate(norm(q, "blocks.0.attention.query_norm.weight"))
    k = rotate(norm(k, "blocks.0.attention.key_norm.weight"))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(8)
    past = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    attended = torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(~past, -math.inf).softmax(-1), v)
    x = x + (attended * gate.sigmoid()).flatten(2) @ w["blocks.0.attention.out.weight"].T
    y = norm(x, "blocks.0.mlp_norm.weight")
    gated = F.silu(y @ w["blocks.0.mlp.gate.weight"].T) * (y @ w["blocks.0.mlp.up.weight"].T)
    x = x + gated @ w["blocks.0.mlp.down.weight"].T
    return norm(x, "norm.weight") @ w["head.weight"].T


def test_the_model_is_section_g_1_written_out():
    model = Qwen3(CONFIG, seed=0).double()
    with torch.no_grad():  # norms of 1 would hide a norm that is left out
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    tokens = torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))
    expected = written_out(dict(model.named_parameters()), tokens)
    # Positions are float32 in the model, whatever its weights.
    torch.testing.assert_close(model(tokens), expected, rtol=1e-5, atol=1e-5)


def test_there_are_as_many_key_and_value_heads_as_query_heads_and_no_tied_head():
    model = Qwen3(CONFIG)
    attention = model.blocks[0].attention
    assert attention.key.weight.shape == attention.value.weight.shape == attention.query.weight.shape == (16, 16)
    assert model.head.weight is not model.embedding.weight
    assert model.blocks[0].mlp.up.weight.shape == (3 * 16, 16)
