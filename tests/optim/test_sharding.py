"""Coded state on two ranks: sharded with its parameter, saved by torch's checkpoints, read again by one rank or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from adana import rules
from adana.train.distributed import leave
from tests.optim.cases import CLASSES, build
from tests.optim.tensors import assert_same

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")
CASES = [
    ("adana", {"state_dtype": "int16"}),
    ("dana-star", {"state_dtype": "int16", "param_rounding": "kahan"}),
    ("ademamix", {"state_dtype": "bfloat16"}),
    ("dana-star-mk4", {"tau_dtype": "float16"}),
]
OPTIONS = {"total_steps": 60, "rounding_seed": 3}


class Model(torch.nn.Module):
    """Rows of more and of less than a block, an odd number of them, and a vector."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in (("wide", (7, 300)), ("short", (6, 5)), ("vector", (9,)), ("single", (1, 40))):
            setattr(self, name, torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)))


def set_gradients(model: Model, step: int) -> None:
    for index, p in enumerate(model.parameters()):
        whole = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + index)).to(p.dtype)
        p.grad = distribute_tensor(whole, p.device_mesh, p.placements) if isinstance(p, DTensor) else whole


def made(case: int, sharded: bool) -> tuple[Model, Any]:
    name, options = CASES[case]
    model = Model(torch.bfloat16 if "param_rounding" in options else torch.float32)
    if sharded:
        from torch.distributed.fsdp import fully_shard

        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return model, build(name, list(model.parameters()), **OPTIONS, **options)


def train(model: Model, optimizer: Any, steps: range) -> None:
    for step in steps:
        set_gradients(model, step)
        optimizer.step()


def whole(x: torch.Tensor) -> torch.Tensor:
    if not isinstance(x, DTensor):
        return x
    if x.dtype == torch.int16:  # which neither gloo nor NCCL moves
        return x.to(torch.int32).full_tensor().to(torch.int16)
    return x.full_tensor()


def assert_same_as(plain: tuple[Model, Any], other: tuple[Model, Any]) -> None:
    assert_same([whole(p) for p in other[0].parameters()], list(plain[0].parameters()))
    for p, q in zip(plain[0].parameters(), other[0].parameters()):
        assert plain[1].state[p].keys() == other[1].state[q].keys()
        for key, x in plain[1].state[p].items():
            assert_same([whole(other[1].state[q][key])], [x])


def states(model: Model, optimizer: Any) -> dict[str, Any]:
    how = StateDictOptions(flatten_optimizer_state_dict=True)
    return {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=how),
    }


def load(model: Model, optimizer: Any, folder: str) -> None:
    held = states(model, optimizer)
    dcp.load(held, checkpoint_id=folder)
    set_model_state_dict(model, held["model"])
    how = StateDictOptions(flatten_optimizer_state_dict=True)
    set_optimizer_state_dict(model, optimizer, held["optimizer"], options=how)


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        for case in range(len(CASES)):
            plain, sharded = made(case, False), made(case, True)
            train(*plain, range(4))
            train(*sharded, range(4))
            assert_same_as(plain, sharded)
            for p in sharded[0].parameters():
                for key, x in sharded[1].state[p].items():
                    assert key == "step" or (isinstance(x, DTensor) and x.placements == (Shard(0),))
            dcp.save(states(*sharded), checkpoint_id=f"{folder}/two-{case}")
            again = made(case, True)
            load(*again, f"{folder}/two-{case}")
            load_from_one = made(case, True)
            load(*load_from_one, f"{folder}/one-{case}")
            train(*plain, range(4, 6))
            train(*again, range(4, 6))
            assert_same_as(plain, again)
            train(*load_from_one, range(4, 6))
            assert_same_as(plain, load_from_one)
        dist.barrier()  # a rank that leaves while the other still talks to it may take that one down
    finally:
        leave()


@pytest.mark.slow
def test_coded_state_shards_as_its_parameter_rounds_as_the_whole_and_reshards(tmp_path: Path):
    for case in range(len(CASES)):
        plain = made(case, False)
        train(*plain, range(4))
        dcp.save(states(*plain), checkpoint_id=f"{tmp_path}/one-{case}")
    mp.spawn(worker, args=(str(tmp_path),), nprocs=2)
    for case in range(len(CASES)):
        plain, loaded = made(case, False), made(case, False)
        load(*loaded, f"{tmp_path}/two-{case}")
        train(*plain, range(6))
        train(*loaded, range(4, 6))
        assert_same_as(plain, loaded)


