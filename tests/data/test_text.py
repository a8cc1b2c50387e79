from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.data import text


def test_the_library_is_split_by_file_about_one_in_twenty():
    corpus = text.standard_library()
    assert len(corpus.train) > 5_000_000, "the standard library is megabytes of text"
    share = len(corpus.held_out) / (len(corpus.train) + len(corpus.held_out))
    assert 0.02 < share < 0.10
    assert b"import" in corpus.held_out.tobytes()


def test_no_held_out_file_is_trained_on():
    corpus = text.standard_library()
    train = corpus.train.tobytes()
    documents = [document for document in corpus.held_out.tobytes().split(text.SEPARATOR) if len(document) > 2000]
    assert len(documents) > 10
    assert not [document[:80] for document in documents if document in train]


def test_the_split_hangs_on_the_name_alone():
    names = [f"package/module_{i}.py" for i in range(4000)]
    held = [name for name in names if text.is_held_out(name)]
    assert 0.035 < len(held) / len(names) < 0.065
    assert held == [name for name in names if text.is_held_out(name)]


def test_any_text_holds_out_the_end_of_each_file(tmp_path):
    for name, letter in (("a", b"a"), ("b", b"b")):
        (tmp_path / name).write_bytes(letter * 1000)
    corpus = text.text_files([tmp_path / "a", tmp_path / "b"])
    assert corpus.train.tobytes() == b"a" * 950 + b"\0" + b"b" * 950
    assert corpus.held_out.tobytes() == b"a" * 50 + b"\0" + b"b" * 50


def test_another_text_has_another_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    first = text.text_files([tmp_path / "a"]).sha256
    (tmp_path / "a").write_bytes(b"x" * 99 + b"y")
    assert text.text_files([tmp_path / "a"]).sha256 != first


@given(step=st.integers(0, 10**6), seed=st.integers(0, 10**4), batch_size=st.integers(1, 5), seq_len=st.integers(1, 40))
def test_a_batch_is_windows_of_the_text_and_a_function_of_seed_and_step(step, seed, batch_size, seq_len):
    tokens = (np.arange(100) % 251).astype(np.uint8)
    arguments = {"step": step, "seed": seed, "batch_size": batch_size, "seq_len": seq_len}
    windows = text.batch(tokens, **arguments)
    assert windows.shape == (batch_size, seq_len + 1)
    assert (np.diff(windows, axis=1) == 1).all(), "windows are contiguous"
    assert (windows == text.batch(tokens, **arguments)).all()


def test_batches_differ_from_step_to_step_and_seed_to_seed():
    tokens = np.arange(200, dtype=np.uint8)
    size = {"batch_size": 4, "seq_len": 8}
    a = text.batch(tokens, step=0, seed=0, **size)
    assert (a != text.batch(tokens, step=1, seed=0, **size)).any()
    assert (a != text.batch(tokens, step=0, seed=1, **size)).any()


def test_every_start_is_possible_the_last_one_included():
    tokens = np.arange(10, dtype=np.uint8)
    starts = {
        int(text.batch(tokens, step=s, seed=0, batch_size=8, seq_len=7)[i, 0]) for s in range(40) for i in range(8)
    }
    assert starts == {0, 1, 2}


@pytest.mark.parametrize("length", [33, 64, 65, 10_000])
def test_the_validation_set_is_fixed_and_within_the_text(length):
    held_out = (np.arange(length) % 251).astype(np.uint8)
    windows = text.validation_windows(held_out, seq_len=32, tokens=640)
    assert windows.shape == (min(20, max(1, (length - 1) // 32)), 33)
    assert (windows == text.validation_windows(held_out, seq_len=32, tokens=640)).all()
