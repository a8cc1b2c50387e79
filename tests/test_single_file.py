"""The single files take the steps of the package's optimizers, which the tests in tests/optim hold to the rules."""

from __future__ import annotations

import ast

import pytest
import torch

from adana import AdamW, ADana, catalog
from adana.single_file import FILES, source

STEPS = 30
OURS = {"adana": ADana, "adamw-dw": AdamW}


def _class(name):
    space: dict = {"__name__": name}
    exec(compile(source(name), FILES[name], "exec"), space)  # as a module of its own, which is what is exported
    return space[OURS[name].__name__]


def _steps(kind, dtype, **options):
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (5,), (4, 2), (2,)]
    params = [torch.nn.Parameter(torch.randn(shape, generator=draw, dtype=dtype)) for shape in shapes]
    groups = [{"params": params[:2]}, {"params": params[2:], "weight_decay": 1.5, "lr": 0.02}]
    optimizer = kind(groups, 0.01, total_steps=STEPS, **options)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))
    for _ in range(STEPS):
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw, dtype=dtype)
        optimizer.step()
        scheduler.step()
    return params


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adana", {}),
        ("adana", {"kappa": 0.7, "delta": 4.0, "weight_decay": 2.0, "damping_scale": 0.5, "eps": 1e-6}),
        ("adana", {"weight_decay": 0.0}),
        ("adamw-dw", {}),
        ("adamw-dw", {"betas": (0.8, 0.95), "weight_decay": 2.0, "eps": 1e-6}),
    ],
)
def test_a_single_file_takes_the_steps_of_the_package(name, options, dtype, tolerance):
    for own, single in zip(_steps(OURS[name], dtype, **options), _steps(_class(name), dtype, **options), strict=True):
        torch.testing.assert_close(single, own, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", FILES)
def test_a_single_file_imports_torch_alone_and_is_short(name):
    text = source(name)
    assert len(text.splitlines()) < 150
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [alias.name for node in imports for alias in node.names] == ["torch"]
    default = catalog.find(name).options["weight_decay"].default
    assert _class(name)([torch.nn.Parameter(torch.ones(2))], 0.1, total_steps=9).defaults["weight_decay"] == default


@pytest.mark.parametrize("name", FILES)
def test_a_single_file_goes_on_from_its_checkpoint(name):
    def made():
        p = torch.nn.Parameter(torch.ones(3, 3))
        return p, _class(name)([p], 0.1, total_steps=9)

    p, optimizer = made()
    for step in range(4):
        if step == 2:
            saved = p.detach().clone(), optimizer.state_dict()
            p, optimizer = made()
            p.data.copy_(saved[0])
            optimizer.load_state_dict(saved[1])
        p.grad = torch.full_like(p, 1.0 + step)
        optimizer.step()
    whole, other = made()
    for step in range(4):
        whole.grad = torch.full_like(whole, 1.0 + step)
        other.step()
    assert torch.equal(p, whole)


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"lr": 0.1, "total_steps": 0}, {"lr": 0.1, "weight_decay": -1.0}])
@pytest.mark.parametrize("name", FILES)
def test_a_single_file_refuses_what_cannot_be(name, options):
    with pytest.raises(ValueError, match=r"must be a finite number .* got (-1|0)"):
        _class(name)([torch.nn.Parameter(torch.ones(2))], **{"total_steps": 9, **options})


def test_there_is_no_file_of_another_optimizer():
    with pytest.raises(ValueError, match="choose from adana, adamw-dw"):
        source("muon")
