"""Anyone's tables: formats, names, units, layouts that are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from adana.cli import main
from adana.scaling.columns import LAYOUTS, parse_columns
from adana.scaling.describe import described
from adana.scaling.reading import read_runs

PUBLIC = Path(__file__).parents[3] / "shared" / "data"

ROWS = [
    {"val": 3.0, "params (M)": 100, "D": 2.0, "bs": 256, "rate": 1e-3},
    {"val": 2.9, "params (M)": 200, "D": 4.0, "bs": 512, "rate": 5e-4},
]
COLUMNS = ["loss=val", "parameters=params (M)*1e6", "tokens=D*B", "batch=bs*2048", "lr=rate", "optimizer=adamw"]


def separated(path, mark):
    lines = [mark.join(ROWS[0]), *(mark.join(map(str, row.values())) for row in ROWS)]
    path.write_text("\n".join(lines) + "\n")


def nested(path):
    own = [{"config": {"lr": row["rate"], "bs": row["bs"]}} | row for row in ROWS]
    path.write_text(json.dumps({"project": {"name": "x"}, "runs": own}))


def parquet(path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(ROWS), path)


FORMATS = {
    "runs.csv": lambda path: separated(path, ","),
    "runs.tsv": lambda path: separated(path, "\t"),
    "tabs.txt": lambda path: separated(path, "\t"),
    "runs.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "runs.json": nested,
    "runs.parquet": parquet,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_runs_under_the_names_one_says(name, tmp_path):
    FORMATS[name](tmp_path / name)
    runs = read_runs([tmp_path / name], COLUMNS)
    assert [run.final_loss for run in runs] == [3.0, 2.9]
    assert [run.size for run in runs] == [1e8, 2e8]
    assert [run.tokens for run in runs] == [2e9, 4e9]
    assert [run.batch_tokens for run in runs] == [256 * 2048, 512 * 2048]
    assert [run.lr for run in runs] == [1e-3, 5e-4]
    assert {run.optimizer for run in runs} == {"adamw"}
    assert [run.pfh("6n") * 3.6e18 for run in runs] == pytest.approx([6 * 1e8 * 2e9, 6 * 2e8 * 4e9])


def test_nested_objects_are_columns_with_dots(tmp_path):
    nested(tmp_path / "runs.json")
    runs = read_runs([tmp_path / "runs.json"], ["loss=val", "lr=config.lr", "optimizer=adamw"])
    assert [run.lr for run in runs] == [1e-3, 5e-4]


def test_tokens_come_from_compute_and_it_is_said(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("loss,N,PFH\n3,1e8,0.1\n2.9,2e8,0.2\n")
    columns = ["loss=loss", "parameters=N", "flops=PFH"]
    assert read_runs([path], columns)[0].tokens == pytest.approx(0.1 * 3.6e18 / 6e8)
    found = described([path], columns)
    assert "tokens D = C / 6N" in found.derived
    assert found.cells["(N, D)"] == 2
    assert {one.law: one.missing for one in found.laws}["tokens"] == "six cells of size and tokens (has 2)"


def test_batches_of_one_learning_rate_are_no_seeds(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("optimizer,final_loss,lr,batch_tokens,tokens,parameters\na,3,1,10,1e9,1e8\na,2,1,20,1e9,1e8\n")
    from adana.scaling.grouping import ladder_of

    assert list(ladder_of(read_runs([path]), "6n").values()) == [[2.0]]


REFUSED = [
    (["loss=nothing"], "no column 'nothing'; it has val"),
    (["loss"], "--columns loss: write NAME=COLUMN"),
    (["colour=val"], "no such name 'colour': choose from "),
    (["loss=val", "final_loss=D"], "--columns gives final_loss twice"),
    (["loss=val", "tokens=D*lots"], "'lots' is no number and no unit"),
    (["loss=val", "tokens=D*-1"], "a factor must be above 0"),
    (["loss=val", "parameters=params (M)*1e9", "tokens=D"], "2 tokens for 1e+11 parameters cannot be: is a unit"),
    (["loss=val", "parameters=params (M)*1e6", "tokens=D*1e-9"], "cannot be: is a unit missing"),
]


@pytest.mark.parametrize(("columns", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_columns_that_cannot_be_are_one_line(columns, message, tmp_path, capsys):
    separated(tmp_path / "runs.csv", ",")
    assert main(["fit", str(tmp_path / "runs.csv"), "--law", "tokens", "--columns", *columns]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("runs.json", "{", "cannot be read as JSON"),
        ("runs.json", '{"a": 1}', "no list of objects in it"),
        ("runs.jsonl", '{"a": 1}\n[', "cannot be read as JSON"),
        ("runs.parquet", "PAR", "not a Parquet file"),
        ("runs.csv", "val,D\n1,2\n", "has no column optimizer and no column final_loss"),
    ],
)
def test_a_file_that_is_no_table_is_one_line(name, text, message, tmp_path, capsys):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(text)
    assert main(["fit", str(tmp_path / name), "--describe"]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_known_layouts_are_told_by_their_header(tmp_path):
    for layout in LAYOUTS:
        header = sorted(layout.needs)
        path = tmp_path / "runs.csv"
        path.write_text(
            ",".join(header) + "\n" + ",".join("adamw" if h in ("optimizer", "setting") else "1e3" for h in header)
        )
        (source,) = described([path]).sources
        assert source.layout == layout.name
        parse_columns([f"{name}={value}" for name, value in layout.columns.items()])


def test_a_description_names_duplicates_and_runs_without_an_end(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    path.write_text("optimizer,final_loss,lr\na,3,1\na,3,1\na,,2\n")
    assert main(["fit", str(path), "--describe"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 rows are there twice: runs.csv, row 1 and runs.csv, row 2" in shown
    assert "1 runs diverged or have no final loss" in shown
    assert main(["fit", str(path), "--describe", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["optimizers"] == {"a": 3}


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public tables are not here")
@pytest.mark.parametrize(
    ("name", "runs", "cells"),
    [
        ("chinchilla_epoch_svg_extracted.csv", 245, 245),
        ("steplaw_dense_lr_bs_loss.csv", 1911, 17),
        ("marin_fantastic_130m_1x.csv", 29, 0),
        ("authors_batch512.csv", 23, 23),
    ],
)
def test_public_tables_are_read_as_they_are(name, runs, cells):
    found = described([PUBLIC / name])
    assert sum(found.optimizers.values()) == runs
    assert found.cells["(N, D)"] == cells
    assert math.isfinite(found.quantities[0].least)
