"""What the commands that run many runs do alike."""

from __future__ import annotations

import pytest

from adana.cli import main
from tests.lab.engines import ThreadExecutor

SIZES = "--seq-len 32 --batch-size 2 --workers 1"
COMMANDS = {
    "race": f"{SIZES} --heads 1 --layers 1 --steps 8",
    "sweep": f"{SIZES} --heads 1 --layers 1 --steps 8 --optimizers adana",
    "ladder": f"{SIZES} --heads 1 2 3 --predict 4 --head-dim 4 --device cpu",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_text_that_changes_while_its_runs_wait_ends_the_command_before_one_is_done_on_it(
    command, tmp_path, monkeypatch, capsys
):
    text = tmp_path / "words.txt"
    text.write_text("some words to learn " * 2000)

    class Edited(ThreadExecutor):
        def _start(self, job):
            text.write_text("others that were not there " * 2000)
            return super()._start(job)

    monkeypatch.setattr(f"adana.cli.{command}.LocalExecutor", Edited)
    monkeypatch.chdir(tmp_path)
    assert main([command, *COMMANDS[command].split(), "--text", str(text), "--out", "runs"]) == 1
    *_, said = capsys.readouterr().err.splitlines()
    assert said.startswith(f"adana {command}: error: ")
    assert "began with other data" in said
    assert not list(tmp_path.glob("runs/**/result.json"))
