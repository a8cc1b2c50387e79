"""Batches addressed by step: a run that goes on reads no earlier batch again, and ranks need not communicate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Batches", "TokenStream", "evenly_spaced", "permute", "random_starts"]

Order = Literal["random", "permuted"]
ROUNDS = 6


class TokenStream:
    """Tokens of several arrays (memory-mapped shards, say) as one stream.

    Args:
        arrays: one-dimensional arrays of integers, in order; they may be empty.
        checks: for each array, what is called before it is read and raises where that would be unsafe; default nothing.

    Example:
        >>> import numpy as np
        >>> stream = TokenStream([np.array([1, 2, 3], np.uint8), np.array([4, 5], np.uint8)])
        >>> len(stream), stream.windows(np.array([0, 2]), 3).tolist()
        (5, [[1, 2, 3], [3, 4, 5]])
    """

    def __init__(self, arrays: Sequence[np.ndarray], checks: Sequence[Callable[[], None]] = ()) -> None:
        self.arrays, self.checks = list(arrays), list(checks)
        self.ends = np.cumsum([len(array) for array in self.arrays], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def windows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Tokens ``start`` to ``start + length`` of each start: int64, (len(starts), length).

        Raises:
            IndexError: a window that is not within the stream.
            OSError: a file of the stream was cut short since it was opened; the error names it.
        """
        if len(starts) and not 0 <= starts.min() <= starts.max() <= len(self) - length:
            raise IndexError(f"windows of {length} tokens at {starts} leave the stream of {len(self):,} tokens")
        if self.checks and len(starts):
            first, last = (np.searchsorted(self.ends, place, side="right") for place in (starts, starts + length - 1))
            for shard in {shard for a, b in zip(first.tolist(), last.tolist()) for shard in range(a, b + 1)}:
                self.checks[shard]()
        out = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(out, starts.tolist()):
            shard = int(np.searchsorted(self.ends, start, side="right"))
            done = 0
            while done < length:  # a window may run over the end of a shard
                offset = start + done - (int(self.ends[shard - 1]) if shard else 0)
                piece = self.arrays[shard][offset : offset + length - done]
                row[done : done + len(piece)] = piece
                done += len(piece)
                shard += 1
        return out


def random_starts(length: int, *, step: int, seed: int, batch_size: int, seq_len: int) -> np.ndarray:
    """Starts of ``batch_size`` windows of ``seq_len + 1`` tokens, uniform over a stream of ``length`` tokens."""
    return np.random.default_rng([seed, step]).integers(0, length - seq_len, size=batch_size)


