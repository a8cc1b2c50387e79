"""Optimizers as single files that import nothing but torch, for repositories that take no dependencies.

Each module here is such a file. ``adana export-optimizer`` prints it, and tests hold its updates to
:mod:`adana.rules`. What the package's optimizers do besides (fused kernels, narrow averages, sharded checkpoints with
checks) is left out.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FILES", "source"]

FILES = {"adana": "adana.py", "adamw-dw": "adamw_dw.py"}
"""Optimizer names and their files."""


def source(name: str) -> str:
    """The text of an optimizer's file.

    Args:
        name: one of :data:`FILES`.

    Raises:
        ValueError: there is no such file.

    >>> source("adana").count("import")
    1
    """
    if name not in FILES:
        raise ValueError(f"{name!r} is not among the single files: choose from {', '.join(FILES)}")
    return (Path(__file__).parent / FILES[name]).read_text(encoding="utf-8")
