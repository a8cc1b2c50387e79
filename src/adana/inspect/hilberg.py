"""The Hilberg exponent of a text: how slowly its code length per byte approaches a limit.

A compressor that has read ``n`` bytes needs ``r(n)`` bits per byte for them all. For natural language ``r`` falls as a
power of ``n``, and the exponent ``beta`` bounds ADana's kappa in the paper's argument: ``kappa >= beta`` (Section M).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adana.inspect.compression import COMPRESSORS, Reader, code_lengths
from adana.scaling.intervals import Interval, t_interval

__all__ = ["FORMS", "Curve", "Fit", "Hilberg", "fit", "hilberg", "prefix_lengths"]

Form = Literal["power", "stretched"]
FORMS: tuple[Form, ...] = ("stretched", "power")
LEAST_POINTS = 8
EDGES = (0.02, 0.98)
RUN_TOKENS = 1 << 18


@dataclass(frozen=True)
class Fit:
    """A law through one curve.

    Attributes:
        form: ``"power"``: ``r(n) = rate + scale n^(exponent - 1)``, rate >= 0. ``"stretched"``: ``r(n) = rate
            exp(scale n^(exponent - 1))``, the paper's ansatz with ``rate = exp(h')``.
        exponent: beta.
        scale: A.
        rate: bits per byte in the limit of infinite text.
        misfit: root mean square of the relative residuals.
        at_edge: whether the best exponent lies at an end of the searched range (0.02 to 0.98): then it is not known.
    """

    form: Form
    exponent: float
    scale: float
    rate: float
    misfit: float
    at_edge: bool


@dataclass(frozen=True)
class Curve:
    """Code lengths of one compressor, or of a trained run.

    Attributes:
        compressor: ppm, zstd or lzma, or the run by its folder.
        lengths: bytes of text; of a run, tokens of its context.
        rates: bits per byte for the text of each length, a line for every start in the text.
        fits: of the mean over starts, one for each form.
        intervals: of the exponent, 95 % by Student's t over fits to the curve of each start, one for each form; None
            with one start, or where a start's exponent is at an edge.
    """

    compressor: str
    lengths: list[int]
    rates: list[list[float]]
    fits: list[Fit]
    intervals: list[Interval | None]


@dataclass(frozen=True)
class Hilberg:
    """What :func:`hilberg` found.

    Attributes:
        texts: names of the files.
        bytes: of all of them.
        starts: in how many places of the text reading began.
        curves: one for each compressor, then that of the run.
    """

    texts: list[str]
    bytes: int
    starts: int
    curves: list[Curve]


def fit(lengths: Sequence[float], rates: Sequence[float], form: Form = "stretched") -> Fit:
    """Fit a law to code lengths over text lengths.

    For a given exponent both laws are straight lines in ``n^(exponent - 1)``: least squares of relative errors.
    The exponent is searched on a grid of 0.002, then by golden section.

    Args:
        lengths: n, increasing.
        rates: r(n), above 0, in any unit.
        form: see :class:`Fit`.

    Raises:
        ValueError: fewer than four points, lengths that do not increase, rates that are not above 0.

    Source: Section M.1; Takahira et al. 2016.

    Example:
        >>> n = [2.0**k for k in range(8, 24)]
        >>> found = fit(n, [2 + 3 * x**-0.3 for x in n], "power")
        >>> round(found.exponent, 3), round(found.rate, 3)
        (0.7, 2.0)
    """
    n, r = np.asarray(lengths, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if n.shape != r.shape or n.ndim != 1 or len(n) < 4:
        raise ValueError(f"a fit needs at least 4 lengths and as many rates, got {n.shape} and {r.shape}")
    if not (np.isfinite(n).all() and (n > 0).all() and (np.diff(n) > 0).all()):
        raise ValueError("lengths must be above 0 and increase")
    if not (np.isfinite(r).all() and (r > 0).all()):
        raise ValueError("rates must be finite and above 0")

    def line(exponent: float) -> tuple[float, np.ndarray]:
        x = n ** (exponent - 1)
        weights = np.ones_like(r) if form == "stretched" else 1 / r
        y = np.log(r) if form == "stretched" else r
        design = np.stack((np.ones_like(x), x), axis=1) * weights[:, None]
        found = np.linalg.lstsq(design, y * weights, rcond=None)[0]
        if form == "power" and found[0] < 0:  # no text has a negative rate
            found = np.array([0.0, (design[:, 1] @ (y * weights)) / np.square(design[:, 1]).sum()])
        return float(np.square(design @ found - y * weights).sum()), found

    grid = np.arange(EDGES[0], EDGES[1] + 1e-9, 0.002)
    errors = [line(x)[0] for x in grid]
    k = int(np.argmin(errors))
    at_edge = k in (0, len(grid) - 1)
    exponent = float(grid[k])
    if not at_edge:
        exponent = _golden(lambda x: line(x)[0], float(grid[k - 1]), float(grid[k + 1]))
    error, (constant, scale) = line(exponent)
    rate = math.exp(constant) if form == "stretched" else float(constant)
    return Fit(form, exponent, float(scale), rate, math.sqrt(error / len(n)), at_edge)


def _golden(f: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import minimize_scalar

    return float(minimize_scalar(f, bounds=(low, high), method="bounded", options={"xatol": 1e-7}).x)


def prefix_lengths(total: int, least: int) -> list[int]:
    """Doubling lengths from ``least`` up to ``total``, which is the last.

    Raises:
        ValueError: too short for eight of them.

    >>> prefix_lengths(1000, 4)
    [4, 8, 16, 32, 64, 128, 256, 512, 1000]
    """
    needed = least << (LEAST_POINTS - 1)
    if total < needed:
        raise ValueError(
            f"a text of {total:,} bytes is too short: an exponent needs {LEAST_POINTS} doublings of the length from "
            f"{least:,} bytes on, which are {needed:,} bytes"
        )
    lengths = [least << k for k in range((total // least).bit_length())]
    # A last length just above the one before would count the same text twice.
    return [*lengths[:-1], total] if total < 1.5 * lengths[-1] else [*lengths, total]


def hilberg(
    texts: Sequence[str] = (),
    *,
    run: str | None = None,
    compressors: Sequence[str] = ("ppm",),
    starts: int = 4,
    least: int = 4096,
    most: int | None = None,
    memory: float = 1.0,
    progress: Callable[[str], None] | None = None,
) -> Hilberg:
    """Code length per byte over the length of the text, and the exponent of its fall.

    Args:
        texts: Files, read one after another as they are. They may be left out with a run.
        run: A run of adana train: beside the compressors, the loss of its newest checkpoint by position in the
            context, on the run's own held-out text.
        compressors: Any of ppm (adapts byte by byte; the usual choice), zstd, lzma.
        starts: Places in the text, evenly spaced, where reading begins; at the end it goes on from the beginning. The
            interval is over them: it says how much the place matters, not how another text would come out.
        least: Bytes of the shortest length; lengths double from there.
        most: Bytes of the longest length; default the whole text.
        memory: GiB that a compressor's model may take.
        progress: Is called with a line for every length of every start.

    Returns:
        Curves and fits.

    Raises:
        ValueError: a text too short (at least 128 times ``least``), or an argument out of range.
        ImportError: a compressor's package is missing.
        OSError: a file cannot be read.

    Source: Section M.
    """
    for name, value, low in (("starts", starts, 1), ("least", least, 256)):
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
    if not 0.01 <= memory <= 1024:
        raise ValueError(f"memory must be between 0.01 and 1024 GiB, got {memory}")
    for name in compressors:
        if name not in COMPRESSORS:
            raise ValueError(f"compressors must be of {', '.join(COMPRESSORS)}, got {name!r}")
    if not compressors:
        raise ValueError("compressors must name at least one")
    if not texts and run is not None:
        return Hilberg([], 0, starts, [_of_run(run, starts, progress)])
    reader = Reader(texts)
    total = reader.size if most is None else min(most, reader.size)
    lengths = prefix_lengths(total, least)
    curves = []
    for name in compressors:
        rates = []
        for k in range(starts):
            bits = []
            place = k * reader.size // starts
            for n, found in code_lengths(reader, place, lengths, name, memory=int(memory * (1 << 30))):
                bits.append(found / n)
                if progress is not None:
                    progress(f"{name}, start {k + 1} of {starts}: {n:,} bytes, {found / n:.4f} bits per byte")
            rates.append(bits)
        curves.append(curve(name, lengths, rates))
    if run is not None:
        curves.append(_of_run(run, starts, progress))
    return Hilberg([str(text) for text in texts], reader.size, starts, curves)


def _of_run(run: str, places: int, progress: Callable[[str], None] | None) -> Curve:
    from adana.inspect.context import context_lengths, held_out_windows, rates_by_context
    from adana.inspect.runs import open_run
    from adana.train.recipe import load_data

    kept = open_run(run)
    seq_len = kept.recipe.seq_len
    context_lengths(seq_len)  # refuses a short one before anything is read
    data = load_data(kept.recipe, verify=False)
    # As many as there are: the least is one for each place.
    tokens = max(places * seq_len, min(RUN_TOKENS, len(data.validation) - 1))
    windows = held_out_windows(data.validation, seq_len, tokens)

    def said(done: int) -> None:
        if progress is not None and (done % 256 == 0 or done == len(windows)):
            progress(f"run: {done:,} of {len(windows):,} sequences of {seq_len:,} tokens")

    model = kept.model(max(kept.folders))
    lengths, rates = rates_by_context(
        model, windows, places=places, bytes_per_token=data.bytes_per_token, progress=said
    )
    return curve(run, lengths, rates)


def curve(name: str, lengths: Sequence[int], rates: Sequence[Sequence[float]]) -> Curve:
    """Fit both forms to a compressor's code lengths."""
    mean = np.mean(np.asarray(rates), axis=0)
    intervals: list[Interval | None] = []
    for form in FORMS:
        each = [fit(lengths, one, form) for one in rates]
        known = len(each) > 1 and not any(one.at_edge for one in each)
        intervals.append(t_interval([one.exponent for one in each]) if known else None)
    return Curve(
        name, list(lengths), [list(one) for one in rates], [fit(lengths, mean, form) for form in FORMS], intervals
    )
