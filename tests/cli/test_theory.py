from __future__ import annotations

import json

import pytest

from adana.cli import main
from adana.cli.theory import COMMANDS

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
