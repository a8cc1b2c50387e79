"""Santa Fe processes: text whose Hilberg exponent is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adana.data.reading import Piece
from adana.data.sources import Source, check_share, is_held_out

__all__ = ["SantaFe"]

MOST_SYMBOLS = 100_000_000


@dataclass(frozen=True)
class SantaFe(Source):
    """Text whose Hilberg exponent is known: random statements about facts, of which there are ever more.

    A statement is a pair (k, z_k): k is drawn anew from a Zipf law, ``P(k) ~ k^(-1/exponent)``; the fact z_k is a
    fair bit, drawn once and the same ever after. A reader who remembers is surprised by the bit only the first time, so
    n statements hold an information of ``h n + A n^exponent`` bits. Written as ``"17+ 4- 17+ ..."``.

    Args:
        exponent: Hilberg exponent, in (0, 1).
        symbols: facts there are, at most 100,000,000 (some 3 GB of memory). Up to about ``symbols^(1/exponent)``
            statements it behaves as a process with infinitely many.
        count: documents.
        statements: in each document.
        seed: of facts and statements.
        held_out_every: one document in so many is held out; the facts are the same in both parts.

    Source: Dębowski 2011, "On the Vocabulary of Grammar-Based Codes ..."; Section M.1 for the exponent.

    Example:
        >>> next(SantaFe(statements=4).pieces()).text
        b'22937- 68+ 2926+ 177831+ '
    """

    exponent: float = 0.88
    symbols: int = 1_000_000
    count: int = 10_000
    statements: int = 1000
    seed: int = 0
    held_out_every: int = 20

    def __post_init__(self) -> None:
        check_share(self.held_out_every)
        if not 0 < self.exponent < 1:
            raise ValueError(f"exponent must be between 0 and 1, got {self.exponent}")
        for name, least in (("symbols", 1), ("count", 1), ("statements", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.symbols > MOST_SYMBOLS:
            raise ValueError(f"symbols must be at most {MOST_SYMBOLS:,}, which take 3 GB of memory, got {self.symbols}")

    @property
    def name(self) -> str:
        return f"a Santa Fe process of Hilberg exponent {self.exponent}"

    def probabilities(self) -> np.ndarray:
        """P(k) of k = 1, 2, ..., symbols."""
        weights = np.arange(1, self.symbols + 1, dtype=np.float64) ** (-1 / self.exponent)
        scaled: np.ndarray = weights / weights.sum()
        return scaled

    def facts(self) -> np.ndarray:
        """z_k of k = 1, 2, ..., symbols: zeros and ones."""
        return np.random.default_rng([self.seed, 0]).integers(0, 2, self.symbols, dtype=np.uint8)

    def subjects(self, number: int, cumulative: np.ndarray | None = None) -> np.ndarray:
        """The k of document ``number``, 1-based."""
        cumulative = np.cumsum(self.probabilities()) if cumulative is None else cumulative
        uniform = np.random.default_rng([self.seed, 1, number]).random(self.statements)
        k: np.ndarray = np.minimum(
            np.searchsorted(cumulative, uniform * cumulative[-1], side="right") + 1, self.symbols
        )
        return k

    def pieces(self) -> Iterator[Piece]:
        cumulative = np.cumsum(self.probabilities())
        signs = np.array(["-", "+"])[self.facts()]
        for number in range(self.count):
            k = self.subjects(number, cumulative)
            content = "".join(f"{i}{sign} " for i, sign in zip(k.tolist(), signs[k - 1].tolist())).encode()
            yield Piece(content, is_held_out(number.to_bytes(8, "big"), self.held_out_every))
