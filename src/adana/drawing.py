"""Colours of lines, and figures as files."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from adana.files import replacing

__all__ = ["COLOURS", "save"]

# Okabe and Ito's colours, told apart under every common colour-vision deficiency, then greys.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7b4ea3", "#6b7280")


def save(figure: Figure, path: Path, caption: str = "", description: str | None = None) -> None:
    """Write a figure with its caption below, whole or not at all; the format follows the suffix.

    An SVG file has the description in its metadata.
    """
    if caption:
        lines = textwrap.wrap(caption, int(figure.get_figwidth() * 16))
        figure.set_layout_engine("constrained", rect=(0, 0.035 * len(lines) + 0.01, 1, 1 - 0.035 * len(lines) - 0.01))
        figure.text(0.012, 0.012, "\n".join(lines), fontsize=7.5, va="bottom", color="#444444")
    # A fixed salt and no date: the same results give the same file.
    metadata = {"Date": None, "Description": description} if path.suffix == ".svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "adana", "svg.fonttype": "none"}), replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:], metadata=metadata, dpi=160)
