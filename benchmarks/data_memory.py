"""Memory and time that `adana data build` takes for one large text, as one file and as JSON lines, as bytes and by BPE.

    nice -n 15 python benchmarks/data_memory.py                      a text of 1 GB, and one of 100 MB to compare
    python benchmarks/data_memory.py --megabytes 20 60 --out data-memory.json

The text is made here: random words with a Zipf law, in lines. A line of JSON holds 20 of them. Each build runs in a
process of its own; its largest resident size (RSS) and its seconds are printed. `train` trains a BPE and stops at a
million tokens: it shows how much is read to train on. Memory that does not grow with a document is the same for all
sizes of the text.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from adana.files import write_json
from measured import surroundings

WORDS = 50_000
LINE = 12  # words
DOCUMENT = 20  # lines


def lines(megabytes: int) -> Iterator[str]:
    """Lines of text until they come to so many megabytes."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(random.choice(letters, random.integers(2, 10))) for _ in range(WORDS)])
    cumulative = np.cumsum(1 / np.arange(1, WORDS + 1))
    written = 0
    while written < megabytes * 1_000_000:
        ranks = np.searchsorted(cumulative, random.random((10_000, LINE)) * cumulative[-1])
        for row in words[ranks].tolist():
            if written >= megabytes * 1_000_000:
                return
            line = " ".join(row) + "."
            written += len(line) + 1
            yield line


def write_texts(folder: Path, megabytes: int) -> dict[str, Path]:
    """The same lines as one text file and as JSON lines."""
    files = {"text": folder / f"{megabytes}.txt", "jsonl": folder / f"{megabytes}.jsonl"}
    with files["text"].open("w") as text, files["jsonl"].open("w") as rows:
        waiting: list[str] = []
        for line in lines(megabytes):
            text.write(line + "\n")
            waiting.append(line)
            if len(waiting) == DOCUMENT:
                rows.write(json.dumps({"text": "\n".join(waiting)}) + "\n")
                waiting.clear()
    return files


def measure(arguments: list[str], folder: Path) -> dict[str, Any]:
    """Peak memory and seconds of one `adana data build` in a process of its own."""
    # A process between: the system tells the peak of the largest child so far, not of the last.
    code = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([done.returncode, done.stderr, used.ru_maxrss, used.ru_utime + used.ru_stime]))"
    )
    command = ["adana", "data", "build", *arguments]
    started = time.perf_counter()
    between = [sys.executable, "-c", code, sys.executable, "-m", *command]
    done = subprocess.run(between, capture_output=True, text=True, check=True, cwd=folder)
    failed, said, peak, seconds = json.loads(done.stdout)
    if failed:
        raise SystemExit(f"{shlex.join(command)}: {said}")
    return {
        "command": shlex.join(command),
        "peak_rss_mb": round(peak * 1024 / 1e6, 1),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--tokenizers", nargs="+", default=["bytes", "train", "bpe"])
    parser.add_argument("--bpe-tokens", type=int, help="stop the builds by BPE at so many training tokens")
    parser.add_argument("--out", type=Path, help="JSON file to write, anew after each build")
    options = parser.parse_args()
    about = surroundings(int(os.environ.get("RAYON_NUM_THREADS", os.cpu_count() or 1)))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for megabytes in options.megabytes:
            files = write_texts(folder, megabytes)
            for tokenizer in options.tokenizers:
                for source, file in files.items():
                    train = ["--tokenizer", "train", "--tokens", "1000000"]
                    if tokenizer == "bpe" and not (folder / "bpe.json").exists():
                        measure(["--source", source, "--files", file.name, *train, "--out", "first"], folder)
                        (folder / "first" / "tokenizer.json").rename(folder / "bpe.json")
                    bound = ["--tokens", str(options.bpe_tokens)] if options.bpe_tokens else []
                    bpe = ["--tokenizer", "bpe.json", *bound]
                    kind = {"bytes": ["--tokenizer", "bytes"], "bpe": bpe, "train": train}
                    out = folder / f"{megabytes}-{tokenizer}-{source}"
                    arguments = ["--source", source, "--files", file.name, *kind[tokenizer], "--out", out.name]
                    made = measure(arguments, folder)
                    found = json.loads((out / "dataset.json").read_text())
                    if tokenizer == "train":
                        (out / "tokenizer.json").rename(folder / "bpe.json")
                    shutil.rmtree(out)
                    row = {
                        "megabytes": megabytes,
                        "source": source,
                        "tokenizer": tokenizer,
                        **made,
                        "file_bytes": file.stat().st_size,
                        "tokens": found["train"]["tokens"] + found["validation"]["tokens"],
                        "cuts": found["cuts"],
                    }
                    rows.append(row)
                    print(
                        f"{megabytes:>6} MB {source:6} {tokenizer:6} {row['peak_rss_mb']:>8,.0f} MB at most "
                        f"{row['seconds']:>7.0f} s  {row['tokens']:,} tokens",
                        flush=True,
                    )
                    if options.out:
                        write_json(options.out, {**about, "niceness": os.nice(0), "builds": rows})
            for file in files.values():
                file.unlink()


if __name__ == "__main__":
    main()
