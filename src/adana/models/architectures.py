"""What an architecture is, in one entry each, and the registry of them.

An entry names the configuration, the model, and the equations that are printed beside its sizes. ``adana train``,
``sweep``, ``ladder`` and ``plan`` know an architecture by its entry alone. There are three ways to add one:

- the entry point group ``adana.architectures`` of an installed package: its names are known everywhere;
- ``package.module:NAME``, on the command line as ``--arch package.module:NAME``;
- :func:`register`, from Python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import entry_points
from typing import Any

from torch import Tensor

from adana import foreign
from adana.models.config import DecoderConfig
from adana.models.enoki import Enoki, EnokiConfig
from adana.models.exports import Exported, enoki_as_persimmon, qwen3_as_qwen3_next
from adana.models.layers import Decoder
from adana.models.qwen3 import Qwen3, Qwen3Config

__all__ = [
    "GROUP",
    "Architecture",
    "Equations",
    "architecture",
    "architecture_of",
    "build",
    "load",
    "model_name",
    "names",
    "printed_equations",
    "register",
]

GROUP = "adana.architectures"
"""Entry point group in which packages offer architectures."""

GIVEN = "given"


@dataclass(frozen=True)
class Equations:
    """What is printed beside each size of a model that follows the architecture's own scaling rule.

    ``{head_dim}`` and ``{vocab_size}`` stand for the configuration's numbers; ``heads``, ``layers``, ``width`` and
    ``P`` for the numbers of those names. The defaults hold for any architecture.

    Attributes:
        layers: transformer blocks.
        width: residual stream.
        head_dim: where the width of a head is from.
        hidden: width of the feed-forward part.
        non_embedding_parameters: P of the laws.
        total_parameters: P and both embeddings.
        model_parameters: what the model really has.
        matrices: 6 times the hidden weights that a token passes through, the factor of every compute formula.
    """

    layers: str = "the architecture's own rule"
    width: str = "{head_dim} heads"
    head_dim: str = "the architecture's own"
    hidden: str = "the architecture's own rule"
    non_embedding_parameters: str = "all but the embeddings"
    total_parameters: str = "P + 2 width {vocab_size}"
    model_parameters: str = "counted on the model"
    matrices: str = "6 hidden weights"


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        name: on the command line, in recipes and in the names of run folders: letters, digits, ``-`` and ``_``.
        config: its sizes, a dataclass that extends :class:`~adana.models.config.DecoderConfig`. Defaults of its
            fields are the architecture's own (``head_dim`` among them); fields beyond the common ones are sizes that
            it alone takes, such as ``experts``.
        model: makes the model from a configuration and ``seed=``; usually a subclass of
            :class:`~adana.models.layers.Decoder`.
        equations: what is printed beside the sizes.
        norms_counted: whether ``config.non_embedding_parameters`` counts norms.
        exported: makes of a configuration, the weights by name, and the tokens seen at a time what transformers
            loads (:class:`~adana.models.exports.Exported`); None where it has no such model. Asked by ``adana export``.

    Raises:
        TypeError: ``config`` is no subclass of DecoderConfig, or ``model`` cannot be called.
        ValueError: a name with other characters.
    """

    name: str
    config: type[DecoderConfig]
    model: Callable[..., Decoder]
    equations: Equations = field(default_factory=Equations)
    norms_counted: bool = True
    exported: Callable[[Any, dict[str, Tensor], int], Exported] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w-]+", self.name, re.ASCII):
            raise ValueError(f"an architecture's name has letters, digits, - and _ only, got {self.name!r}")
        if not (isinstance(self.config, type) and issubclass(self.config, DecoderConfig)):
            raise TypeError(f"architecture {self.name!r}: config must be a subclass of DecoderConfig: {self.config!r}")
        if not callable(self.model):
            raise TypeError(f"architecture {self.name!r}: model must make a Decoder, got {self.model!r}")

    @property
    def head_dim(self) -> int:
        """Width of a head unless another is given."""
        return self.config(1).head_dim

    def sized(self, heads: int, **sizes: Any) -> DecoderConfig:
        """The configuration of so many heads; sizes that are None follow the architecture's own rule.

        Raises:
            ValueError: a size that the architecture does not take, or that cannot be.

        >>> architecture("enoki").sized(2, layers=None, experts=4).hidden
        512
        >>> architecture("qwen3").sized(2, experts=4)
        Traceback (most recent call last):
        ValueError: qwen3 has no experts: leave it out, or choose an architecture that has it (enoki)
        """
        given = {name: value for name, value in sizes.items() if value is not None}
        own = {one.name for one in fields(self.config)}
        for name in given:
            if name not in own:
                others = [one.name for one in _known.values() if name in {f.name for f in fields(one.config)}]
                there = f", or choose an architecture that has it ({', '.join(others)})" if others else ""
                raise ValueError(f"{self.name} has no {name}: leave it out{there}")
        return self.config(heads, **given)


