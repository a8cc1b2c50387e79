"""What somebody else's published law over size and tokens says of a plan: printed beside it, and never used.

``lr* = 1.78 N^-0.712 D^0.307`` and ``B* = 0.573 D^0.571`` tokens per step, N parameters without embeddings, D tokens:
Step Law (Li et al., 2025, arXiv 2503.04715), from 1,000 of its own bootstraps. It is of AdamW, with other text, decay
and schedule than the paper of this package.
"""

from __future__ import annotations

from dataclasses import dataclass

from adana.catalog import baselines

__all__ = ["SecondOpinion", "step_law"]

SOURCE = "Step Law (Li et al., 2025)"
SIZES = 2.147e8, 1.074e9
"""Parameters without embeddings of the dense runs that its authors published."""
TOKENS = 4e9, 1e11
"""Tokens of these runs."""


@dataclass(frozen=True)
class SecondOpinion:
    """A learning rate and a batch by another published law.

    Attributes:
        source: whose.
        lr: peak learning rate.
        batch_tokens: tokens per step.
        outside: in words, on which axes the plan lies outside what the law was fitted on.
    """

    source: str
    lr: float
    batch_tokens: float
    outside: tuple[str, ...]

    def __str__(self) -> str:
        """A sentence about it."""
        said = f"second opinion, not used here: {self.source} has lr {self.lr:.3g} and {self.batch_tokens:,.0f} tokens "
        said += "per step, for AdamW"
        return said + (f"; outside what it was fitted on in {' and '.join(self.outside)}" if self.outside else "")


def step_law(optimizer: str, non_embedding_parameters: float, tokens: float) -> SecondOpinion | None:
    """Step Law's learning rate and batch; None for another optimizer than AdamW.

    >>> found = step_law("adamw", 1e9, 1e11)
    >>> f"{found.lr:.3g}, {found.batch_tokens:.3g}", found.outside
    ('0.00166, 1.09e+06', ())
    >>> step_law("adamw", 1e8, 1e11).outside
    ('size: 1e+08, fitted on 2.15e+08 to 1.07e+09',)
    """
    if optimizer not in baselines():
        return None
    outside = tuple(
        f"{name}: {value:.3g}, fitted on {low:.3g} to {high:.3g}"
        for name, value, (low, high) in (
            ("size", non_embedding_parameters, SIZES),
            ("tokens", tokens, TOKENS),
        )
        if not low * 0.999 <= value <= high * 1.001
    )
    lr = 1.78 * non_embedding_parameters**-0.712 * tokens**0.307
    return SecondOpinion(SOURCE, lr, 0.573 * tokens**0.571, outside)
