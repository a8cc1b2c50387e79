"""What a constructor takes, beside the ranges of its values: groups with their own lr, any pair, seeds."""

from __future__ import annotations

import ast
import collections
import inspect
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import adana
from tests.optim.cases import CLASSES, PLAIN, PLAIN_IDS, groups
from tests.optim.tensors import MATRIX_RULES, assert_same, parameters, train

family = pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)


@family
def test_lr_may_be_left_out_where_every_group_has_its_own(name, options):
    params, twins = parameters(name), parameters(name)
    kind = {"kind": "hidden"} if name in MATRIX_RULES else {}
    own = [{"params": params[:2], "lr": 0.01, **kind}, {"params": params[2:], "lr": 0.02, **kind}]
    optimizer = CLASSES[name](own, **options)
    both = CLASSES[name]([{**own[0], "params": twins[:2]}, {**own[1], "params": twins[2:]}], lr=7.0, **options)
    train(optimizer, params, range(3))
    train(both, twins, range(3))
    assert_same(params, twins)


@family
def test_a_group_without_any_lr_is_refused_with_what_to_do(name, options):
    with pytest.raises(ValueError, match="no learning rate: pass lr, or give every parameter group"):
        CLASSES[name](groups(name, parameters(name)), **options)


class Listlike(Sequence[float]):
    """As OmegaConf and others have a list: neither a tuple nor a list."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)


@pytest.mark.parametrize(
    "betas", [(0.8, 0.9), [0.8, 0.9], Listlike(0.8, 0.9), np.array([0.8, 0.9]), collections.deque([0.8, 0.9])]
)
def test_betas_may_be_any_pair_of_numbers(betas):
    optimizer = adana.AdamW(parameters("adamw"), lr=0.01, total_steps=99, betas=betas)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


NO_PAIRS = [0.9, (0.9,), (0.9, 0.9, 0.9), "99", {0.9: 1, 0.8: 2}, {0.8, 0.9}, None, Listlike(0.9)]


@pytest.mark.parametrize("betas", NO_PAIRS)
def test_betas_that_are_no_pair_are_refused(betas):
    with pytest.raises(ValueError, match="betas must be a pair of numbers"):
        adana.AdamW(parameters("adamw"), lr=0.01, total_steps=9, betas=betas)


# --- random bits ----------------------------------------------------------------------------------------


def moved(p: torch.nn.Parameter, **options: Any) -> torch.Tensor:
    optimizer = adana.ADana([p], lr=1e-3, weight_decay=0.0, **options)
    for _ in range(3):
        p.grad = torch.full_like(p, 0.5)
        optimizer.step()
    return p.detach()


def ones() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(64, 64, dtype=torch.bfloat16))


def test_optimizers_of_one_parameter_do_not_share_random_bits():
    """One optimizer per parameter, stepped by hooks in the backward pass."""
    found = [moved(ones()) for _ in range(4)]
    assert not any(torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


def test_a_seed_that_is_given_is_the_one_that_counts():
    assert_same([moved(ones(), rounding_seed=3)], [moved(ones(), rounding_seed=3)])
    assert not torch.equal(moved(ones(), rounding_seed=3), moved(ones(), rounding_seed=4))


def test_the_seed_of_an_optimizer_of_one_parameter_is_part_of_its_checkpoint():
    first, p = ones(), ones()
    one = adana.ADana([first], lr=1e-3, weight_decay=0.0)
    other = adana.ADana([p], lr=1e-3, weight_decay=0.0)
    other.load_state_dict(one.state_dict())
    for optimizer, target in ((one, first), (other, p)):
        target.grad = torch.full_like(target, 0.5)
        optimizer.step()
    assert_same([p.detach()], [first.detach()])


def test_an_optimizer_of_a_model_rounds_with_seed_0_whatever_came_before():
    moved(ones())
    assert adana.ADana([ones(), ones()], lr=1e-3, weight_decay=0.0).param_groups[0]["rounding_seed"] == 0
    plain = [torch.nn.Parameter(torch.ones(3))]
    assert adana.ADana(plain, lr=1e-3, weight_decay=0.0).param_groups[0]["rounding_seed"] == 0, "nothing is rounded"


# --- docstrings -----------------------------------------------------------------------------------------

# What an argument means in one class alone; everything else means the same wherever it stands.
OWN_WORDS = {
    ("Muon", "params"), ("Muon", "lr"), ("Muon", "total_steps"), ("Muon", "nesterov"), ("Muon", "damping"),
    ("Dana", "params"), ("Dana", "lr"), ("Dana", "total_steps"), ("Dana", "damping"),
    *(("LogMuon", name) for name in ("params", "lr", "total_steps", "damping", "gradient_term", "fallback")),
    ("ADana", "form"), ("ADana", "beta2"), ("ADana", "beta3"),
    ("AMCS", "total_steps"), ("AMCS", "beta1"), ("AMCS", "beta3"),
}  # fmt: skip


def source_docstring(kind: Any) -> str:
    """As an editor has it, which reads the file and runs nothing."""
    (node,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(node, ast.ClassDef)
    return ast.get_docstring(node) or ""


def arguments(kind: Any) -> dict[str, str]:
    """Texts of the ``Args`` of a class, by name."""
    part = source_docstring(kind).split("\nArgs:\n")[1].split("\n\n")[0]
    found: dict[str, str] = {}
    name = ""
    for line in part.splitlines():
        if line.startswith("     "):
            found[name] += " " + line.strip()
        else:
            name, text = line.strip().split(": ", 1)
            found[name] = text
    return found


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_the_source_documents_every_argument_and_nothing_else(kind):
    assert sorted(arguments(kind)) == sorted(inspect.signature(kind).parameters)
    assert "{" not in source_docstring(kind).split("Example:")[0]


def test_a_shared_argument_is_documented_in_the_same_words_in_every_class():
    texts: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for kind in CLASSES.values():
        for name, text in arguments(kind).items():
            if (kind.__name__, name) not in OWN_WORDS:
                texts[name][kind.__name__] = text
    different = {name: found for name, found in texts.items() if len(set(found.values())) > 1}
    assert not different
    shared = [name for name, found in texts.items() if len(found) > 1]
    assert len(shared) > 20


# --- type checkers --------------------------------------------------------------------------------------

WRONG = """\
from adana import ADanaa
import torch
from adana import ADana, AdamW, DanaStar
p = [torch.nn.Parameter(torch.ones(3))]
ADana(p, lr=1e-3, total_steps=9, decay="lgo")
ADana(p, lr=1e-3, total_steps=9, damping="pwoer")
DanaStar(p, lr=1e-3, total_steps=9, form="relaesed")
AdamW(p, lr=1e-3, total_steps=9, param_rounding="nearst")
"""
RIGHT = """\
from adana import ADana, Muon, from_adamw, param_groups, schedules
import torch
p = [torch.nn.Parameter(torch.ones(3))]
ADana(p, lr=1e-3, total_steps=9, decay="constant", damping="linear", form="paper", state_dtype="int16")
Muon(p, total_steps=9, param_rounding="kahan", state_dtype=torch.bfloat16)
"""


@pytest.mark.slow
def test_a_type_checker_refuses_misspelt_names_and_choices(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "right.py").write_text(RIGHT)
    source = pathlib.Path(inspect.getfile(adana)).parent.parent
    # Torch unread: it takes a minute, and nothing here hangs on it.
    config = f"[mypy]\nmypy_path = {source}\n[mypy-torch.*]\nfollow_imports = skip\nignore_missing_imports = True\n"
    (tmp_path / "mypy.ini").write_text(config)
    arguments = ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache")]
    out, _, _ = api.run([*arguments, str(tmp_path / "wrong.py"), str(tmp_path / "right.py")])
    lines = [line for line in out.splitlines() if "error" in line and tmp_path.name in line]
    assert not [line for line in lines if "right.py" in line]
    assert sorted(int(line.split("wrong.py:")[1].split(":")[0]) for line in lines) == [1, 5, 6, 7, 8], out


def test_no_type_checker_takes_the_package_for_one_that_has_every_name():
    """A ``__getattr__`` at module level is a name for everything, unless it stands where no type checker looks."""
    tree = ast.parse(inspect.getsource(adana))
    assert not [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
    with pytest.raises(AttributeError, match="ADanaa"):
        adana.ADanaa  # noqa: B018
