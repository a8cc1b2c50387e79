"""Importing costs torch and nothing besides, and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

# What torch alone brings in is looked up once, not once in each test process.
pytestmark = pytest.mark.xdist_group("imports")

# Printed by a process of its own: what is imported, and every global setting an import could have changed.
SURVEY = """
import json, random, sys, warnings
import torch
settings = lambda: {
    "threads": torch.get_num_threads(),
    "interop threads": torch.get_num_interop_threads(),
    "dtype": str(torch.get_default_dtype()),
    "device": str(torch.get_default_device()),
    "grad": torch.is_grad_enabled(),
    "anomaly": torch.is_anomaly_enabled(),
    "deterministic": torch.are_deterministic_algorithms_enabled(),
    "matmul precision": torch.get_float32_matmul_precision(),
    "cudnn": [torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32],
    "tf32": torch.backends.cuda.matmul.allow_tf32,
    "rng": torch.get_rng_state().sum().item(),
    "python rng": hash(random.getstate()),
    "print options": str(vars(torch._tensor_str.PRINT_OPTS)),
    "filters": [str(f[:3]) for f in warnings.filters],
    "recursion": sys.getrecursionlimit(),
}
before = settings()
{statement}
after = settings()
print(json.dumps({
    "changed": [name for name in before if before[name] != after[name]],
    "modules": sorted(name for name, module in sys.modules.items() if module is not None),
}))
"""
STATEMENTS = {
    "package": "import adana",
    "optimizer": "from adana import ADana",
    "everything": "import adana; [getattr(adana, name) for name in adana.__all__]",
}
HEAVY = ("jax", "optax", "matplotlib", "scipy", "datasets", "rich", "tyro", "jinja2", "pandas")


def survey(statement: str) -> dict[str, Any]:
    code = SURVEY.replace("{statement}", statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def plain_torch() -> dict[str, Any]:
    return survey("pass")


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
@pytest.mark.slow
def test_importing_brings_in_only_torch_and_changes_no_setting(statement, plain_torch):
    found = survey(statement)
    assert found["changed"] == []
    new = {name for name in found["modules"] if name not in plain_torch["modules"]}
    assert not {name for name in new if name.partition(".")[0] in HEAVY}
    # Compilers and their settings are torch's to load, and only when somebody compiles.
    assert not {name for name in new if name.startswith(("torch._dynamo", "torch._inductor"))}
    others = {name.partition(".")[0] for name in new} - {"adana"} - set(sys.stdlib_module_names)
    assert not others, f"imported beyond torch: {sorted(others)}"


def test_the_package_alone_does_not_even_import_torch():
    code = "import sys, adana; print('torch' in sys.modules, 'numpy' in sys.modules, adana.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["False", "False"]


def test_every_public_name_can_be_had_and_an_unknown_one_is_an_attribute_error():
    import adana

    for name in adana.__all__:
        assert getattr(adana, name) is not None
    assert set(adana.__all__) <= set(dir(adana))
    with pytest.raises(AttributeError, match="no attribute 'Adana'"):
        adana.Adana  # noqa: B018 - the attribute access is what is tested


WITHOUT_TORCH = """
import importlib.abc, sys

class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "triton"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
try:
    from adana import ADana
except ImportError as error:
    print(error)
from adana import cli
print(cli.main(["race"]), cli.main(["data", "inspect", "nowhere"]))
try:
    import adana.optax
    adana.optax.adana(1e-3, total_steps=10)
except ImportError as error:
    assert "needs JAX" in str(error), error
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_without_torch_the_commands_and_classes_say_what_to_install_and_jax_works():
    found = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["adana.ADana needs PyTorch: pip install 'adana[torch]'", "1 2"]
    assert "adana race: error: PyTorch is not installed: pip install 'adana[torch]'" in found.stderr
