"""A run as a folder that transformers loads: safetensors, configuration, tokenizer; checked where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adana.data.tokenizer import Tokenizer
from adana.files import naming, write_json, write_text
from adana.models.architectures import architecture
from adana.models.exports import Exported
from adana.models.layers import Decoder
from adana.train.sampling import load_model, load_run_tokenizer

__all__ = ["Export", "NotEqual", "export_run"]

MOST_DIFFERENT = 1e-4
"""How far logits may be apart, as a part of the largest: sums in another order are less than 1e-5 apart in float32."""

TEXT = "def f(x):\n    return x + 1  # café, 12.5 %\n"


class NotEqual(Exception):
    """What was written is not the model: the message says what differs."""


@dataclass(frozen=True)
class Export:
    """What :func:`export_run` wrote.

    Attributes:
        folder: where.
        model: transformers' class.
        parameters: of the run's model.
        difference: largest distance of the logits of transformers' model from those of the run's; None where
            transformers is not installed, so that nothing was compared.
        note: what to know of the folder.
    """

    folder: Path
    model: str
    parameters: int
    difference: float | None
    note: str


def export_run(run: Path, out: Path) -> Export:
    """Write the model of a run's newest checkpoint as a folder that ``from_pretrained`` of transformers loads.

    Args:
        run: folder of the run.
        out: folder to make.

    Raises:
        ImportError: safetensors or tokenizers is not installed.
        FileExistsError: there is something at ``out``.
        NotEqual: transformers loads another model from it, or its tokenizer makes other tokens; nothing is kept.
        ValueError, OSError, CorruptCheckpoint: as :func:`~adana.train.sampling.load_model`; an architecture that
            transformers does not have.
    """
    try:
        save_file = importlib.import_module("safetensors.torch").save_file
    except ImportError:
        raise ImportError("the export needs safetensors: pip install 'adana[export]'") from None
    if os.path.lexists(out):
        raise FileExistsError(f"there is already something at {out}: name another folder with --out, or delete it")
    model, recipe = load_model(run)
    exported = architecture(recipe.arch).exported
    if exported is None:
        raise ValueError(f"transformers has no form of the architecture {recipe.arch!r}: set exported= in its entry")
    tokenizer = load_run_tokenizer(recipe)
    found = exported(model.config, {name: p.detach() for name, p in model.named_parameters()}, recipe.seq_len)
    temporary = out.parent / f".adana-{secrets.token_hex(8)}.tmp"
    with naming(out):
        temporary.mkdir()
    try:
        with naming(out):
            weights = {name: weight.contiguous().clone() for name, weight in found.weights.items()}
            save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        _write_texts(temporary, found, tokenizer, model.config.vocab_size, recipe.seq_len)
        difference = _compared(temporary, model, tokenizer, recipe.seq_len)
        with naming(out):
            os.rename(temporary, out)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    parameters = sum(p.numel() for p in model.parameters())
    return Export(out, found.config["architectures"][0], parameters, difference, found.note)


def _write_texts(folder: Path, found: Exported, tokenizer: Tokenizer, vocabulary: int, context: int) -> None:
    definition = tokenizer.definition()
    end = {token: name for name, token in _vocabulary(definition).items()}[tokenizer.end_of_text]
    ends = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    weights_dtype = str(next(iter(found.weights.values())).dtype).removeprefix("torch.")
    write_json(folder / "config.json", {**found.config, **ends, "dtype": weights_dtype, "torch_dtype": weights_dtype})
    padding = sorted({*range(vocabulary)} - {*_vocabulary(definition).values()})
    write_json(folder / "generation_config.json", {**ends, **({"suppress_tokens": padding} if padding else {})})
    write_text(folder / "tokenizer.json", definition)
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    about |= {"bos_token": end, "eos_token": end, "clean_up_tokenization_spaces": False}
    write_json(folder / "tokenizer_config.json", about)


def _vocabulary(definition: str) -> dict[str, int]:
    from tokenizers import Tokenizer as Model

    known: dict[str, int] = Model.from_str(definition).get_vocab(with_added_tokens=True)
    return known


@torch.no_grad()
def _compared(folder: Path, model: Decoder, tokenizer: Tokenizer, context: int) -> float | None:
    """How far the logits of transformers' model are from the run's; None where transformers is not installed."""
    if importlib.util.find_spec("transformers") is None:
        return None
    transformers: Any = importlib.import_module("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    kind = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0], None)
    if kind is None:
        raise NotEqual(f"transformers {transformers.__version__} does not have this model: install a newer one")
    theirs, told = kind.from_pretrained(folder, output_loading_info=True, local_files_only=True, dtype=torch.float32)
    wrong = {name: sorted(map(str, keys)) for name, keys in told.items() if keys}
    if wrong:
        raise NotEqual(f"transformers did not load the weights as written: {wrong}")
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.config.vocab_size, (2, min(context, 128)), generator=draw)
    ours = model(tokens).float()
    difference = float((theirs.eval()(input_ids=tokens, use_cache=False).logits.float() - ours).abs().max())
    if not difference <= MOST_DIFFERENT * float(ours.abs().max()):
        raise NotEqual(f"the logits of transformers' model differ by {difference:.3g} from those of the run")
    again = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    asked = tokenizer.encode([TEXT.encode()])[0].tolist()
    given = again.encode(TEXT, add_special_tokens=False)
    if given != asked:
        raise NotEqual(
            f"transformers' tokenizer makes {given[:8]}... of a text of which the run's makes {asked[:8]}..."
        )
    return difference
