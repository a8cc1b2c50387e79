"""Where a decoder's activations are looked at, and their covariances in passes over a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adana.inspect.covariance import GROUPS, Exact, Moments, Randomised
from adana.models.layers import Decoder
from adana.models.moe import MixtureOfExperts

__all__ = ["gather", "layers"]


def layers(model: Decoder) -> dict[str, tuple[nn.Module, bool]]:
    """What is looked at by name: a module, and whether what goes into it counts (else what comes out of it).

    The residual stream after the embedding and after every block, the feed-forward part's hidden activations (what goes
    into a projection called ``down``; a mixture's experts are left out: each sees some tokens only), and what goes into
    the head.

    >>> from adana.models import Enoki, EnokiConfig
    >>> list(layers(Enoki(EnokiConfig(heads=1, vocab_size=8))))
    ['embedding', 'blocks.0.mlp.down', 'blocks.0', 'head']
    """
    found: dict[str, tuple[nn.Module, bool]] = {"embedding": (model.embedding, False)}
    for i, block in enumerate(model.blocks):
        experts = [name for name, module in block.named_modules() if isinstance(module, MixtureOfExperts)]
        for name, module in block.named_modules():
            inside = any(name.startswith(f"{mixture}.") for mixture in experts)
            if name.rpartition(".")[2] == "down" and not inside:
                found[f"blocks.{i}.{name}"] = (module, True)
        found[f"blocks.{i}"] = (block, False)
    found["head"] = (model.get_output_embeddings(), True)
    return found


@torch.no_grad()
def gather(
    model: Decoder,
    windows: np.ndarray,
    *,
    exact_up_to: int = 1024,
    modes: int = 256,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Moments]:
    """Sums over the activations of every layer, for as many passes over the text as the widest needs.

    Args:
        model: on any device; the sums lie where it does.
        windows: int64, (windows, seq_len + 1), in the order of the text; consecutive ones are a group.
        exact_up_to: see :func:`~adana.inspect.covariance.covariance_spectrum`.
        modes: the same.
        batch: windows at a time.
        progress: is called with windows done and windows to do, over all passes.

    Raises:
        ValueError: fewer windows than groups.
    """
    if len(windows) < GROUPS:
        raise ValueError(f"intervals over {GROUPS} parts of the text need as many sequences, got {len(windows)}")
    device = next(model.parameters()).device
    sums: dict[str, Moments] = {}
    passes = done = 0
    while not sums or passes < max(one.passes for one in sums.values()):
        for one in sums.values():
            if passes < one.passes:
                one.next_pass()
        for group, part in enumerate(np.array_split(windows, GROUPS)):
            for first in range(0, len(part), batch):
                chunk = part[first : first + batch]
                with _caught(model) as caught, suppress(_Seen):
                    model(torch.from_numpy(chunk[:, :-1]).to(device))
                for name, x in caught.items():
                    width = x.shape[-1]
                    if name not in sums:
                        wide = width > exact_up_to
                        sums[name] = Randomised(width, modes, device=device) if wide else Exact(width, device=device)
                    if passes < sums[name].passes:
                        sums[name].add(x, group)
                done += len(chunk)
                if progress is not None:
                    progress(done, len(windows) * max(one.passes for one in sums.values()))
        passes += 1
    return sums


class _Seen(Exception):
    """All activations are caught: the logits, most of the work of a small model of many tokens, are not needed."""


@contextmanager
def _caught(model: Decoder) -> Iterator[dict[str, Tensor]]:
    """Activations by layer, of the forward passes within."""
    caught: dict[str, Tensor] = {}
    handles = []

    last = list(layers(model))[-1]

    def take(name: str, x: Any) -> None:
        caught[name] = x[0] if isinstance(x, tuple) else x  # a block gives its load-balance loss besides
        if name == last:
            raise _Seen

    for name, (module, before) in layers(model).items():
        if before:
            handles.append(module.register_forward_pre_hook(lambda _, given, name=name: take(name, given)))
        else:
            handles.append(module.register_forward_hook(lambda _, given, out, name=name: take(name, out)))
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
