"""The same models under names that transformers knows, so that its own classes load them without any code of ours.

An Enoki is a Persimmon whose biases are zero and whose rotary positions turn whole heads. A Qwen3 of the paper is a
Qwen3-Next of full attention and dense layers alone: that one gates the output of attention, which transformers' Qwen3
does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adana.models.config import DecoderConfig

__all__ = ["Exported", "enoki_as_persimmon", "qwen3_as_qwen3_next"]


@dataclass(frozen=True)
class Exported:
    """A model as transformers has it.

    Attributes:
        config: contents of ``config.json``.
        weights: contents of ``model.safetensors``.
        note: what a reader of the folder should know.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    note: str = ""


class _Weights(dict[str, Tensor]):
    """A model's weights that are taken once each: what nobody takes would be lost."""

    def take(self, name: str) -> Tensor:
        return self.pop(f"{name}.weight")

    def check_empty(self) -> None:
        if self:
            raise ValueError(f"the export would lose the weights {', '.join(sorted(self))}")


def _common(config: DecoderConfig, context: int, model_type: str, class_name: str) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": config.rope_base, "partial_rotary_factor": 1.0}
    return {
        "architectures": [class_name],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
        "attention_dropout": 0.0,
        "rope_parameters": rope,
        # Where transformers before version 5 looks for the same.
        "rope_theta": config.rope_base,
        "partial_rotary_factor": 1.0,
    }


def enoki_as_persimmon(config: Any, weights: dict[str, Tensor], context: int) -> Exported:
    """An Enoki for ``PersimmonForCausalLM``.

    Args:
        config: an EnokiConfig.
        weights: of the model, by name.
        context: tokens that it was trained to see at a time.

    Raises:
        ValueError: experts, or attention as wide as the residual stream is not; weights that would be lost.
    """
    if config.experts is not None:
        raise ValueError("an Enoki with experts cannot be exported: transformers has no such model")
    if config.attention_dim != config.width:
        raise ValueError(
            f"an Enoki whose heads have {config.attention_dim} dimensions together and whose width is {config.width} "
            "cannot be exported: transformers has no such model"
        )
    left, found = _Weights(weights), {}

    def put(name: str, weight: Tensor) -> None:
        found[f"{name}.weight"] = weight
        found[f"{name}.bias"] = weight.new_zeros(weight.shape[0])  # Persimmon has biases wherever Enoki has none

    found["model.embed_tokens.weight"] = left.take("embedding")
    for layer in range(config.depth):
        own, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        parts = [left.take(f"{own}.attention.{part}") for part in ("query", "key", "value")]
        by_head = torch.stack([part.unflatten(0, (config.heads, -1)) for part in parts], dim=1)
        put(f"{theirs}.self_attn.query_key_value", by_head.flatten(0, 2))
        put(f"{theirs}.self_attn.dense", left.take(f"{own}.attention.out"))
        put(f"{theirs}.self_attn.q_layernorm", left.take(f"{own}.attention.query_norm"))
        put(f"{theirs}.self_attn.k_layernorm", left.take(f"{own}.attention.key_norm"))
        put(f"{theirs}.input_layernorm", left.take(f"{own}.attention_norm"))
        put(f"{theirs}.post_attention_layernorm", left.take(f"{own}.mlp_norm"))
        put(f"{theirs}.mlp.dense_h_to_4h", left.take(f"{own}.mlp.up"))
        put(f"{theirs}.mlp.dense_4h_to_h", left.take(f"{own}.mlp.down"))
    put("model.final_layernorm", left.take("norm"))
    found["lm_head.weight"] = left.take("head")
    left.check_empty()
    sizes = _common(config, context, "persimmon", "PersimmonForCausalLM")
    own_options = {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "qk_layernorm": True, "hidden_dropout": 0.0}
    note = "Persimmon has biases, which are zero here. Further training changes them: Enoki has none."
    return Exported({**sizes, **own_options}, found, note)


def qwen3_as_qwen3_next(config: Any, weights: dict[str, Tensor], context: int) -> Exported:
    """A Qwen3 with its attention gate for ``Qwen3NextForCausalLM``.

    Args:
        config: a Qwen3Config.
        weights: of the model, by name.
        context: tokens that it was trained to see at a time.

    Raises:
        ValueError: weights that would be lost.
    """
    left, found = _Weights(weights), {}

    def put_norm(name: str, weight: Tensor) -> None:
        found[f"{name}.weight"] = weight - 1  # Qwen3-Next multiplies by 1 + weight

    found["model.embed_tokens.weight"] = left.take("embedding")
    for layer in range(config.depth):
        own, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        parts = [left.take(f"{own}.attention.{part}") for part in ("query", "gate")]
        by_head = torch.stack([part.unflatten(0, (config.heads, -1)) for part in parts], dim=1)
        found[f"{theirs}.self_attn.q_proj.weight"] = by_head.flatten(0, 2)
        for part, name in (("key", "k_proj"), ("value", "v_proj"), ("out", "o_proj")):
            found[f"{theirs}.self_attn.{name}.weight"] = left.take(f"{own}.attention.{part}")
        put_norm(f"{theirs}.self_attn.q_norm", left.take(f"{own}.attention.query_norm"))
        put_norm(f"{theirs}.self_attn.k_norm", left.take(f"{own}.attention.key_norm"))
        put_norm(f"{theirs}.input_layernorm", left.take(f"{own}.attention_norm"))
        put_norm(f"{theirs}.post_attention_layernorm", left.take(f"{own}.mlp_norm"))
        for part in ("gate", "up", "down"):
            found[f"{theirs}.mlp.{part}_proj.weight"] = left.take(f"{own}.mlp.{part}")
    put_norm("model.norm", left.take("norm"))
    found["lm_head.weight"] = left.take("head")
    left.check_empty()
    sizes = _common(config, context, "qwen3_next", "Qwen3NextForCausalLM")
    own_options = {
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "num_key_value_heads": config.heads,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "layer_types": ["full_attention"] * config.depth,
        "mlp_only_layers": list(range(config.depth)),
        "num_experts": 0,
    }
    return Exported({**sizes, **own_options}, found)
