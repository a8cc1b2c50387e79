"""Text from a finished or running run: its newest checkpoint as a model, and tokens drawn from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from adana.data.dataset import MANIFEST
from adana.data.tokenizer import Bytes, HuggingFace, Tokenizer, load_tokenizer, saved_tokenizer
from adana.files import read_json
from adana.models.architectures import architecture
from adana.models.layers import Decoder
from adana.train import checkpoint as checkpoints
from adana.train.folder import CHECKPOINTS
from adana.train.recipe import Recipe, read_recipe

__all__ = ["load_model", "load_run_tokenizer", "sample"]


def load_model(folder: Path, *, device: str = "cpu") -> tuple[Decoder, Recipe]:
    """The model of a run's newest checkpoint.

    Args:
        folder: of the run.
        device: where to put it.

    Returns:
        The model in evaluation mode, and the run's recipe.

    Raises:
        CorruptCheckpoint: the newest checkpoint is not whole.
        ValueError: no run, no checkpoint, or one of another model.
        OSError: a file cannot be read.
    """
    recipe = read_recipe(folder, to_run=False)
    found = checkpoints.read_newest(folder / CHECKPOINTS)
    if found is None:
        raise ValueError(f"{folder} has no checkpoint: runs of adana race and sweep keep none, those of adana train do")
    model = architecture(recipe.arch).model(recipe.model_config(), seed=recipe.seed)
    checkpoints.load(found, {f"model.{name}": p.detach() for name, p in model.named_parameters()})
    return model.to(device).eval(), recipe


def load_run_tokenizer(recipe: Recipe) -> Tokenizer:
    """The tokenizer of the text that a run was trained on.

    Raises:
        ImportError: its library is not installed.
        ValueError: the data folder is not one, or has another tokenizer by that name.
        OSError: a file cannot be read.
    """
    if recipe.data is None:
        return Bytes()
    path = Path(recipe.data) / MANIFEST
    found = read_json(path, says="is corrupt")
    try:
        name, fingerprint = str(found["tokenizer"]["name"]), str(found["tokenizer"]["fingerprint"])
    except (KeyError, TypeError):
        raise ValueError(f"{path} names no tokenizer: build the dataset anew") from None
    saved = saved_tokenizer(Path(recipe.data))
    tokenizer = load_tokenizer(name if saved is None else str(saved))
    # A file of tokenizers does not say which end-of-text token was chosen, and the fingerprint depends on it.
    if tokenizer.fingerprint != fingerprint and not isinstance(tokenizer, HuggingFace):
        raise ValueError(f"{path} was made with another {name} ({fingerprint[:12]}) than this one")
    return tokenizer


@torch.no_grad()
def sample(
    model: Decoder,
    tokens: list[int],
    *,
    count: int,
    context: int,
    end: int,
    known: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """Draw tokens one after the other.

    Args:
        model: gives logits (batch, time, vocabulary).
        tokens: what comes before; ``[end]`` for the beginning of a text.
        count: tokens to draw, at most.
        context: tokens that the model sees at a time.
        end: the token that ends a text; it is not given out.
        known: tokens at or above this are padding of the vocabulary and never drawn.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: draw from this many likeliest tokens; None for all.
        seed: of the draws.

    Raises:
        ValueError: a number out of range, or a model whose logits are not finite.

    >>> from adana.models import Enoki, EnokiConfig
    >>> model = Enoki(EnokiConfig(heads=1, layers=1, vocab_size=8), seed=0)
    >>> len(list(sample(model, [1, 2], count=3, context=4, end=0, known=8, temperature=0.0))) <= 3
    True
    """
    for name, value, least in (("count", count, 1), ("top_k", top_k, 1), ("temperature", temperature, 0)):
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{name} must be a finite number of at least {least}, got {value!r}")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    seen = list(tokens)
    for _ in range(count):
        logits: Tensor = model(torch.tensor([seen[-context:]], device=device))[0, -1, :known].double().cpu()
        if not bool(torch.isfinite(logits).all()):
            raise ValueError("the model's logits are not finite: the run has diverged")
        if top_k is not None and top_k < len(logits):
            logits[logits < logits.topk(top_k).values[-1]] = -math.inf
        if temperature == 0:
            drawn = int(logits.argmax())
        else:
            chances = ((logits - logits.max()) / temperature).softmax(-1)
            drawn = int(torch.multinomial(chances, 1, generator=generator))
        if drawn == end:
            return
        seen.append(drawn)
        yield drawn