@pytest.mark.parametrize(("saved", "mine"), [("int16", None), (None, "int16"), ("bfloat16", "int16")])
def test_a_distributed_checkpoint_of_another_format_is_refused_not_misread(tmp_path: Path, saved, mine):
    model, optimizer = Model(torch.float32), None
    optimizer = build("adana", list(model.parameters()), **OPTIONS, state_dtype=saved)
    train(model, optimizer, range(2))
    dcp.save(states(model, optimizer), checkpoint_id=str(tmp_path))
    other = Model(torch.float32)
    fresh = build("adana", list(other.parameters()), **OPTIONS, state_dtype=mine)
    with pytest.raises((CheckpointException, ValueError), match=r"convert_state|Missing key"):
        load(other, fresh, str(tmp_path))
    fresh = build("adana", list(other.parameters()), **OPTIONS, state_dtype=saved)
    load(other, fresh, str(tmp_path))
    fresh.convert_state(mine)
    train(other, fresh, range(2, 3))


def test_a_parameter_cut_across_its_blocks_is_refused_with_a_way_out():
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        for columns, fits in ((300, False), (1024, True)):
            local = torch.zeros(4, columns // 2)
            p = torch.nn.Parameter(DTensor.from_local(local, mesh, [Shard(1)], run_check=False))
            optimizer = build("adana", [p], **OPTIONS, state_dtype="int16")
            p.grad = torch.ones_like(p)
            if fits:
                optimizer.step()
                assert optimizer.state[p]["exp_avg_scale"].shape == (4, columns // 256)
            else:
                with pytest.raises(ValueError, match="dimension 0"):
                    optimizer.step()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int16"])
def test_the_momentum_of_muon_stays_distributed(state_dtype):
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        local = torch.ones(4, 300, dtype=torch.bfloat16)
        p = torch.nn.Parameter(DTensor.from_local(local, mesh, [Shard(0)], run_check=False))
        optimizer = build("muon", [p], **OPTIONS, state_dtype=state_dtype)
        for _ in range(2):
            p.grad = torch.ones_like(p)
            optimizer.step()
        for key, x in optimizer.state[p].items():
            assert key == "step" or (isinstance(x, DTensor) and x.placements == (Shard(0),))
        assert optimizer.state[p]["momentum_buffer"].dtype == getattr(torch, state_dtype)
        assert optimizer.state[p]["momentum_buffer"].to_local().any()
    finally:
        dist.destroy_process_group()


# --- Muon: matrices shared out over ranks ---------------------------------------------------------------

MATRICES = ((7, 6), (4, 9), (1, 5), (6, 3, 2, 2), (12, 5), (3, 8))


def muon_model(sharded: bool) -> tuple[Any, list[Any]]:
    generator = torch.Generator().manual_seed(1)
    model = torch.nn.Module()
    for index, shape in enumerate(MATRICES):
        model.register_parameter(f"p{index}", torch.nn.Parameter(torch.randn(shape, generator=generator)))
    if sharded:
        from torch.distributed.fsdp import fully_shard

        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    params = list(model.parameters())
    flat, deep = [p for p in params if p.ndim == 2], [p for p in params if p.ndim > 2]
    return model, [
        {"params": flat, "kind": "hidden", "weight_decay": 4.0},
        {"params": deep, "kind": "hidden", "weight_decay": 4.0, "stacked": False},
    ]


SHARED: list[tuple[str, dict[str, Any]]] = [
    ("muon", {}),
    ("log-muon", {"kappa": 0.7, "maximize": True}),
    ("muon", {"state_dtype": "bfloat16"}),
]


def muon_worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    exchange, orthogonalised = dist.all_to_all_single, rules.newton_schulz
    calls = {"exchanges": 0, "matrices": 0}

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **keywords)

        return call

    try:
        for name, options in SHARED:
            plain, sharded = muon_model(False), muon_model(True)
            mine, shared = (CLASSES[name](groups, lr=0.02, **OPTIONS, **options) for _, groups in (plain, sharded))
            train(plain[0], mine, range(3))
            dist.all_to_all_single, rules.newton_schulz = (
                counted("exchanges", exchange),
                counted("matrices", orthogonalised),
            )
            train(sharded[0], shared, range(3))
            dist.all_to_all_single, rules.newton_schulz = exchange, orthogonalised
            assert_same_as((plain[0], mine), (sharded[0], shared))
        worked = torch.tensor(calls["matrices"])
        dist.all_reduce(worked)
        assert worked == len(SHARED) * 3 * len(MATRICES), "every matrix is orthogonalised by one rank alone"
        assert calls["exchanges"] == len(SHARED) * 3 * 2 * 2, "two exchanges per group and step, whatever it holds"
        assert calls["matrices"] < worked, "and both have their share"
        dist.barrier()
    finally:
        leave()


@pytest.mark.slow
def test_muon_shares_its_matrices_over_ranks_and_equals_one_rank_to_the_bit(tmp_path: Path):
    mp.spawn(muon_worker, args=(str(tmp_path),), nprocs=2)
