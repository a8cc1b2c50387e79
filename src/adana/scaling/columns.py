"""Anyone's table of runs: which file formats are read, and which of its columns says what.

1. :func:`read_table` reads CSV, TSV, JSON, JSON lines and Parquet into rows of text cells.
2. The columns are renamed to those of :data:`COLUMNS`: by ``--columns NAME=EXPRESSION``, else by a known layout
   (:data:`LAYOUTS`), else they stay as they are.
3. :mod:`adana.scaling.reading` makes runs of the rows.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from adana.files import parse_json, read_bytes
from adana.scaling.laws import PETAFLOP_HOUR

__all__ = ["COLUMNS", "LAYOUTS", "TableLayout", "ReadTable", "UNNAMED", "parse_columns", "read_table"]

COLUMNS = {
    "optimizer": "name of the optimizer",
    "final_loss": "validation loss in nats; empty or inf for a run that diverged",
    "lr": "peak learning rate",
    "stopped_at": "step at which a run was given up; such a row is left out",
    "seed": "seed; runs that differ in it alone are averaged",
    "weight_decay, options": "weight decay, other options (in JSON); of several at one size the best counts",
    "clip_norm, order, ...": "any other setting of a run, by its name in a recipe: runs that differ in it are no seeds",
    "text_sha256": "hash of the text that the losses were measured on: runs of different texts are not fitted together",
    "kappa": "the option of adana and its relatives, empty for 0.85; each kappa is an optimizer of its own",
    "arch": "architecture, such as enoki or qwen3; with heads it gives sizes and compute",
    "heads": "attention heads (with layers, head_dim, vocab_size and seq_len where they are not the paper's)",
    "parameters": "parameters, where the table does not say whether embeddings count",
    "non_embedding_parameters": "parameters without embeddings, where arch and heads do not say",
    "total_parameters": "parameters with both embeddings, where arch and heads do not say",
    "tokens": "tokens trained on (or steps and batch_tokens, or tokens_per_parameter or flops = 6 x tokens x size)",
    "flops": "compute of the whole run, whichever way it was counted",
    "flops_6p, flops_6n, flops_m": "compute of the whole run by one formula, where arch and heads do not say",
    "linear_damping": "c, where momentum weighs c (1 + t) at step t (with steps and batch_tokens, for --law damping)",
}
"""Columns of a table, for ``adana fit --help``."""

UNNAMED = "unnamed"
"""The optimizer of a table that has no column for it."""

SHORT = {"loss": "final_loss", "batch": "batch_tokens"}
"""Shorter names that ``--columns`` takes too."""

UNITS = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "PFH": PETAFLOP_HOUR, "PFD": 24 * PETAFLOP_HOUR}


@dataclass(frozen=True)
class TableLayout:
    """A published table that is known by its header.

    Attributes:
        name: whose it is.
        columns: expression by name, as ``--columns`` takes them.
        needs: column names that tell it.
    """

    name: str
    columns: Mapping[str, str]
    needs: frozenset[str]


LAYOUTS = (
    TableLayout(
        "points of Hoffmann et al.'s Figure 4, as Epoch read them",
        {"final_loss": "loss", "parameters": "Model Size", "flops": "Training FLOP"},
        frozenset({"Model Size", "Training FLOP", "loss"}),
    ),
    TableLayout(
        "Step Law's sweeps of learning rate and batch",
        {
            "final_loss": "smooth loss",
            "non_embedding_parameters": "N",
            "tokens": "D",
            "batch_tokens": "bs*2048",
            "steps": "ti",
            "lr": "lr",
        },
        frozenset({"smooth loss", "N", "D", "bs", "ti", "lr"}),
    ),
    TableLayout(
        "Marin's optimizer sweep",
        {"final_loss": "loss", "optimizer": "optimizer", "options": "setting"},
        frozenset({"optimizer", "setting", "loss"}),
    ),
)


@dataclass(frozen=True)
class ReadTable:
    """A table of runs under the names of :data:`COLUMNS`.

    Attributes:
        path: the file.
        format: what it is, such as CSV.
        layout: the known layout; empty where the columns' own names or ``--columns`` count.
        columns: which expression gives a name, for names that are not the table's own.
        ignored: columns that nothing reads.
        rows: text cells by name, with the row's place.
    """

    path: Path
    format: str
    layout: str
    columns: dict[str, str]
    ignored: tuple[str, ...]
    rows: tuple[tuple[str, dict[str, str]], ...]


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """``NAME=EXPRESSION`` by name, under the full names.

    Raises:
        ValueError: no ``=``, a name that is none of :data:`COLUMNS`, or one given twice.

    >>> parse_columns(["loss=smooth loss", "tokens=D*1e9"])
    {'final_loss': 'smooth loss', 'tokens': 'D*1e9'}
    """
    known = _known()
    found: dict[str, str] = {}
    for one in given:
        name, equals, expression = (part.strip() for part in one.partition("="))
        name = SHORT.get(name, name)
        if not equals or not name or not expression:
            raise ValueError(f"--columns {one}: write NAME=COLUMN, such as loss=final_loss or tokens=D*1e9")
        if name not in known:
            shown = ", ".join(sorted({*SHORT, *(each for names in COLUMNS for each in _names(names))}))
            raise ValueError(f"--columns {one}: no such name {name!r}: choose from {shown}, or a setting of a recipe")
        if name in found:
            raise ValueError(f"--columns gives {name} twice: {found[name]} and {expression}")
        found[name] = expression
    return found


def read_table(path: Path, columns: Mapping[str, str] | None = None) -> ReadTable:
    """A table from a file.

    Args:
        path: CSV, TSV, JSON (a list of objects, or an object with one such list in it; nested objects become columns
            with dots in their names), JSON lines (``.jsonl``, ``.ndjson``) or Parquet.
        columns: expression by name, of :func:`parse_columns`.

    Raises:
        ValueError: it is no such file, a column is missing, or an expression is none.
        OSError: it cannot be read.
    """
    kind, header, cells = _cells(path)
    given = dict(columns or {})
    layout = None
    if not {"optimizer", "final_loss"} <= set(header):
        layout = next((one for one in LAYOUTS if one.needs <= set(header)), None)
    mapping = {**(layout.columns if layout else {}), **given}
    optional = {"optimizer"} if mapping else set()
    missing = [name for name in ("optimizer", "final_loss") if name not in {*header, *mapping, *optional}]
    if missing:
        raise ValueError(
            f"{path} has no column {' and no column '.join(missing)}; it has {', '.join(header) or 'none'}: say which "
            "is which with --columns, such as loss=COLUMN"
        )
    if not cells:
        raise ValueError(f"{path} has a header and no rows")
    parts = {name: _expression(path, name, expression, header) for name, expression in mapping.items()}
    used = {column for column, _, _ in parts.values()}
    rows = []
    for number, row in enumerate(cells, 1):
        where = f"{path.name}, row {number}"
        named = {name: cell for name, cell in row.items() if name not in used or name in given or not mapping}
        named |= {name: _evaluated(row, *part, where) for name, part in parts.items()}
        if mapping:
            named.setdefault("optimizer", UNNAMED)
        rows.append((where, named))
    known = _known()
    ignored = tuple(name for name in header if name not in used and name not in known)
    shown = {name: expression for name, expression in mapping.items() if name != expression}
    return ReadTable(path, kind, layout.name if layout else "", shown, ignored, tuple(rows))


def _known() -> set[str]:
    from adana.train.recipe import Recipe

    more = {"layers", "head_dim", "vocab_size", "seq_len", "steps", "batch_tokens", "tokens_per_parameter"}
    return {each for names in COLUMNS for each in _names(names)} | more | {field.name for field in fields(Recipe)}


def _names(key: str) -> list[str]:
    return [name for name in key.split(", ") if name != "..."]


# --- files to cells -------------------------------------------------------------------------------------


def _cells(path: Path) -> tuple[str, list[str], list[dict[str, str]]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "Parquet", *_tabulated(_parquet(path))
    if suffix in (".json", ".jsonl", ".ndjson"):
        try:
            text = read_bytes(path).decode("utf-8-sig")
            if suffix == ".json":
                return "JSON", *_tabulated(_objects(parse_json(text), path))
            lines = [parse_json(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise ValueError(f"{path}: cannot be read as JSON ({error})") from None
        return "JSON lines", *_tabulated(_objects(lines, path))
    return _separated(path, tabs=suffix in (".tsv", ".tab"))


def _separated(path: Path, *, tabs: bool) -> tuple[str, list[str], list[dict[str, str]]]:
    try:
        text = read_bytes(path).decode("utf-8-sig")  # a device might never end
        first = next((line for line in text.splitlines() if line and not line.startswith("#")), "")
        tabs = tabs or ("\t" in first and "," not in first)
        lines = (line for line in io.StringIO(text, newline="") if not line.startswith("#"))
        reader = csv.DictReader(lines, delimiter="\t" if tabs else ",")
        header = [name.strip() for name in reader.fieldnames or ()]
        rows = list(reader)  # Cells beyond the header's come under None.
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from None
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the column {' and the column '.join(twice)} twice: take one out")
    for number, row in enumerate(rows, 1):
        if None in row:
            raise ValueError(
                f"{path.name}, row {number}: more cells than columns: quote a cell with a comma in it, and write "
                "numbers with a point"
            )
        if None in row.values():
            raise ValueError(
                f"{path.name}, row {number}: fewer cells than columns: write an empty cell as a comma, or fetch the "
                "file again if it was cut off"
            )
    return (
        "TSV" if tabs else "CSV",
        header,
        [{name.strip(): value.strip() for name, value in row.items()} for row in rows],
    )


def _parquet(path: Path) -> list[dict[str, Any]]:
    content = read_bytes(path)
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ValueError(f"{path}: Parquet files need pyarrow: pip install 'adana[data]'") from None
    try:
        found: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
    return found


def _objects(value: Any, path: Path) -> list[dict[str, Any]]:
    """The list of objects that JSON is, or that stands anywhere in it, the longest where several do."""
    lists: list[list[dict[str, Any]]] = []

    def look(one: Any) -> None:
        if isinstance(one, list) and one and all(isinstance(each, dict) for each in one):
            lists.append(one)
        elif isinstance(one, dict):
            for each in one.values():
                look(each)

    look(value)
    if not lists:
        raise ValueError(f"{path}: no list of objects in it: one object per run is needed")
    return max(lists, key=len)


def _tabulated(objects: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, str]]]:
    """Objects as rows of cells: those in objects become columns with dots, lists stay JSON."""

    def flat(one: Mapping[str, Any], before: str = "") -> dict[str, str]:
        cells: dict[str, str] = {}
        for name, value in one.items():
            if isinstance(value, Mapping) and before + str(name) != "options":
                cells |= flat(value, f"{before}{name}.")
            else:
                cells[f"{before}{name}"] = _text(value)
        return cells

    rows = [flat(one) for one in objects]
    header = list(dict.fromkeys(name for row in rows for name in row))
    return header, [{name: row.get(name, "") for name in header} for row in rows]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | list | Mapping):
        return json.dumps(value)
    return repr(value) if isinstance(value, int | float) else str(value)


# --- expressions ----------------------------------------------------------------------------------------

Part = tuple[str | None, str, float]
"""Column, or None; text in its place; factor."""


def _expression(path: Path, name: str, expression: str, header: Sequence[str]) -> Part:
    """A column times or over numbers and units; a number by itself; for an optimizer, a name by itself."""
    if expression in header:
        return expression, "", UNITS["PFH"] if expression == "PFH" and name.startswith("flops") else 1.0
    pieces = re.split(r"([*/])", expression)
    base = pieces[0].strip()
    factor = 1.0
    for sign, text in zip(pieces[1::2], pieces[2::2]):
        value = UNITS.get(text.strip())
        if value is None:
            try:
                value = float(text)
            except ValueError:
                units = ", ".join(UNITS)
                raise ValueError(
                    f"{path}: --columns {name}={expression}: {text.strip()!r} is no number and no unit ({units})"
                ) from None
        if not 0 < value < float("inf"):
            raise ValueError(f"{path}: --columns {name}={expression}: a factor must be above 0, got {text.strip()}")
        factor = factor * value if sign == "*" else factor / value
    if base in header:
        return base, "", factor
    try:
        return None, repr(float(base) * factor), 1.0
    except ValueError:
        if name == "optimizer" and len(pieces) == 1:
            return None, base, 1.0
    raise ValueError(f"{path}: --columns {name}={expression}: no column {base!r}; it has {', '.join(header)}")


def _evaluated(row: Mapping[str, str], column: str | None, text: str, factor: float, where: str) -> str:
    if column is None:
        return text
    cell = row[column]
    if factor == 1.0 or not cell:
        return cell
    try:
        return repr(float(cell) * factor)
    except ValueError:
        raise ValueError(f"{where}: {column} is {cell!r}, which is no number") from None