_known: dict[str, Architecture] = {}


def register(architecture: Architecture, name: str | None = None) -> Architecture:
    """Make an architecture known in this process; once more is no harm.

    Args:
        architecture: the entry.
        name: under which; default its own.

    Returns:
        The entry, so that a module may write ``GPT = register(Architecture("gpt", GPTConfig, GPT))``.

    Raises:
        ValueError: the name is another architecture's.
    """
    name = architecture.name if name is None else name
    if _known.get(name, architecture) != architecture:
        raise ValueError(f"there is another architecture {name!r}: choose another name")
    _known[name] = architecture
    return architecture


def names() -> tuple[str, ...]:
    """Names by which :func:`architecture` knows an entry, those of installed packages among them."""
    return tuple(dict.fromkeys([*_known, *(point.name for point in entry_points(group=GROUP))]))


def architecture(name: str) -> Architecture:
    """The entry of a name.

    It runs no code that was not installed or imported: a name may be from somebody's file. :func:`load` imports.

    Args:
        name: a registered name, one that an installed package offers, or ``package.module:NAME`` of a module that
            has been imported.

    Raises:
        ValueError: there is no such architecture.

    >>> architecture("enoki").config(heads=6).depth
    4
    """
    if name in _known:
        return _known[name]
    found: object = None
    for point in entry_points(group=GROUP, name=name):
        found = _guarded(name, point.load)
    module, colon, attribute = name.partition(":")
    if colon and module in sys.modules:
        found = getattr(sys.modules[module], attribute, None)
    elif colon:
        raise ValueError(f"arch {name!r} is not imported: name it with --arch, or import {module} first")
    if found is None:
        raise ValueError(
            f"unknown architecture {name!r}: choose from {', '.join(names())}, or your own as package.module:NAME"
        )
    if not isinstance(found, Architecture):
        raise ValueError(f"arch {name!r} must be an adana.models.Architecture, got {type(found).__name__}")
    return register(found, name)


def load(name: str) -> Architecture:
    """The entry of a name; imports the module of ``package.module:NAME``, also from the current folder.

    Only for names that a user has given, never for one that stands in a file: importing a module runs it.

    Raises:
        ValueError: there is no such architecture, or its module cannot be imported.
    """
    module, colon, _ = name.partition(":")
    if colon:
        _guarded(name, lambda: foreign.import_module(module))
    return architecture(name)


def _guarded(name: str, work: Callable[[], object]) -> object:
    try:
        return work()
    except Exception as error:  # somebody else's module may raise anything
        raise ValueError(f"arch {name!r} cannot be imported ({type(error).__name__}: {error})") from error


def architecture_of(config: DecoderConfig) -> Architecture:
    """The entry to which a configuration belongs.

    Raises:
        TypeError: no architecture has such a configuration.
    """
    for known in _known.values():
        if type(config) is known.config:
            return known
    raise TypeError(
        f"no architecture has the configuration {config!r}: pass one of {', '.join(_configs())}, or register your own"
    )


def _configs() -> list[str]:
    return list(dict.fromkeys(known.config.__name__ for known in _known.values()))


