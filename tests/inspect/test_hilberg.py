"""The Hilberg exponent: fits on curves whose exponent is known, code lengths, and the command."""

from __future__ import annotations

import json
import lzma
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.cli import main
from adana.data.santa_fe import SantaFe
from adana.inspect.compression import COMPRESSORS, Reader, code_lengths
from adana.inspect.hilberg import fit, hilberg, prefix_lengths

N = np.geomspace(1e2, 1e6, 25)


def santa_fe_rate(n: np.ndarray, exponent: float, symbols: int = 100_000) -> np.ndarray:
    """Bits per statement of a Santa Fe process, exactly: its subjects' entropy and the facts met so far."""
    p = SantaFe(exponent=exponent, symbols=symbols).probabilities()
    met = np.array([-np.expm1(x * np.log1p(-p)).sum() for x in n])
    return -(p * np.log2(p)).sum() + met / n


@given(exponent=st.floats(0.1, 0.9), rate=st.floats(0.3, 4.0), scale=st.floats(0.2, 5.0))
@settings(max_examples=30, deadline=None)
def test_a_fit_finds_the_law_that_made_the_curve(exponent, rate, scale):
    x = N ** (exponent - 1)
    for form, rates in (("power", rate + scale * x), ("stretched", rate * np.exp(scale * x))):
        found = fit(N, rates, form)
        assert found.exponent == pytest.approx(exponent, abs=2e-3)
        assert found.rate == pytest.approx(rate, rel=0.02)
        assert not found.at_edge


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7, 0.88])
def test_the_exponent_of_a_santa_fe_process_is_found_from_its_exact_entropy(exponent):
    # 1e6 facts behave as infinitely many up to the 1e6 statements used here.
    rates = santa_fe_rate(N, exponent, 1_000_000)
    assert fit(N, rates, "power").exponent == pytest.approx(exponent, abs=0.04 if exponent == 0.3 else 0.03)


@pytest.mark.parametrize("offset", [0.0, -0.4])
def test_the_rate_of_the_power_law_is_never_negative(offset):
    found = fit(N, 3 * N**-0.1 + offset, "power")
    assert found.rate >= 0
    if not offset:
        assert found.exponent == pytest.approx(0.9, abs=0.01)
    else:
        assert found.exponent < 0.9  # it falls faster than n^-0.1


def test_an_exponent_that_the_curve_does_not_tell_is_said_to_be_at_an_edge():
    assert fit(N, 5 - 0.2 * np.log(N), "stretched").at_edge


@pytest.mark.parametrize(
    ("lengths", "rates", "words"),
    [
        ([1, 2, 3], [3, 2, 1], "at least 4"),
        ([1, 2, 2, 3], [4, 3, 2, 1], "increase"),
        ([1, 2, 3, 4], [4, 3, 0, 1], "above 0"),
        ([1, 2, 3, 4], [4, 3, float("nan"), 1], "finite"),
    ],
)
def test_a_fit_refuses_what_is_no_curve(lengths, rates, words):
    with pytest.raises(ValueError, match=words):
        fit(lengths, rates)


@given(total=st.integers(512, 10**9), least=st.integers(1, 4))
def test_lengths_double_and_end_with_the_text(total, least):
    lengths = prefix_lengths(total, least)
    assert lengths[0] == least
    assert lengths[-1] == total
    assert len(lengths) >= 8
    assert all(1.49 <= b / a < 3.01 for a, b in pairwise(lengths))


# --- code lengths ---------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path):
    """Two files of 40,000 bytes together, and their content."""
    content = b"".join(piece.text for piece in SantaFe(exponent=0.6, count=20, symbols=1000).pieces())[:40_000]
    (tmp_path / "a.txt").write_bytes(content[:13_000])
    (tmp_path / "b.txt").write_bytes(content[13_000:])
    return [tmp_path / "a.txt", tmp_path / "b.txt"], content


def test_reading_from_a_place_on_goes_round_the_text_once(text):
    files, content = text
    for start in (0, 5, 12_999, 13_000, 39_999):
        pieces = list(Reader(files).pieces(start, [10, 20_000, 40_000]))
        assert b"".join(pieces) == content[start:] + content[:start]
        assert {10, 20_000, 40_000} <= set(np.cumsum([len(piece) for piece in pieces]).tolist())


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_code_length_is_what_the_compressor_gives_for_that_text_alone(compressor, text):
    files, content = text
    found = dict(code_lengths(Reader(files), 7, [1000, 40_000], compressor))
    rolled = content[7:] + content[:7]
    if compressor == "ppm":
        pyppmd = pytest.importorskip("pyppmd")
        encoder = pyppmd.Ppmd7Encoder(8, 1 << 30)
        whole = len(encoder.encode(rolled)) + len(encoder.flush())
    elif compressor == "zstd":
        whole = len(pytest.importorskip("zstandard").ZstdCompressor(level=19).compress(rolled))
    else:
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
        whole = len(lzma.compress(rolled, lzma.FORMAT_RAW, filters=filters))
    # Zstandard's flush after 1,000 bytes ends a block.
    assert found[40_000] / 8 == pytest.approx(whole, abs=0.03 * whole if compressor == "zstd" else 30)
    assert 0 < found[1000] < 8 * 1000
    assert found[1000] / 1000 > found[40_000] / 40_000


def test_a_file_that_becomes_shorter_is_named(text):
    files, _ = text
    reader = Reader(files)
    files[1].write_bytes(b"short")
    with pytest.raises(ValueError, match=r"b\.txt became shorter"):
        list(reader.pieces(0, [40_000]))


# --- the whole ------------------------------------------------------------------------------------------


def test_a_text_gives_curves_fits_and_an_interval(text):
    lines: list[str] = []
    found = hilberg([str(path) for path in text[0]], least=256, starts=3, progress=lines.append)
    (curve,) = found.curves
    assert found.bytes == 40_000
    assert len(curve.rates) == 3
    assert curve.lengths[-1] == 40_000
    assert len(lines) == 3 * len(curve.lengths)
    assert np.diff(np.mean(curve.rates, axis=0)).max() < 0
    for law, interval in zip(curve.fits, curve.intervals):
        assert interval is None or interval.low < interval.high
        assert law.misfit < 0.05


def test_the_command_prints_json_and_draws(text, tmp_path, capsys):
    names = [str(path) for path in text[0]]
    figure = tmp_path / "h.svg"
    assert main(["inspect", "hilberg", *names, "--least", "256", "--starts", "2", "--json", "--plot", str(figure)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == 40_000
    assert figure.read_text().startswith("<?xml")
    assert main(["inspect", "hilberg", *names, "--least", "256", "--starts", "1"]) == 0
    assert "Hilberg exponent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "too short: an exponent needs 8 doublings of the length from 4,096 bytes on, which are 524,288 bytes"),
        (["--starts", "0"], "starts must be at least 1, got 0"),
        (["--memory", "nan"], "memory must be between"),
        (["--compressors", "gzip"], "compressors must be of ppm, zstd, lzma, got 'gzip'"),
        (["--most", "10"], "a text of 10 bytes is too short"),
    ],
)
def test_too_little_text_and_odd_options_are_one_line(more, words, text, capsys):
    assert main(["inspect", "hilberg", *map(str, text[0]), *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert words in " ".join(said)


@pytest.mark.parametrize("name", ["", ".", "missing.txt", "/dev/zero"])
def test_what_is_no_file_is_refused(name, capsys):
    assert main(["inspect", "hilberg", name]) == 2
    assert capsys.readouterr().err.count("\n") <= 3
