from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anybody imports datasets: no test asks the network for anything

import hypothesis
import pytest
import torch

from adana.catalog import find
from adana.train.recipe import Recipe

hypothesis.settings.register_profile("no deadline", deadline=None)  # a busy machine is not a failure
hypothesis.settings.load_profile("no deadline")


_seen: set[str] = set()


def pytest_itemcollected(item):
    """Call every case of a test but its first slow: quick tests touch everything once, the whole suite every case."""
    test = item.nodeid.partition("[")[0]
    if test in _seen and "[" in item.nodeid:
        item.add_marker("slow")
    _seen.add(test)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Say a test's xdist_group where --dist loadgroup looks for it: at the end of the test's name.

    pytest-xdist 3.8 writes it to an attribute that pytest 9.2 does not read, and groups nothing (pytest-xdist #1386).
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        for mark in item.iter_markers("xdist_group"):
            name = f"@{mark.args[0]}"
            if not item.nodeid.endswith(name):
                item._id = type(item.id).parse(item.nodeid + name)
            assert item.nodeid.endswith(name)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """A text with something to learn, written here: the project ships no text."""
    words = ["alpha", "beta", "gamma", "delta", "kappa", "omega", "tau"]
    generator = torch.Generator().manual_seed(0)
    picks = torch.randint(len(words), (2000,), generator=generator).tolist()
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(words[i] + ("s" if i % 2 else "") for i in picks))
    return path


@pytest.fixture
def tiny(text_file):
    """A recipe that runs in a third of a second: most of it would go to validating it on all of the text."""

    def make(optimizer: str = "adana", lr: float = 3e-3, **changes):
        settings = {"heads": 1, "layers": 1, "seq_len": 32, "batch_size": 2, "steps": 24, "text": (str(text_file),)}
        settings["validation_tokens"] = 288  # nine windows: no batch of two or four divides them
        # Omega 4 over 24 steps would flip signs, and warn of it.
        settings["options"] = {"weight_decay": 1.0} if find(optimizer).decay else {}
        return Recipe(optimizer, lr, **(settings | changes))

    return make
