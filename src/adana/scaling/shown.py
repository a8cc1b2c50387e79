"""A fit for reading: tables and sentences, the same on the terminal and on the report's page."""

from __future__ import annotations

from dataclasses import dataclass

from adana.tables import Table

__all__ = ["Shown"]


@dataclass(frozen=True)
class Shown:
    """A fit for reading.

    Attributes:
        tables: its numbers.
        warnings: what should not be trusted, and why.
        remarks: what else a reader should know.
    """

    tables: tuple[Table, ...]
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
