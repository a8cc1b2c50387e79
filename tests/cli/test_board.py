from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from adana.cli.board import SweepBoard
from adana.lab.executors import Update, run_name
from adana.lab.sweep import Best
from adana.train.folder import Result
from adana.train.recipe import Recipe
from adana.train.run import Progress

CELL = Recipe("adana")
RUNS = [replace(CELL, lr=lr) for lr in (0.001, 0.002, 0.004, 0.008)]
RESULT = Result(2.5, None, [], [], 1.0, "text")


def seen(act):
    """The last picture that a terminal is shown while this is done to a board."""
    screen = io.StringIO()
    with SweepBoard(Console(file=screen, force_terminal=True, no_color=True, width=80)) as board:
        act(board)
    return screen.getvalue().split("optimizer ")[-1].splitlines()


def bar(lines):
    (line,) = [line for line in lines if "known so far" in line]
    return line.count("━") + line.count("╸") / 2, line


def test_the_bar_moves_within_runs_and_not_only_when_one_has_ended():
    def some(board, step):
        board.submitted(4)
        board.ended(RUNS[0], RESULT)
        board.update(Update(run_name(RUNS[1]), Progress(step, 100, 3.0, None, 1.0)))

    early, line = bar(seen(lambda board: some(board, 10)))
    late, _ = bar(seen(lambda board: some(board, 90)))
    assert "1/4 runs known so far, 1 under way" in line
    assert 8 < early < 9.5
    assert 14 < late < 16, "of 32: a run and nine tenths out of four"


def test_a_run_that_has_ended_is_under_way_no_more():
    def all_of_it(board):
        board.submitted(1)
        board.update(Update(run_name(RUNS[0]), Progress(99, 100, 3.0, None, 1.0)))
        board.ended(RUNS[0], RESULT)

    length, line = bar(seen(all_of_it))
    assert length == 32
    assert "1/1 runs known so far, 0 under way" in line


def test_the_table_has_the_best_so_far_and_its_curvature_and_bracket_when_the_search_has_ended():
    def row(finished):
        best = Best("adana", {"kappa": 0.85}, 0.002, 2.5, 1, finished, 2, 0.0625 if finished else None)
        (line,) = [line for line in seen(lambda board: board.best(0, best, finished)) if "adana" in line]
        return line.split()

    assert row(False) == ["adana", "2", "kappa=0.85", "0.002", "2.5000", "..."]
    assert row(True) == ["adana", "2", "kappa=0.85", "0.002", "2.5000", "0.0625", "yes"]


def test_rows_of_a_grid_can_be_told_apart_on_a_narrow_terminal():
    """The paper's decays: what the cell is called, and omega, which follows the learning rate."""
    best = Best("dana-star-mk4", {"damping_scale": 0.125, "weight_decay": 0.001875}, 0.0004883, 2.5, 1, True, 2, 0.05)
    best = replace(best, coupled=0.03)
    shown = "".join("".join(seen(lambda board: board.best(0, best, True))).split())
    assert "coupled=0.03" in shown
    assert "damping_scale=0.125,weight_decay=0.001875" in shown
