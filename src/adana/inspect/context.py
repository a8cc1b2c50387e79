"""Loss of a trained run by position in its context: what a text costs per byte to a model that has learned already."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from adana.data.batches import TokenStream, evenly_spaced
from adana.models.layers import Decoder

__all__ = ["context_lengths", "held_out_windows", "loss_by_position", "rates_by_context"]

LEAST_DOUBLINGS = 8


def held_out_windows(stream: TokenStream, seq_len: int, tokens: int) -> np.ndarray:
    """Windows evenly spaced over a text, which do not overlap: int64 (windows, seq_len + 1).

    Raises:
        ValueError: fewer than ``tokens`` are there; the message says how many are needed.
    """
    count = max(1, tokens // seq_len)
    if len(stream) < count * seq_len + 1:
        raise ValueError(
            f"the held-out text has {len(stream):,} tokens, and {count:,} sequences of {seq_len:,} need "
            f"{count * seq_len + 1:,}: ask for fewer tokens, or train on a longer text"
        )
    return stream.windows(evenly_spaced(len(stream), seq_len=seq_len, tokens=tokens), seq_len + 1)


@torch.no_grad()
def loss_by_position(
    model: Decoder, windows: np.ndarray, *, batch: int = 8, progress: Callable[[int], None] | None = None
) -> Iterator[np.ndarray]:
    """Cross-entropy of every token of every window, a few windows at a time.

    Args:
        model: gives logits (batch, time, vocabulary).
        windows: int64, (windows, length + 1).
        batch: windows at a time.
        progress: is called with how many windows are done.

    Yields:
        Nats, float32, (at most batch, length).

    Example:
        >>> from adana.models import Enoki, EnokiConfig
        >>> model = Enoki(EnokiConfig(heads=1, layers=1, vocab_size=8), seed=0)
        >>> [losses.shape for losses in loss_by_position(model, np.zeros((3, 5), np.int64), batch=2)]
        [(2, 4), (1, 4)]
    """
    device = next(model.parameters()).device
    for first in range(0, len(windows), batch):
        chunk = torch.from_numpy(windows[first : first + batch]).to(device)
        logits = model(chunk[:, :-1]).float()
        yield F.cross_entropy(logits.transpose(1, 2), chunk[:, 1:], reduction="none").cpu().numpy()
        if progress is not None:
            progress(min(first + batch, len(windows)))


def context_lengths(seq_len: int) -> list[int]:
    """Doubling numbers of tokens from 1 to the whole context.

    Raises:
        ValueError: fewer than eight of them.

    >>> context_lengths(256)
    [1, 2, 4, 8, 16, 32, 64, 128, 256]
    """
    lengths = [1 << k for k in range(seq_len.bit_length())]
    if len(lengths) < LEAST_DOUBLINGS:
        raise ValueError(
            f"the run's context of {seq_len:,} tokens is too short: an exponent needs {LEAST_DOUBLINGS} doublings, a "
            f"context of {1 << (LEAST_DOUBLINGS - 1)} tokens (train with a longer --seq-len)"
        )
    return lengths


def rates_by_context(
    model: Decoder,
    windows: np.ndarray,
    *,
    places: int,
    bytes_per_token: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[int], list[list[float]]]:
    """Bits per byte of the first n tokens of a context, one more token being known before them.

    Args:
        model: gives logits.
        windows: int64, (windows, seq_len + 1), in the order of the text.
        places: parts of the text; each has its own line of rates.
        bytes_per_token: of the text.
        progress: is called with how many windows are done.

    Returns:
        n in tokens, and for each place the rates.

    Raises:
        ValueError: a context too short, or fewer windows than places.
    """
    lengths = context_lengths(windows.shape[1] - 1)
    if len(windows) < places:
        raise ValueError(f"{places} places need as many sequences, got {len(windows)}: ask for more tokens")
    ends = np.asarray(lengths)
    rates = np.empty((len(windows), len(lengths)))
    done = 0
    for losses in loss_by_position(model, windows, progress=progress):
        rates[done : done + len(losses)] = losses.cumsum(1, dtype=np.float64)[:, ends - 1] / ends
        done += len(losses)
    parts = np.array_split(rates / (math.log(2) * bytes_per_token), places)
    return lengths, [part.mean(0).tolist() for part in parts]
