from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from adana.cli import COMMANDS, main
from adana.theory.experiments import EXPERIMENTS


def test_help_lists_every_command(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


# Commands that have commands of their own, and some of those.
WITHIN = {"data": ["build", "inspect"], "theory": ["plrf", "kappa-map"]}
ALL = [" ".join((name, inner)).strip() for name in COMMANDS for inner in WITHIN.get(name, [""])]


@pytest.mark.parametrize("command", ALL)
def test_every_command_explains_its_options(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: adana {command}" in printed
    assert "--json" in printed


def test_no_help_leaves_a_default_empty_or_a_placeholder_of_types(capsys):
    for command in [*ALL, *(f"theory {name}" for name in EXPERIMENTS if name not in WITHIN["theory"])]:
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for unclear in ("(default: )", "(default: None)", "{None", "[STR", "(default: False)"):
            assert unclear not in printed, command


def test_an_unknown_command_is_one_line_with_exit_code_2(capsys):
    assert main(["rase"]) == 2
    assert "'rase'" in capsys.readouterr().err


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "adana", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("adana 0.")


@pytest.mark.slow
def test_output_that_nobody_reads_to_its_end_is_no_error():
    command = [sys.executable, "-m", "adana", "plan", "--heads", "8", "--optimizer", "adana", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


@pytest.mark.parametrize("while_it", ["is loaded", "runs"])
def test_ctrl_c_before_a_command_has_anything_to_keep_is_one_line(while_it, capsys, monkeypatch):
    def interrupt(argv):
        raise KeyboardInterrupt

    loaded = {"is loaded": interrupt, "runs": lambda name: SimpleNamespace(run=interrupt)}
    monkeypatch.setattr("importlib.import_module", loaded[while_it])
    assert main(["sweep"]) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "adana sweep: interrupted\n")
