"""``adana inspect``: the Hilberg exponent of a text, spectra and noise of a run, what its optimizer does.

The subcommands are functions of :mod:`adana.inspect`: options, defaults and help are read from their signatures. What
is printed and drawn of a result is in the module of the same name that ends in ``_shown``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from inspect import signature
from typing import Any

from adana.cli.arguments import parse
from adana.cli.common import refusing
from adana.cli.functions import PlotOutput, any_of, command, draw, name_of, needs, refuse_unwritable, values
from adana.cli.tables import say, show_table, terminal
from adana.inspect.hilberg import hilberg
from adana.inspect.noise import noise
from adana.inspect.optimizer import optimizer
from adana.inspect.spectrum import spectrum

DESCRIPTION = (
    "Look inside a text or a run, to choose kappa, variant and batch: each subcommand prints a table, JSON with "
    "--json, and draws with --plot."
)

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "hilberg": hilberg,
    "noise": noise,
    "optimizer": optimizer,
    "spectrum": spectrum,
}
LIBRARIES = {"hilberg": ("scipy",), "noise": ("scipy",), "optimizer": (), "spectrum": ("scipy",)}
PACKAGES = {"ppm": "pyppmd", "zstd": "zstandard"}
COMMANDS = {
    name: command(name, function, PlotOutput, more={}, positional=list(signature(function).parameters)[:1])
    for name, function in FUNCTIONS.items()
}


def run(argv: Sequence[str]) -> int:
    options: Any = parse(any_of(COMMANDS), "inspect", DESCRIPTION, argv)
    name = name_of(COMMANDS, options)
    libraries = [*LIBRARIES[name], *(["matplotlib"] if options.plot is not None else [])]
    libraries += [PACKAGES[one] for one in getattr(options, "compressors", ()) if one in PACKAGES]
    needs(name, libraries, "inspect")
    refuse_unwritable(options.plot)
    notes = terminal(stderr=True)
    with refusing():
        result = FUNCTIONS[name](**values(options, PlotOutput, FUNCTIONS[name], notes))
    shown = import_module(f"adana.inspect.{name}_shown")
    if options.plot is not None:
        draw(shown.figure(result), options.plot, notes)
    if options.json:
        print(json.dumps(asdict(result), indent=1))
        return 0
    console = terminal()
    for table in shown.tables(result):
        show_table(console, table)
    for line in shown.sentences(result):
        say(console, line, style="dim")
    return 0
