"""Stored numbers: what codes keep, what rounding may do, and where its random bits come from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.optim import formats, places, randomness, storage

EVERY_NOISE = torch.arange(1 << 16, dtype=torch.int32)
NEAREST = 0x8000
magnitudes = st.floats(2.0**-120, 2.0**120, width=32)
numbers = st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False)
noises = st.integers(0, 0xFFFF)


def mean_over_all_noise(encode: Any, decode: Any, block: list[float]) -> torch.Tensor:
    """The mean of the stored values over all 65,536 values of the random bits: no sampling error."""
    blocks = torch.tensor(block).expand(len(EVERY_NOISE), -1)
    codes, scale = encode(blocks, EVERY_NOISE[:, None].expand_as(blocks))
    return decode(codes, scale).double().mean(0)


# --- magnitudes ---------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(magnitudes, min_size=1, max_size=9), noises)
def test_a_magnitude_comes_back_within_a_step_and_never_far_too_small(block, noise):
    x = torch.tensor(block)
    codes, scale = formats.encode_magnitude(x, torch.full(x.shape, noise, dtype=torch.int32))
    found = formats.decode_magnitude(codes, scale).double()
    x = x.double()
    window = float(scale)
    step = torch.where(x >= window * 2.0**-27, 2.0**-11, 2.0**-8)
    lifted = x < window * 2.0**-59
    assert ((found - x).abs() <= step * x)[~lifted].all()
    assert ((found >= x) & (found <= window * 2.0**-58))[lifted].all()
    assert (found > 0).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(magnitudes, min_size=1, max_size=4))
def test_the_mean_of_a_stored_magnitude_is_the_magnitude(block):
    found = mean_over_all_noise(formats.encode_magnitude, formats.decode_magnitude, block)
    top = max(block)
    for value, x in zip(found.tolist(), block):
        if x < top * 2.0**-58 or x / top > 1 - 2.0**-10:  # lifted, or at the end of the window
            continue
        assert value == pytest.approx(x, rel=2e-5 if x < top * 2.0**-26 else 3e-7)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(magnitudes, st.just(0.0)), min_size=1, max_size=9), noises, noises)
def test_what_does_not_change_is_not_rounded_again(block, noise, other):
    """Also where the block's largest value, and so its scale, is another by then."""
    x = torch.tensor(block)
    once = formats.decode_magnitude(*formats.encode_magnitude(x, torch.full(x.shape, noise, dtype=torch.int32)))
    grown = torch.cat([once, once.max()[None] * 4])
    again = formats.decode_magnitude(
        *formats.encode_magnitude(grown, torch.full(grown.shape, other, dtype=torch.int32))
    )
    fine = once >= float(once.max()) * 2.0**-24
    assert torch.equal(again[:-1][fine], once[fine])
    same = formats.decode_magnitude(*formats.encode_magnitude(once, torch.full(x.shape, other, dtype=torch.int32)))
    assert torch.equal(same, once)


@given(noises)
@settings(max_examples=20, deadline=None)
def test_zero_stays_zero_and_nothing_else_becomes_it(noise):
    x = torch.tensor([0.0, 1e-45, 1e-38, 1e-30, 1.0, 3e38])
    codes, scale = formats.encode_magnitude(x, torch.full(x.shape, noise, dtype=torch.int32))
    found = formats.decode_magnitude(codes, scale)
    assert codes[0] == 0
    assert found[0] == 0
    assert (found[1:] > 0).all()
    empty = formats.encode_magnitude(torch.zeros(4), torch.full((4,), noise, dtype=torch.int32))
    assert not empty[0].any()
    assert not empty[1].any()
    assert not formats.decode_magnitude(*empty).any()


# --- signed -------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=9), noises)
def test_a_signed_number_comes_back_within_a_step_of_the_square_law(block, noise):
    x = torch.tensor(block)
    codes, scale = formats.encode_signed(x, torch.full(x.shape, noise, dtype=torch.int32))
    found = formats.decode_signed(codes, scale).double()
    x, largest = x.double(), float(x.abs().max())
    step = (2 * (x.abs() * largest).sqrt() + largest / 32767) / 32767
    assert ((found - x).abs() <= step * (1 + 1e-3) + 2.0**-126 * 32767**2).all()
    assert ((found == 0) | (found.sign() == x.sign())).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1.0, 1.0, width=32), min_size=1, max_size=4))