def build(config: DecoderConfig, *, seed: int = 0) -> Decoder:
    """The model of a configuration, on torch's default device.

    Raises:
        TypeError: no architecture has such a configuration.

    >>> import torch
    >>> with torch.device("meta"):
    ...     build(EnokiConfig(heads=40)).head.weight.shape
    torch.Size([50304, 2560])
    """
    return architecture_of(config).model(config, seed=seed)


def printed_equations(config: DecoderConfig) -> dict[str, str]:
    """By size: the equation it follows, or that it was given.

    >>> found = printed_equations(EnokiConfig(heads=6, layers=8))
    >>> found["layers"], found["width"], found["total_parameters"]
    ('given', '64 heads (13)', 'P + 2 width 50,304 (17)')
    """
    about = architecture_of(config)
    texts: dict[str, str] = asdict(about.equations)
    if config.variant or config.embedding_dim is not None or config.mlp_dim is not None:
        # The published formulas are in the width alone, and hold for the ladder's own proportions.
        general = Equations()
        for name in ("non_embedding_parameters", "model_parameters", "matrices"):
            texts[name] = getattr(general, name)
    numbers = {"head_dim": config.head_dim, "vocab_size": f"{config.vocab_size:,}"}
    found = {name: text.format(**numbers) for name, text in texts.items()}
    for name, given in (
        ("layers", config.layers is not None),
        ("width", config.embedding_dim is not None),
        ("hidden", config.mlp_dim is not None),
        ("head_dim", config.head_dim != about.head_dim),
    ):
        if given:
            found[name] = GIVEN
    return found


def model_name(config: DecoderConfig) -> str:
    """How a fit calls the models of its runs: what they share, and whether they follow the architecture's own rule.

    >>> model_name(EnokiConfig(4, vocab_size=256, head_dim=16)), model_name(EnokiConfig(4, layers=1))
    ('enoki with a vocabulary of 256, heads of 16', 'enoki with a vocabulary of 50,304, layers not by the rule')
    """
    about = architecture_of(config)
    by_rule = about.config(config.heads, head_dim=config.head_dim, embedding_dim=config.embedding_dim)
    parts = [f"a vocabulary of {config.vocab_size:,}"]
    if config.head_dim != about.head_dim:
        parts.append(f"heads of {config.head_dim}")
    if config.variant:
        parts.append(config.variant)
    own = [
        what
        for what, size, rule in (
            ("layers", config.depth, by_rule.depth),
            ("width", config.width, config.attention_dim),
            ("feed-forward width", config.hidden, by_rule.hidden),
        )
        if size != rule
    ]
    if own:
        parts.append(f"{' and '.join(own)} not by the rule")
    return f"{about.name} with {', '.join(parts)}"


# --- those that are built in ----------------------------------------------------------------------------

register(
    Architecture(
        "enoki",
        EnokiConfig,
        Enoki,
        Equations(
            layers="floor(3 heads / 4), at least 1 (12)",
            width="{head_dim} heads (13)",
            head_dim="Table 18",
            hidden="4 width (14)",
            non_embedding_parameters="12 width^2 layers (16)",
            total_parameters="P + 2 width {vocab_size} (17)",
            model_parameters="total + layers (2 width + 2 x {head_dim}) + width, the norms",
            matrices="72 layers width^2",
        ),
        norms_counted=False,
        exported=enoki_as_persimmon,
    )
)
register(
    Architecture(
        "qwen3",
        Qwen3Config,
        Qwen3,
        Equations(
            layers="2 heads (62)",
            width="{head_dim} heads (62)",
            head_dim="Table 18",
            hidden="3 width (63)",
            non_embedding_parameters=(
                "layers (14 width^2 + 2 width + 2 x {head_dim}) + width (65)-(68), norms among them"
            ),
            total_parameters="P + 2 width {vocab_size} (68)",
            model_parameters="total: its norms are counted",
            matrices="84 layers width^2",
        ),
        exported=qwen3_as_qwen3_next,
    )
)
