"""``adana doctor``: what is installed, which fast paths are on, and how a model's parameters are grouped."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
import tyro
from torch import nn

import adana
from adana import foreign
from adana.cli import Failed, UsageError
from adana.cli.arguments import parse
from adana.cli.tables import show_table, terminal
from adana.cli.words import one_line
from adana.optim.groups import groups_table, param_groups
from adana.optim.kernels import missing
from adana.tables import Column, tabulate

DESCRIPTION = (
    "Versions, devices, which fast paths are on and why not, and which extras are installed. With a model, the kind "
    "and weight decay of each of its parameters."
)


@dataclass(frozen=True)
class Options:
    """Options of ``adana doctor``."""

    model: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = None
    """A torch module, or a function that makes one, as package.module:name. Its code is imported and called."""
    json: bool = False
    """Print it as JSON on standard output."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    value: str
    note: str = ""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "doctor", DESCRIPTION, argv)
    groups = None if options.model is None else param_groups(_model(options.model), named=True)
    found = findings()
    if options.json:
        shown: dict[str, Any] = {"findings": [asdict(one) for one in found]}
        if groups is not None:
            shown["groups"] = [{**group, "params": [list(p.shape) for p in group["params"]]} for group in groups]
        print(json.dumps(shown, indent=1))
        return 0
    columns: list[Column[Finding]] = [
        Column("", lambda it: it.what, words=True),
        Column("found", lambda it: it.value, words=True),
        Column("note", lambda it: it.note, words=True),
    ]
    show_table(terminal(), tabulate("doctor", f"adana {adana.__version__}", found, columns))
    if groups is not None:
        print(groups_table(groups))
    return 0


def findings() -> list[Finding]:
    """Everything but the model."""
    found = [
        Finding("Python", platform.python_version(), platform.platform()),
        Finding("torch", torch.__version__),
        Finding("threads", str(torch.get_num_threads()), "OMP_NUM_THREADS or torch.set_num_threads changes it"),
    ]
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    for device in devices:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        found.append(Finding(f"device {device}", name))
        lack = missing(device)
        found.append(Finding(f"fused step on {device}", "off" if lack else "on", lack or "used where a tensor allows"))
        found.append(
            Finding(
                f"foreach step on {device}",
                "off" if device.type == "cpu" else "on",
                "foreach=True turns it on" if device.type == "cpu" else "used where the fused step is not",
            )
        )
    return found + _extras()


def _extras() -> list[Finding]:
    """Each extra of the package, and what it lacks."""
    try:
        needs = importlib.metadata.requires("adana") or []
    except importlib.metadata.PackageNotFoundError:
        return [Finding("extras", "unknown", "adana is run from its source, not installed")]
    extras: dict[str, list[str]] = {}
    for line in needs:
        found = re.match(r"([\w.-]+)(?:\[([^\]]*)\])?[^;]*;.*extra == ['\"]([\w-]+)['\"]", line)
        if found and found[1] != "adana" and found[3] not in ("all", "dev", "docs", "examples"):
            extras.setdefault(found[3], []).append(found[1])
    shown = []
    for extra, names in sorted(extras.items()):
        lacking = [name for name in names if not _version(name)]
        there = ", ".join(f"{name} {_version(name)}" for name in names if name not in lacking)
        note = there if not lacking else f"pip install 'adana[{extra}]' ({', '.join(lacking)})"
        shown.append(Finding(f"extra {extra}", "off" if lacking else "on", note))
    return shown


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _model(name: str) -> nn.Module:
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise UsageError(f"a model is named package.module:name, got {name!r}")
    try:
        found: Any = foreign.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(f"{name}: {one_line(error)}") from None
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise UsageError(f"{name} is a {type(found).__name__}: name a torch module or a function that makes one")
        try:
            found = found()
        except Exception as error:  # whatever somebody's function raises
            raise Failed(f"{name}() cannot be called: {type(error).__name__}: {one_line(error)}") from None
    if not isinstance(found, nn.Module):
        raise UsageError(f"{name} made a {type(found).__name__}: name a torch module or a function that makes one")
    return found
