"""The paper's ladders to the last printed digit, and the formulas against the models themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.models import (
    Counts,
    EnokiConfig,
    Qwen3Config,
    build,
    count,
    flops_per_token,
    horizon,
    petaflop_days,
    petaflop_hours,
)
from tests.models import tables
from tests.models.tables import as_printed

CONFIGS = {"Enoki": EnokiConfig, "Qwen3": Qwen3Config}


@pytest.mark.parametrize("row", tables.TABLE_1, ids=lambda row: row[0])
def test_table_1(row):
    total, layers, heads, non_embedding, compute = row
    config = EnokiConfig(heads=heads)
    counts = count(config)
    assert counts.layers == layers
    assert as_printed(counts.total_parameters, total) == total
    assert as_printed(counts.non_embedding_parameters, non_embedding) == non_embedding
    assert as_printed(petaflop_hours(config, horizon(config)), compute) == compute


@pytest.mark.parametrize("row", tables.TABLE_6, ids=lambda row: row[0])
def test_table_6(row):
    total, layers, width, hidden = row
    config = EnokiConfig(heads=width // 64)
    assert as_printed(count(config).total_parameters, total) == total
    assert (config.depth, config.width, config.hidden) == (layers, width, hidden)
    assert config.heads == 4 * layers / 3


@pytest.mark.parametrize("row", tables.TABLE_7, ids=lambda row: row[1])
def test_table_7(row):
    heads, total, non_embedding, tokens, compute = row
    config = EnokiConfig(heads=heads)
    counts = count(config)
    assert as_printed(counts.total_parameters, total) == total
    assert as_printed(counts.non_embedding_parameters, non_embedding) == non_embedding
    assert as_printed(horizon(config), tokens) == tokens
    ours = as_printed(petaflop_days(config, horizon(config)), compute)
    assert ours == compute or (compute, ours) in tables.TABLE_7_SLIPS


@pytest.mark.parametrize("row", tables.TABLE_18, ids=lambda row: row[0])
def test_table_18(row):
    name, layers, width, head_dim, ratio = row
    for heads in (4, 8, 16):
        config = CONFIGS[name](heads=heads)
        assert (config.depth, config.width, config.head_dim) == (layers(heads), width(heads), head_dim)
        assert config.depth / config.width == ratio


@pytest.mark.parametrize("row", tables.TABLE_19, ids=lambda row: row[1])
def test_table_19(row):
    heads, size = row
    assert as_printed(count(Qwen3Config(heads=heads)).total_parameters, size) == size


@pytest.mark.parametrize("row", tables.STEPS)
def test_the_horizons_of_f_2_and_h(row):
    heads, tokens_per_step, steps = row
    assert horizon(EnokiConfig(heads=heads), tokens_per_step=tokens_per_step) == steps


def test_the_real_enoki_is_the_published_one_and_its_norms():
    counts = count(EnokiConfig(heads=6))
    assert counts.total_parameters == 45_711_360
    assert counts.model_parameters == 45_711_360 + counts.norms
    assert as_printed(counts.model_parameters, "45.715M") == "45.715M"


def test_a_qwen3_layer_has_fourteen_squares_and_its_norms_and_not_twelve():
    counts = count(Qwen3Config(heads=6))
    assert counts.matrices == 14 * 768**2 * 12
    assert counts.per_layer == 14 * 768**2 + 2 * 128 + 2 * 768
    assert counts.model_parameters == counts.total_parameters == 176_379_648


sizes = st.integers(1, 4)
overrides = st.fixed_dictionaries(
    {"heads": sizes, "vocab_size": st.integers(1, 70)},
    optional={"layers": sizes, "head_dim": st.sampled_from([2, 8]), "embedding_dim": sizes, "mlp_dim": sizes},
)
experts = st.fixed_dictionaries({}, optional={"experts": st.integers(2, 4), "active": st.integers(1, 2)})


@settings(max_examples=60)
@given(kind=st.sampled_from(sorted(CONFIGS)), options=overrides, more=experts)
def test_published_formulas_are_sums_of_the_models_own_parts(kind, options, more):
    if kind == "Enoki" and "experts" in more:
        options = options | more
    config = CONFIGS[kind](**options)
    counts = count(config)
    with torch.device("meta"):
        model = build(config)
    assert counts.model_parameters == sum(p.numel() for p in model.parameters())
    assert counts.per_layer == config.parameters_per_layer
    assert counts.non_embedding_parameters == config.non_embedding_parameters
    assert counts.total_parameters == config.total_parameters


def test_compute_formulas_have_the_papers_coefficients():
    for config, coefficient in ((EnokiConfig(heads=8), 72), (Qwen3Config(heads=8), 84)):
        squares = coefficient * config.depth * config.width**2
        assert flops_per_token(config, formula="6P") == squares
        assert flops_per_token(config, formula="6N") == squares + 6 * 50304 * config.width
        attention = 12 * config.depth * config.width * 512
        assert flops_per_token(config, formula="M", seq_len=512) == squares + attention
    narrow = EnokiConfig(heads=8, embedding_dim=64)
    assert (
        flops_per_token(narrow, formula="M", seq_len=512) - flops_per_token(narrow, formula="6P") == 12 * 6 * 512 * 512
    )
    with pytest.raises(ValueError, match="'8N'"):
        flops_per_token(EnokiConfig(heads=8), formula="8N")


def test_compute_of_a_mixture_counts_the_active_experts_only():
    dense, mixture = EnokiConfig(heads=2), EnokiConfig(heads=2, experts=8, active=2)
    one = count(dense)
    counts = count(mixture)
    assert counts.mlp == 8 * one.mlp
    assert counts.router == 8 * 128 * counts.layers
    assert counts.active_matrices == one.attention + 2 * one.mlp + counts.router
    assert flops_per_token(mixture, formula="6P") == 6 * counts.active_matrices


def test_counting_the_largest_model_makes_no_weights():
    """Ten gigabytes of weights, were they made; on the meta device the whole ladder takes no memory."""
    with torch.device("meta"):
        model = build(EnokiConfig(heads=41))
    assert all(p.is_meta for p in model.parameters())
    assert isinstance(count(EnokiConfig(heads=41)), Counts)


@pytest.mark.parametrize("tokens_per_step", [0, 10**12])
def test_a_horizon_shorter_than_a_step_is_refused(tokens_per_step):
    with pytest.raises(ValueError, match=f"{tokens_per_step:,}"):
        horizon(EnokiConfig(heads=6), tokens_per_step=tokens_per_step)


def test_what_is_no_configuration_is_refused():
    with pytest.raises(TypeError, match="'enoki'"):
        build("enoki")