def test_the_mean_of_a_stored_number_is_the_number(block):
    found = mean_over_all_noise(formats.encode_signed, formats.decode_signed, [*block, 1.0])
    for value, x in zip(found.tolist(), block):
        # A step is 2 sqrt(x) / 32767; the mean is off by the last of 16 random bits and the arithmetic's rounding.
        assert value == pytest.approx(x, abs=2e-7 * abs(x) + 1e-9 * math.sqrt(abs(x)) + 1e-14)


def test_an_outlier_costs_its_block_little():
    """Averages with unequal weights may leave one ratio thousands of times above the others."""
    x = torch.cat([torch.full((255,), 0.05), torch.tensor([500.0])])
    found = formats.decode_signed(*formats.encode_signed(x, NEAREST))
    assert ((found - x).abs() / x).max() < 4e-3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_hidden(bad):
    x = torch.rand(2, 256)
    x[0, 17] = bad
    for encode, decode in (
        (formats.encode_magnitude, formats.decode_magnitude),
        (formats.encode_signed, formats.decode_signed),
    ):
        if bad == -math.inf and encode is formats.encode_magnitude:
            continue
        found = decode(*encode(x, EVERY_NOISE[:512].view(2, 256)))
        assert not found[0].isfinite().any()
        assert encode is formats.encode_signed or found[0].isnan().all()
        assert found[1].isfinite().all()
    for rounded in (formats.round_bfloat16, formats.round_float16):
        found = rounded(x, EVERY_NOISE[-512:].view(2, 256))
        assert torch.equal(found[0].isnan(), x[0].isnan())
        assert torch.equal(found[0].isinf(), x[0].isinf())


# --- bfloat16 and float16 -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounded", "dtype", "largest"),
    [(formats.round_bfloat16, torch.bfloat16, 1e38), (formats.round_float16, torch.float16, 6e4)],
)
def test_a_narrow_number_is_a_neighbour_and_right_on_average(rounded, dtype, largest):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, generator=generator) * 10 ** (8 * torch.rand(40, generator=generator) - 6)
    x[:4] = torch.tensor([0.0, largest, -1.0, 2.0**-20])
    all_ways = rounded(x.expand(1 << 16, -1), EVERY_NOISE[:, None].expand(-1, 40))
    assert all_ways.dtype == dtype
    below = torch.nextafter(x.to(dtype), torch.tensor(-math.inf, dtype=dtype))
    above = torch.nextafter(x.to(dtype), torch.tensor(math.inf, dtype=dtype))
    assert ((all_ways >= below) & (all_ways <= above)).all()
    exact = x.to(dtype).float() == x
    assert (all_ways[:, exact].float() == x[exact]).all()
    spacing = (above.double() - below.double()) / 2
    assert ((all_ways.double().mean(0) - x.double()).abs() <= 2e-3 * spacing).all()


def test_rounding_to_nearest_is_torchs_but_for_ties():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(formats.round_bfloat16(x, NEAREST), x.bfloat16())
    assert torch.equal(formats.round_float16(x, NEAREST), x.half())


# --- random bits --------------------------------------------------------------------------------------


def numpy_words(seed: int, parameter: int, step: int, stream: int, elements: np.ndarray) -> np.ndarray:
    """The generator again, in the unsigned arithmetic that kernels use."""

    def mix(x: np.ndarray) -> np.ndarray:
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x7FEB352D)
        x = x ^ (x >> np.uint32(15))
        x = x * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))

    def word(value: int) -> np.ndarray:
        return np.array([value & 0xFFFFFFFF], dtype=np.uint32)

    start = mix(mix(word(seed) ^ word(0x9E3779B9)) ^ word(parameter))
    first = mix(start ^ word(2 * step + stream))
    second = mix(first ^ word(0x9E3779B9))
    x = elements.astype(np.uint32) ^ first
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = x ^ second
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5000), st.integers(0, 2**24), st.integers(0, 1), st.integers(0, 2**40))
def test_random_words_are_the_same_in_unsigned_arithmetic_and_from_a_step_on_the_device(seed, p, step, stream, first):
    place = places.Place(p, first)
    elements = np.arange(first % 2**32, first % 2**32 + 12, dtype=np.int64) & 0xFFFFFFFF
    expected = numpy_words(seed, p, step, stream, elements).view(np.int32)
    for t in (step, torch.tensor(float(step))):
        words = randomness.random_words(
            randomness.key(seed, p, t, stream), place.elements(torch.Size((3, 4)), torch.device("cpu"))
        )
        np.testing.assert_array_equal(words.flatten().numpy(), expected)


