"""A sample of tests/train/damage.py: a few damages to the files of each command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.engines import ThreadExecutor
from tests.train.damage import SUBJECTS, cases, made, outcome

SAMPLE = 6


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.slow
def test_a_damaged_file_gives_the_same_result_or_one_line_with_its_name(name, tmp_path, monkeypatch):
    monkeypatch.setattr("adana.cli.sweep.LocalExecutor", ThreadExecutor)
    folder, whole = tmp_path / "here", tmp_path / "whole"
    before = made(name, folder, whole)
    every = list(cases(name, whole))
    step = len(every) // SAMPLE
    chosen = every[list(SUBJECTS).index(name) % step :: step]  # other kinds of damage for each
    assert len(chosen) >= SAMPLE
    for case in chosen:
        how, said = outcome(case, folder, whole, before)
        assert not said, (case.file, case.kind, case.what, how)
    assert Path.cwd() != folder
