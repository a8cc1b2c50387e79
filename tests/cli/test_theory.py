from __future__ import annotations

import dataclasses
import importlib.util
import json
import os

import pytest

from adana.cli import main
from adana.cli.theory import COMMANDS
from adana.theory.simulate import SIMULATED

SMALL = {
    "plrf": "--steps 40 --runs 3 --v 40 --d 10 --optimizers sgd dana adana",
    "equivalent": "--v 32 --d 8 --draws 2",
    "phases": "--draws 1",
    "dana": "--steps 200 --modes 30",
    "mixture": "--steps 40 --runs 3 --v 40 --d 10 --experts 3 --batch 2",
    "signsgd": "--d 20 --time 2 --seeds 2 --noise none cauchy",
    "clipping": "--d 20 --time 2 --seeds 2",
    "high-line": "--d 20 --time 2 --seeds 2",
    "sign-svd": "--outputs 10 --inputs 20 --batch 5 --steps 10",
    "monomial": "--d 40 --v 80",
    "ntk": "--n 80 --d 10 --p 6",
    "sparse": "--probabilities 0.5 0.3 --seeds 20 --count 2",
    "nesterov": "--steps 30",
    "sweep": "--setting figure-8-left --steps 20 --lrs 1e-3 --held-out 1",
    "dana-map": "--rhos 1.0 --lrs 0.3 --damping-scales 0.25 --horizons 100 200 --kappas 0.4 0.6 0.8 --modes 100",
    "kappa-map": "--rhos 1.0 --batches 2 --horizons 20 40 --v 40 --d 10 --seeds 1",
}


def test_every_command_is_tried():
    assert set(SMALL) | {"figures"} == set(COMMANDS)


@pytest.mark.parametrize("name", SMALL)
def test_every_command_prints_one_json_document_and_draws(name, tmp_path, capsys):
    plot = tmp_path / "plot.svg"
    assert main(["theory", name, *SMALL[name].split(), "--json", "--plot", str(plot)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() & {"curves", "points", "sweeps"}
    assert "<svg" in plot.read_text()
    assert list(tmp_path.iterdir()) == [plot]


@pytest.mark.parametrize("name", ["plrf", "nesterov", "sweep", "kappa-map", "dana-map"])
def test_tables_are_printed_where_json_is_not_asked_for(name, capsys):
    assert main(["theory", name, *SMALL[name].split()]) == 0
    out = capsys.readouterr().out
    assert {
        "plrf": "critical lr",
        "nesterov": "look-ahead",
        "sweep": "adana",
        "kappa-map": "simulated",
        "dana-map": "slope",
    }[name] in out


def test_figures_are_listed(tmp_path, capsys):
    assert main(["theory", "figures", "--only", "schedules", "--out", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schedules"]["file"] == str(tmp_path / "schedules.svg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("phases --rho 0.2 --eta 0.1", "no power-law phase"),
        ("plrf --v 10 --d 10", "v must exceed d"),
        ("plrf --optimizers lion", "'lion'"),
        ("plrf --steps -3", "total_steps"),
        ("plrf --device nowhere", "'nowhere'"),
        ("mixture --zeta -1", "zeta"),
        ("sparse --probabilities 2", "p must be a probability"),
        ("sign-svd --batch 500", "without label noise"),
        ("sweep --setting figure-7", "figure-7"),
        ("kappa-map --kappas 0.5", "kappas"),
        ("figures --only nothing", "nothing"),
        ("nesterov --plot plot.bmp", ".svg"),
        ("nesterov --plot missing/plot.svg", "does not exist"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(arguments, words, capsys):
    assert main(["theory", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("adana theory: error: ")
    assert words in captured.err
    assert captured.out == ""


EDGES = (
    *("0", "1", "-1", "2147483648", "9" * 30, "1e308", "1e-308", "1e30", "-1e30", "nan", "inf", "-inf", "0.5", "2"),
    *("/dev/full", "/dev/null", "x", "[/a]"),
)
# One in so many values of every option; ADANA_FUZZ=1 tries them all.
SHARE = int(os.environ.get("ADANA_FUZZ", "9"))


def at_the_edge(name):
    """Arguments of a small run, with one option at the edge of what can be written for it."""
    small = SMALL.get(name, "--only schedules").split()
    for position, option in enumerate(dataclasses.fields(COMMANDS[name])):
        flag = "--" + option.name.replace("_", "-")
        start = small.index(flag) if flag in small else len(small)
        after = next((i for i in range(start + 1, len(small)) if small[i].startswith("--")), len(small))
        for value in EDGES[position % SHARE :: SHARE]:
            # The option stands at the end, where it also wins over the small run's own.
            yield [*small[:start], *small[after:], *([f"{flag}={value}"] if value[0] == "-" else [flag, value])]


def exit_code(arguments):
    """The exit code, and whether tyro itself refused what is no number."""
    try:
        return main(arguments), False
    except SystemExit as end:
        return end.code, True


@pytest.mark.parametrize("name", COMMANDS)
def test_a_value_at_the_edge_gives_a_result_or_one_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in at_the_edge(name):
        code, by_tyro = exit_code(["theory", name, *arguments])
        captured = capsys.readouterr()
        assert code in (0, 2), arguments
        if code == 2 and not by_tyro:
            assert captured.err.count("\n") == 1, arguments
            assert captured.err.startswith("adana theory: error: "), arguments
            assert len(captured.err) < 400, arguments
            assert captured.out == "", arguments


@pytest.mark.parametrize("name", ["plrf", "figures"])
def test_a_library_that_is_not_there_is_named_before_anything_is_computed(name, tmp_path, monkeypatch, capsys):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda x, *y: None if x == "matplotlib" else there(x, *y))
    monkeypatch.chdir(tmp_path)
    arguments = ["--plot", "plot.svg"] if name == "plrf" else []
    # Ten million steps would take an hour.
    more = ["--steps", "10000000"] if name == "plrf" else []
    assert main(["theory", name, *arguments, *more]) == 2
    assert capsys.readouterr().err == f"adana theory: error: {name} needs matplotlib: pip install 'adana[theory]'\n"
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path, capsys):
    (tmp_path / "folder.svg").mkdir()
    assert main(["theory", "plrf", "--steps", "10000000", "--plot", str(tmp_path / "folder.svg")]) == 2
    assert "folder.svg cannot be written" in capsys.readouterr().err


def test_help_names_every_optimizer(capsys):
    with pytest.raises(SystemExit):
        main(["theory", "plrf", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"Choose from {', '.join(SIMULATED)}." in shown


@pytest.mark.parametrize("name", ["plrf", "sweep", "sign-svd"])
def test_tables_fit_eighty_columns(name, capsys):
    assert main(["theory", name, *SMALL[name].split()]) == 0
    out = capsys.readouterr().out
    tables = [block for block in out.split("\n\n") if "curve" in block or "rule" in block or "kappa" in block]
    assert tables
    for block in tables:
        for line in block.splitlines():
            if "  " in line:  # a row; sentences are broken by the terminal
                assert len(line) <= 80, line
    assert "..." not in out
