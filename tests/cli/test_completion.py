from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from adana.cli import COMMANDS, main
from tests.cli.fuzz import options_of

pytestmark = pytest.mark.slow

HARNESS = """
source "$1"; shift
complete -p adana
for line in "$@"; do
  read -ra COMP_WORDS <<< "adana $line"
  [[ $line == *" " || -z $line ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
  _tyro_adana
  printf '%s\\n' "${COMPREPLY[*]}"
done
"""


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What bash offers for each line that ends where the Tab key is pressed."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    from adana.cli.completion import script

    path = tmp_path_factory.mktemp("completion") / "adana"
    path.write_text(script("bash"))

    def complete(*lines: str) -> list[list[str]]:
        done = subprocess.run(
            ["bash", "-c", HARNESS, "bash", str(path), *lines], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        first, *offered = done.stdout.splitlines()
        assert first == "complete -o default -F _tyro_adana adana"
        return [line.split() for line in offered]

    return complete


def test_bash_completes_every_command_and_every_option(complete):
    named = dict.fromkeys(COMMANDS, "") | {"data": " build", "theory": " plrf"}
    commands, *options = complete("", *(f"{name}{inner} --" for name, inner in named.items()))
    assert set(COMMANDS) <= set(commands)
    for (name, inner), offered in zip(named.items(), options, strict=True):
        assert set(options_of(f"{name}{inner}")) <= set(offered), name


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tr", {"train"}),
        ("data ", {"build", "inspect", "-h", "--help"}),
        ("train small --optim", {"--optimizer"}),
        ("train small --init-optimizer ", {"fresh", "from-adamw"}),
        ("sweep --engine ", {"local", "ray", "slurm"}),
        ("train --text ", set()),  # then bash completes names of files
    ],
)
def test_bash_completes_words_and_choices(line, offered, complete):
    assert set(complete(line)[0]) == offered


def test_the_script_is_printed_for_other_shells_and_as_json(capsys):
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef adana")
    assert main(["completion", "bash", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shell"] == "bash"
