"""Random bits for rounding: a pure function of ``(seed, step, parameter, element)``.

So a resumed run rounds as the uninterrupted one does, and a shard as its part of the whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana.optim.places import Place, signed

__all__ = ["LANES", "Bits", "Randomness", "key", "mix", "random_words", "start", "to_nearest"]

Word = Any  # a 32-bit integer: a Python number in [0, 2^32) or a 0-d int32 tensor
FIRST, SECOND, GOLDEN = 0x7FEB352D, signed(0x846CA68B), 0x9E3779B9
COMPENSATION = "compensation"  # name of what rounding a parameter leaves over, where that is kept


def mix(word: Word) -> Word:
    """A bijection of 32-bit words in which every bit depends on all (C. Wellons' lowbias32).

    >>> hex(mix(1))
    '0x688990c0'
    """
    if isinstance(word, Tensor):
        word = word ^ ((word >> 16) & 0xFFFF)
        word = word * FIRST
        word = word ^ ((word >> 15) & 0x1FFFF)
        word = word * SECOND
        return word ^ ((word >> 16) & 0xFFFF)
    word ^= word >> 16
    word = word * FIRST & 0xFFFFFFFF
    word ^= word >> 15
    word = word * 0x846CA68B & 0xFFFFFFFF
    return word ^ word >> 16


def start(seed: int, parameter: int) -> int:
    """What a parameter's random sequences have in common at all steps; see :func:`key`."""
    return int(mix(mix(seed ^ GOLDEN) ^ parameter))


def key(seed: int, parameter: int, step: Any, stream: int) -> tuple[Word, Word]:
    """The two words that select a sequence of :func:`random_words`.

    Args:
        seed: ``rounding_seed`` of the group, in [0, 2^32).
        parameter: position of the parameter in the optimizer.
        step: finished updates: a number, or a 0-d tensor where it must stay on the device.
        stream: which of a step's sequences.
    """
    common = start(seed, parameter)
    if isinstance(step, Tensor):
        first = mix((2 * step.to(torch.int32) + stream) ^ signed(common))
        return first, mix(first ^ signed(GOLDEN))
    first = mix(common ^ (2 * int(step) + stream) & 0xFFFFFFFF)
    return first, mix(first ^ GOLDEN)


def random_words(key: tuple[Word, Word], elements: Tensor) -> Tensor:
    """One 32-bit word for each element number (int32, modulo 2^32); spends ``elements``."""
    first, second = (word if isinstance(word, Tensor) else signed(word) for word in key)
    x = elements
    x ^= first
    x ^= (x >> 16) & 0xFFFF
    x *= FIRST
    x ^= second
    x ^= (x >> 15) & 0x1FFFF
    x *= SECOND
    x ^= (x >> 16) & 0xFFFF
    return x


# Which 16 bits round what: two sequences per step, two halves of a word.
LANES = {
    "exp_avg": (0, 0),
    "momentum_buffer": (0, 0),
    "exp_avg_sq": (0, 16),
    "parameter": (1, 0),
    COMPENSATION: (1, 0),
    "tau": (1, 16),
    "exp_avg_short": (1, 16),
}


class Randomness(NamedTuple):
    """What the random numbers of one parameter at one step are a function of.

    Attributes:
        seed: ``rounding_seed`` of the group.
        step: finished updates, a number or a 0-d tensor.
        place: what the tensors to be rounded hold.
    """

    seed: int
    step: Any
    place: Place


class Bits:
    """16 random bits per element, the words behind them made when first asked for."""

    def __init__(self, randomness: Randomness) -> None:
        self._of = randomness
        self._words: dict[int, Tensor] = {}

    def __call__(self, name: str, like: Tensor) -> Tensor:
        """For rounding the tensor of that name, as int32."""
        stream, shift = LANES[name]
        if stream not in self._words:
            seed, step, at = self._of
            elements = at.elements(like.shape, like.device)
            self._words[stream] = random_words(key(seed, at.parameter, step, stream), elements)
        half = self._words[stream] >> shift
        half &= 0xFFFF
        return half


def to_nearest(name: str, like: Tensor) -> int:
    """In place of :class:`Bits`: the half that makes every rounding one to nearest."""
    return 0x8000
