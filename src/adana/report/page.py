"""What all pages share: templates, colours for light and dark, figures as inline SVG, tables, the file itself.

A page is one file without a network: its style is inline, its only script is the one that sorts tables, allowed by
its hash, and everything else is forbidden by a content security policy.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure as Drawing

from adana.tables import Table

__all__ = [
    "INK",
    "MARKERS",
    "SOFT",
    "THEME",
    "Figure",
    "Key",
    "Panel",
    "Section",
    "colour",
    "keys",
    "link",
    "nth_key",
    "render",
    "sequence",
    "svg",
    "write",
]

THEME = {
    "paper": ("#ffffff", "#12161c"),
    "wash": ("#f3f5f8", "#1b222b"),
    "ink": ("#1c2430", "#e6eaef"),
    "soft": ("#535e6c", "#a3aebb"),
    "line": ("#d3d9e0", "#38424f"),
    "link": ("#0b5cad", "#7db8f5"),
    # Series: hues of Okabe and Ito, which are told apart under every common colour-vision deficiency, made dark
    # enough for white paper and light enough for black; a marker of its own tells each one too.
    "c0": ("#0067a8", "#58a6e8"),
    "c1": ("#b84600", "#ff8f52"),
    "c2": ("#00765a", "#3fc79a"),
    "c3": ("#a23f85", "#e391ca"),
    "c4": ("#836000", "#e3b341"),
    "c5": ("#a8123e", "#ff7f97"),
    "c6": ("#6d4aa0", "#b39bea"),
    "c7": ("#5b6270", "#b4bdc9"),
}
"""Colours by name: light and dark."""

SERIES = tuple(name for name in THEME if name[0] == "c")
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "*": "★", "h": "⬢"}
"""Matplotlib's markers, and how a legend shows them."""

# Matplotlib wants colours; the page wants names that follow light and dark. These stand for the names in between.
_STAND_IN = {name: f"#0badc{index:x}" for index, name in enumerate(THEME)}
INK, SOFT = _STAND_IN["ink"], _STAND_IN["soft"]

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text as text: it takes the page's colour and can be selected
    "svg.hashsalt": "adana",  # equal input, equal page
    "font.size": 10.5,
    "font.family": "sans-serif",
    "axes.labelsize": 10.5,
    "axes.xmargin": 0.04,
    "axes.edgecolor": _STAND_IN["soft"],
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": _STAND_IN["line"],
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": True,
    "xtick.color": _STAND_IN["soft"],
    "ytick.color": _STAND_IN["soft"],
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
}
_SIZE = (5.0, 3.6)  # inches: 360 units wide, so that a phone shows ten-point text at ten pixels


def colour(index: int) -> str:
    """What matplotlib is given for a series' colour; in the page it follows light and dark."""
    return _STAND_IN[SERIES[index % len(SERIES)]]


@dataclass(frozen=True)
class Key:
    """How one series looks, in every figure that has it.

    Attributes:
        name: what the legend calls it.
        index: of its colour.
        marker: matplotlib's marker.
        dashed: whether its line is.
    """

    name: str
    index: int
    marker: str
    dashed: bool = False

    @property
    def colour(self) -> str:
        return colour(self.index)

    @property
    def glyph(self) -> str:
        return MARKERS[self.marker]

    @property
    def variable(self) -> str:
        return f"var(--{SERIES[self.index % len(SERIES)]})"


def keys(names: Iterable[str]) -> dict[str, Key]:
    """A key for each name; the first ones are told apart best.

    >>> [(key.index, key.marker) for key in keys(["b", "a", "b"]).values()]
    [(0, 'o'), (1, 's')]
    """
    return {name: nth_key(name, i) for i, name in enumerate(dict.fromkeys(names))}


def nth_key(name: str, i: int) -> Key:
    """The i-th key: a second round over the colours meets other markers."""
    markers = list(MARKERS)
    return Key(name, i % len(SERIES), markers[(i + i // len(SERIES)) % len(markers)])


@dataclass(frozen=True)
class Panel:
    """One drawing of a figure under its own small title."""

    title: str
    drawing: Markup


@dataclass(frozen=True)
class Figure:
    """Panels with one legend, a caption, their numbers, and the command that makes them again."""

    id: str
    caption: str
    panels: tuple[Panel, ...]
    numbers: Table
    command: str
    legend: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section: sentences, figures, tables.

    Attributes:
        id: unique in the page.
        heading: of the section.
        text: sentences that say what is shown.
        notes: sentences about what could not be shown or should not be trusted.
        figures: its figures.
        tables: its tables.
    """

    id: str
    heading: str
    text: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = field(default=())


def link(target: Path, page: Path) -> str:
    """A relative link from a page to a file beside, below or above it; never anything but a path.

    >>> link(Path("runs/javascript:alert(1)"), Path("runs/report.html"))
    './javascript%3Aalert%281%29'
    """
    relative = Path(os.path.relpath(target, page.parent)).as_posix()
    quoted = quote(relative, safe="/", errors="surrogateescape")
    return quoted if quoted.startswith("../") else f"./{quoted}"


def svg(
    draw: Callable[[Any], None], *, id: str, title: str, description: str, size: tuple[float, float] = _SIZE
) -> Markup:
    """A drawing as inline SVG, named and described for those who cannot see it.

    Args:
        draw: draws on matplotlib axes.
        id: unique in the page.
        title: its name.
        description: what it shows.
        size: width and height in inches.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        drawing = Drawing(figsize=size, layout="constrained")
        draw(drawing.add_subplot())
        layout = drawing.get_layout_engine()
        assert layout is not None
        layout.execute(drawing)
        drawing.set_layout_engine("none")  # savefig would draw everything once more to lay it out
        drawing.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    # Metadata, comments and a style sheet that would reach the whole page.
    text = re.sub(
        r"<metadata>.*?</metadata>|<style\b.*?</style>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.S
    )
    for name, stand_in in _STAND_IN.items():
        text = text.replace(stand_in, f"var(--{name})")
    # Fractions of a hundredth of a point are most of the file and none of the picture.
    text = re.sub(r'(?<= d=")[^"]*', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    # Ids are made to be unique in a file of one drawing.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{id}-", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view[0]} role="img" '
        f'aria-labelledby="{id}-title" aria-describedby="{id}-desc"><title id="{id}-title">{escape(title)}</title>'
        f'<desc id="{id}-desc">{escape(description)}</desc>'
    )
    return Markup(head + text[text.index(">") + 1 :])  # matplotlib escapes what it is given to write


@cache
def _environment() -> jinja2.Environment:
    templates = resources.files("adana.report").joinpath("templates")
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: templates.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """A page from its template; every value is escaped unless it is markup made here."""
    environment = _environment()
    assert environment.loader is not None
    script = environment.loader.get_source(environment, "sort.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        theme=THEME, script=Markup(script), script_hash=f"sha256-{digest}", **values
    )


def write(page: str, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        OSError: it cannot be written; it names the page.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(page, encoding="utf-8", errors="replace")
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:  # the page has taken its place, or nothing is left
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sequence(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence, the first few of many.

    >>> sequence(["a", "b", "c"]), sequence(["a", "b", "c"], 1)
    ('a, b and c', 'a and 2 more')
    """
    shown = list(names)
    if len(shown) > most:
        shown = [*shown[:most], f"{len(shown) - most} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""
