from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.data import text
from adana.data.batches import Batches, TokenStream, permute

ORDERS = ["random", "permuted"]


def stream(length: int, *cuts: int) -> TokenStream:
    """0, 1, 2, ...: a window's first token is its start."""
    return TokenStream(np.split(np.arange(length, dtype=np.uint32), sorted(cuts)))


@given(length=st.integers(1, 60), cuts=st.lists(st.integers(0, 60), max_size=5), data=st.data())
def test_windows_do_not_see_where_shards_end(length, cuts, data):
    cut = stream(length, *(c for c in cuts if c <= length))
    window = data.draw(st.integers(1, length))
    starts = np.array(data.draw(st.lists(st.integers(0, length - window), max_size=6)), dtype=np.int64)
    assert len(cut) == length
    assert (cut.windows(starts, window) == starts[:, None] + np.arange(window)).all()


@pytest.mark.parametrize("start", [-1, 6])
def test_a_window_beyond_the_stream_is_an_error_and_not_a_shorter_one(start):
    with pytest.raises(IndexError, match="leave the stream of 10"):
        stream(10, 4).windows(np.array([start]), 5)


def test_no_tokens_at_all_are_an_empty_stream():
    assert len(TokenStream([])) == 0


@given(size=st.one_of(st.integers(1, 300), st.integers(1, 20_000)), seed=st.lists(st.integers(0, 2**40), max_size=3))
def test_a_permutation_hits_every_index_once(size, seed):
    assert (np.sort(permute(np.arange(size), size, seed=seed)) == np.arange(size)).all()


@given(size=st.integers(1, 2**45), seed=st.integers(0, 2**32), data=st.data())
def test_a_permutation_is_seekable_at_any_size(size, seed, data):
    """Each index by itself goes where it goes among others."""
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5)))
    together = permute(index, size, seed=[seed])
    assert ((together >= 0) & (together < size)).all()
    assert [int(permute(i, size, seed=[seed])) for i in index] == together.tolist()


@pytest.mark.parametrize("size", [5, 64, 200])
def test_a_permutation_sends_an_index_anywhere_equally_often(size):
    """Over seeds, chi-squared of where the first and the middle index go, within five standard deviations."""
    seeds = 40 * size if size < 100 else 10 * size
    for index in (0, size // 2):
        landed = np.concatenate([permute(np.array([index]), size, seed=[s]) for s in range(seeds)])
        expected = seeds / size
        chi_squared = ((np.bincount(landed, minlength=size) - expected) ** 2 / expected).sum()
        assert abs(chi_squared - (size - 1)) < 5 * np.sqrt(2 * (size - 1))


def test_neighbours_do_not_stay_neighbours():
    size = 10_000
    moved = permute(np.arange(size), size, seed=[3])
    assert abs(np.corrcoef(np.arange(size), moved)[0, 1]) < 0.05
    assert (np.abs(np.diff(moved)) == 1).mean() < 0.002


@given(
    step=st.integers(0, 10**6),
    order=st.sampled_from(ORDERS),
    ranks=st.integers(1, 4),
    micro_batches=st.integers(1, 4),
    rows=st.integers(1, 3),
)
def test_the_batch_is_the_same_for_any_number_of_ranks_and_micro_batches(step, order, ranks, micro_batches, rows):
    batches = Batches(stream(500, 123), ranks * micro_batches * rows, seq_len=16, seed=2, order=order)
    parts = [
        batches.batch(step, rank=rank, ranks=ranks, micro_batch=micro_batch, micro_batches=micro_batches)
        for micro_batch in range(micro_batches)
        for rank in range(ranks)
    ]
    assert all(part.shape == (rows, 17) for part in parts)
    assert (np.concatenate(parts) == batches.batch(step)).all()


@given(length=st.integers(9, 200), batch_size=st.integers(1, 12), seed=st.integers(0, 9))
def test_permuted_windows_are_each_seen_once_an_epoch(length, batch_size, seed):
    batches = Batches(stream(length), batch_size, seq_len=8, seed=seed, order="permuted")
    windows = batches.windows_per_epoch
    epochs = 3
    starts = np.concatenate([batches.starts(step) for step in range(-(-epochs * windows // batch_size))])
    for epoch in range(epochs):
        assert sorted(starts[epoch * windows : (epoch + 1) * windows]) == [8 * i for i in range(windows)]


def test_every_epoch_has_another_order():
    batches = Batches(stream(8 * 50 + 1), 50, seq_len=8, order="permuted")
    assert batches.windows_per_epoch == 50
    assert (batches.starts(0) != batches.starts(1)).mean() > 0.8


def test_the_last_target_of_a_permuted_window_is_the_first_token_of_the_next():
    """So that every token but the first is predicted once an epoch, and none twice."""
    batches = Batches(stream(33), 4, seq_len=8, order="permuted")
    targets = np.sort(batches.batch(0)[:, 1:].ravel())
    assert (targets == np.arange(1, 33)).all()


@given(step=st.integers(0, 10**5), seed=st.integers(0, 99))
def test_random_windows_are_the_races(step, seed):
    tokens = (np.arange(1000) % 251).astype(np.uint8)
    mine = Batches(TokenStream([tokens]), batch_size=4, seq_len=32, seed=seed).batch(step)
    assert (mine == text.batch(tokens, step=step, seed=seed, batch_size=4, seq_len=32)).all()


@given(step=st.integers(0, 2**40), seed=st.integers(0, 2**32), length=st.integers(40, 10**12))
def test_the_races_starts_are_one_generators_draw_a_step(step, seed, length):
    """Written out, because the results in results/ were measured on these very windows."""

    class Endless(TokenStream):
        def __init__(self) -> None: ...

        def __len__(self) -> int:
            return length

    expected = np.random.default_rng([seed, step]).integers(0, length - 32, size=4)
    assert (Batches(Endless(), batch_size=4, seq_len=32, seed=seed).starts(step) == expected).all()


@pytest.mark.parametrize("order", ORDERS)
def test_the_shortest_stream_has_one_window_and_a_shorter_one_none(order):
    batches = Batches(stream(9), batch_size=2, seq_len=8, order=order)
    assert (batches.batch(5) == np.arange(9)).all()
    with pytest.raises(ValueError, match="seq_len=8 needs 9 tokens and the training text has 8"):
        Batches(stream(8), batch_size=2, seq_len=8, order=order)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seq_len": 0}, "seq_len must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"order": "shuffled"}, "'shuffled'"),
    ],
    ids=str,
)
def test_impossible_batches_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        Batches(stream(100), **({"batch_size": 2, "seq_len": 8} | options))


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"ranks": 4}, "6 sequences .* 4 ranks and 1 micro"),
        ({"micro_batches": 0}, "0 micro"),
        ({"ranks": 2, "rank": 2}, "no rank 2 of 2"),
        ({"micro_batches": 3, "micro_batch": -1}, "no micro-batch -1 of 3"),
    ],
    ids=str,
)
def test_a_part_there_is_not_is_refused(part, told):
    with pytest.raises(ValueError, match=told):
        Batches(stream(100), 6, 8).batch(0, **part)