def bits_of(name: str = "exp_avg", n: int = 1 << 18, seed: int = 0, step: int = 5, parameter: int = 0) -> np.ndarray:
    bits = randomness.Bits(randomness.Randomness(seed, step, places.Place(parameter)))
    return bits(name, torch.empty(n)).numpy().astype(np.float64) / 65535 - 0.5


def test_random_bits_are_uniform():
    counts = np.histogram(bits_of(), bins=256)[0]
    expected = len(bits_of()) / 256
    assert 150 < ((counts - expected) ** 2 / expected).sum() < 370  # chi-squared of 255 degrees, 5 sigma


@pytest.mark.parametrize(
    "other",
    [{"name": "exp_avg_sq"}, {"name": "parameter"}, {"name": "tau"}, {"step": 6}, {"seed": 1}, {"parameter": 1}],
    ids=str,
)
def test_random_bits_of_other_steps_seeds_and_buffers_are_others(other):
    a, b = bits_of(), bits_of(**other)
    n = len(a)
    for shift in (0, 1, 128):
        assert abs(np.corrcoef(a[: n - shift], b[shift:])[0, 1]) < 5 / math.sqrt(n)


def test_neighbours_do_not_share_random_bits():
    a = bits_of()
    for shift in (1, 2, 255, 256):
        assert abs(np.corrcoef(a[:-shift], a[shift:])[0, 1]) < 5 / math.sqrt(len(a))


def test_a_part_has_the_random_bits_of_the_whole():
    shape = torch.Size((6, 8))
    device = torch.device("cpu")
    whole = places.Place(3).elements(shape, device)
    assert torch.equal(places.Place(3, 16).elements(torch.Size((3, 8)), device), whole[2:5])
    columns = places.Place(3, 4, (8, 1)).elements(torch.Size((6, 4)), device)
    assert torch.equal(columns, whole[:, 4:])
    far = places.Place(3, 2**33 + 5).elements(torch.Size((2,)), device)
    assert far.tolist() == [5, 6]


# --- blocks -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 300), st.integers(0, 100))
def test_blocks_never_cross_rows_and_codes_have_the_shape_of_the_parameter(rows, middle, length, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, middle, length)
    scales = formats.scales_shape(torch.Size(shape))
    assert scales == (rows, -(-middle * length // 256))
    v = torch.rand(shape, generator=generator) * 10.0 ** torch.arange(rows)[:, None, None]
    m = torch.randn(shape, generator=generator) * v.sqrt()
    stored = {
        "exp_avg": torch.zeros(shape, dtype=torch.int16),
        "exp_avg_sq": torch.zeros(shape, dtype=torch.int16),
        "exp_avg_scale": torch.zeros(scales),
        "exp_avg_sq_scale": torch.zeros(scales),
    }
    storage.encode(stored, {"exp_avg": m, "exp_avg_sq": v}, randomness.to_nearest)
    found = storage.decode(stored, torch.float32)
    torch.testing.assert_close(found["exp_avg_sq"], v, rtol=2.0**-12, atol=0)
    assert ((found["exp_avg"] - m).abs() / v.sqrt()).max() < 5e-4
    one = {name: x[-1:].contiguous() for name, x in stored.items()}
    for name, value in storage.decode(one, torch.float32).items():
        assert torch.equal(value, found[name][-1:])


def test_averages_are_relative_to_the_second_moment_that_was_stored():
    """So the rounding of the second moment does not show in the first."""
    generator = torch.Generator().manual_seed(0)
    v = torch.rand(4, 256, generator=generator) + 0.1
    m = 0.1 * torch.randn(4, 256, generator=generator) * v.sqrt()
    stored = {
        **{name: torch.zeros(4, 256, dtype=torch.int16) for name in ("exp_avg", "exp_avg_sq")},
        **{name: torch.zeros(4, 1) for name in ("exp_avg_scale", "exp_avg_sq_scale")},
    }
    bits = randomness.Bits(randomness.Randomness(0, 0, places.Place(0)))
    storage.encode(stored, {"exp_avg": m, "exp_avg_sq": v}, bits)
    found = storage.decode(stored, torch.float32)
    assert ((found["exp_avg_sq"] - v).abs() / v).mean() > 1e-4
    assert ((found["exp_avg"] - m).abs() / v.sqrt()).max() < 4e-5
