"""What an editor shows of the family: words that stand in the source, the same for the same argument."""

from __future__ import annotations

import ast
import collections
import inspect
import re
from pathlib import Path

import pytest

import adana.optax
from adana.docstrings import arguments

FUNCTIONS = {name: f for name in adana.optax.__all__ if inspect.isfunction(f := getattr(adana.optax, name))}

# Arguments that do not mean the same everywhere, and how many meanings they have.
MEANINGS = {
    "total_steps": 6,  # for decay; for linear damping, cooldown or both; for AdEMAMix's warm-ups; for AMCS's passage
    "damping": 3,  # ADana's, DANA's (whose linear damping starts at 1), and Muon's
    "gradient_term": 2,  # ADana's, and that of Muon in log time
    "fallback": 2,  # Muon's, which shares its momentum's options, and that of Muon in log time
    "nesterov": 2,  # AdamW's, and Muon's
    "beta1": 2,  # in place of log time, and AMCS's own
    "beta2": 2,  # in place of ADana's log time, and AdEMAMix's own
    "beta3": 3,
    "params": 2,  # of `kinds`, to which `decay_mask` refers
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_explained_in_the_source(name):
    function = FUNCTIONS[name]
    tree = ast.parse(Path(inspect.getsourcefile(function)).read_text())
    (node,) = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name]
    written = ast.get_docstring(node)
    assert written == inspect.cleandoc(function.__doc__)
    assert not re.search(r"^\s*\{\w+\}\s*$", written, re.MULTILINE)
    assert arguments(function).keys() == inspect.signature(function).parameters.keys()
    for section in ("Returns:", "Example:", *(["Raises:", "Source:"] if name not in ("kinds", "decay_mask") else [])):
        assert section in written, section


def test_an_argument_has_the_same_text_in_the_whole_family():
    texts = collections.defaultdict(lambda: collections.defaultdict(list))
    for name, function in FUNCTIONS.items():
        for argument, text in arguments(function).items():
            texts[argument][text].append(name)
    apart = {argument: dict(found) for argument, found in texts.items() if len(found) != MEANINGS.get(argument, 1)}
    assert not apart