def evenly_spaced(length: int, *, seq_len: int, tokens: int) -> np.ndarray:
    """Starts of at most ``tokens // seq_len`` windows of ``seq_len + 1`` tokens, from a stream's first to its last.

    The validation set is made of them: it is the same for every seed and batch size.
    """
    count = max(1, min(tokens // seq_len, (length - 1) // seq_len))
    return np.linspace(0, length - seq_len - 1, count).astype(np.int64)


def permute(index: np.ndarray, size: int, *, seed: Sequence[int]) -> np.ndarray:
    """Where a random permutation of ``range(size)`` sends each index, without making the permutation.

    A Feistel network permutes the numbers below the next power of four; it is applied again until the result is below
    ``size``.

    Args:
        index: integers in [0, size).
        size: length of the permutation, >= 1.
        seed: non-negative integers; another seed, another permutation.

    Returns:
        int64 of index's shape.

    Source: Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains" (cycle walking).

    Example:
        >>> import numpy as np
        >>> sorted(permute(np.arange(10), 10, seed=[0]).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    keys = np.random.SeedSequence(list(seed)).generate_state(ROUNDS, np.uint64)

    def encrypt(x: np.ndarray) -> np.ndarray:
        left, right = x >> half, x & mask
        for key in keys:
            z = right + key  # the finalizer of splitmix64: every bit of the input moves every bit of the output
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            left, right = right, left ^ ((z ^ (z >> np.uint64(31))) & mask)
        out: np.ndarray = (left << half) | right
        return out

    out = encrypt(np.atleast_1d(np.asarray(index)).astype(np.uint64))
    while (outside := out >= size).any():
        out[outside] = encrypt(out[outside])
    return out.astype(np.int64).reshape(np.shape(index))


@dataclass(frozen=True)
class Batches:
    """The training batches of a stream, each a pure function of its step.

    ``order="random"``: windows at random starts, with replacement (Section F.2). ``"permuted"``: the stream cut
    into windows of ``seq_len``, each seen once per epoch, every epoch in another order.

    Args:
        stream: training tokens.
        batch_size: sequences per step, over all ranks and micro-batches.
        seq_len: tokens that the model sees; a window holds one more, the last target.
        seed: of the order.
        order: ``"random"`` or ``"permuted"``.

    Raises:
        ValueError: a size below 1, a negative seed, an unknown order, a stream shorter than one window.

    Example:
        >>> import numpy as np
        >>> batches = Batches(TokenStream([np.arange(100, dtype=np.uint8)]), batch_size=4, seq_len=8)
        >>> whole = batches.batch(7)
        >>> whole.shape
        (4, 9)
        >>> halves = [batches.batch(7, rank=rank, ranks=2) for rank in range(2)]
        >>> bool((np.concatenate(halves) == whole).all())
        True
    """

    stream: TokenStream
    batch_size: int
    seq_len: int
    seed: int = 0
    order: Order = "random"

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seq_len", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.order not in ("random", "permuted"):
            raise ValueError(f"order must be 'random' or 'permuted', got {self.order!r}")
        if len(self.stream) <= self.seq_len:
            raise ValueError(
                f"a sequence of seq_len={self.seq_len} needs {self.seq_len + 1:,} tokens and the training text has "
                f"{len(self.stream):,}: use a shorter seq_len or more text"
            )

    @property
    def windows_per_epoch(self) -> int:
        """Windows that do not overlap."""
        return (len(self.stream) - 1) // self.seq_len

    def starts(self, step: int) -> np.ndarray:
        """Where the windows of batch number ``step`` (0-based) start: (batch_size,)."""
        if self.order == "random":
            return random_starts(
                len(self.stream), step=step, seed=self.seed, batch_size=self.batch_size, seq_len=self.seq_len
            )
        position = step * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        epoch, within = np.divmod(position, self.windows_per_epoch)
        window = np.empty_like(position)
        for number in np.unique(epoch):  # a batch may begin in one epoch and end in the next
            here = epoch == number
            window[here] = permute(within[here], self.windows_per_epoch, seed=[self.seed, int(number)])
        return window * self.seq_len

    def batch(
        self, step: int, *, rank: int = 0, ranks: int = 1, micro_batch: int = 0, micro_batches: int = 1
    ) -> np.ndarray:
        """The rows of batch number ``step`` that one rank takes in one micro-batch.

        Micro-batch after micro-batch, rank after rank, the rows are those of the whole batch in its order.

        Returns:
            int64 of shape (batch_size / (ranks * micro_batches), seq_len + 1).

        Raises:
            ValueError: a batch that cannot be cut into equal parts; a rank or micro-batch that does not exist.
        """
        parts = ranks * micro_batches
        if ranks < 1 or micro_batches < 1 or self.batch_size % parts:
            raise ValueError(
                f"a batch of {self.batch_size} sequences cannot be cut into equal parts for {ranks} ranks and "
                f"{micro_batches} micro-batches"
            )
        if not (0 <= rank < ranks and 0 <= micro_batch < micro_batches):
            raise ValueError(f"no rank {rank} of {ranks} or no micro-batch {micro_batch} of {micro_batches}")
        rows = self.batch_size // parts
        first = (micro_batch * ranks + rank) * rows
        return self.stream.windows(self.starts(step)[first : first + rows], self.seq_len + 1)
