"""Time and memory of ``adana inspect``: spectra and gradient noise of 141M parameters, the exponent of a text of 1 GB.

The model is Enoki with 12 heads and random weights, on random tokens; the text is a Santa Fe process.

for what in spectrum noise hilberg; do python benchmarks/inspect_cost.py $what --out results/inspect-cost.json; done
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adana.data.santa_fe import SantaFe
from adana.files import write_json
from adana.inspect.hilberg import hilberg
from adana.inspect.model_noise import of_model as noise_of_model
from adana.inspect.spectrum import of_model
from adana.models import EnokiConfig, build

GRADIENTS = 4


def spectra(heads: int, seq_len: int) -> dict[str, Any]:
    """All layers at the least number of tokens, and gradients of a few sequences."""
    config = EnokiConfig(heads)
    tokens = 8 * config.hidden
    windows = random_windows(config, tokens // seq_len, seq_len)
    model = build(config, seed=0).eval()
    before = peak()
    began, cpu = time.perf_counter(), time.process_time()
    found, _ = of_model(model, windows, gradients=GRADIENTS, progress=lambda line: print(line, flush=True))
    return {
        "parameters": config.total_parameters,
        "width": config.width,
        "hidden": config.hidden,
        "layers": len(found.layers),
        "tokens": tokens,
        "gradients": GRADIENTS,
        "largest_error": max(one.error for one in found.layers.values()),
        **cost(began, cpu),
        "model_gib": before,
    }


def gradient_noise(heads: int, seq_len: int, sequences: int) -> dict[str, Any]:
    """One place of a run: gradients of single sequences, in 8 groups."""
    config = EnokiConfig(heads)
    windows = torch.from_numpy(random_windows(config, sequences, seq_len))
    model = build(config, seed=0)
    before = peak()
    began, cpu = time.perf_counter(), time.process_time()
    noise_of_model(model, windows)
    return {
        "parameters": config.total_parameters,
        "sequences": sequences,
        "seq_len": seq_len,
        **cost(began, cpu),
        "model_gib": before,
    }


def random_windows(config: EnokiConfig, sequences: int, seq_len: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, config.vocab_size, size=(sequences, seq_len + 1))


def text(megabytes: int, compressor: str) -> dict[str, Any]:
    """One pass over a text that is written first."""
    with tempfile.TemporaryDirectory() as folder:
        path, left = Path(folder) / "text", megabytes * 10**6
        with path.open("wb") as file:
            for piece in SantaFe(exponent=0.7, count=10**9).pieces():
                file.write(piece.text[:left])
                left -= min(left, len(piece.text))
                if not left:
                    break
        began, cpu = time.perf_counter(), time.process_time()
        found = hilberg([str(path)], compressors=[compressor], starts=1, progress=lambda line: print(line, flush=True))
        return {"bytes": found.bytes, "compressor": compressor, "starts": 1, **cost(began, cpu)}


def peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def cost(began: float, cpu: float) -> dict[str, float]:
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gib": peak(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("spectrum", "noise", "hilberg"), help="one of them, so that memory is its own")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--sequences", type=int, default=32, help="of the noise")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    found["command"] = "python benchmarks/inspect_cost.py spectrum|noise|hilberg --out results/inspect-cost.json"
    found["threads"] = torch.get_num_threads()
    if options.what == "spectrum":
        found["spectrum"] = spectra(options.heads, options.seq_len)
    elif options.what == "noise":
        found["noise"] = gradient_noise(options.heads, options.seq_len, options.sequences)
    else:
        found["hilberg"] = text(options.megabytes, "ppm")
    write_json(options.out, found)


if __name__ == "__main__":
    main()
