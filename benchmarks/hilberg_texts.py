"""What ``adana inspect hilberg`` says of real texts: the standard library, and files of Debian packages.

Packages are not installed; their files are taken out of them into a folder of one's own:

apt-get download dict-gcide perl-doc && for one in *.deb; do dpkg -x $one x; done
zcat < x/usr/share/dictd/gcide.dict.dz > gcide.txt
find x/usr/share/perl -name '*.pod' | LC_ALL=C sort | xargs cat > perl-doc.txt
python benchmarks/hilberg_texts.py --texts gcide.txt perl-doc.txt --out results/hilberg-texts.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from adana.data.text import library_files
from adana.files import write_json
from adana.inspect.compression import COMPRESSORS
from adana.inspect.hilberg import hilberg
from adana.train.checkpoint_index import sha256_of
from adana.train.recipe import Execution, small
from adana.train.run import train

LIBRARY = "standard library"
TRAINING = {
    "optimizer": "adana",
    "lr": 0.0014,  # the race's, as is omega
    "options": {"weight_decay": 1.0},
    "seq_len": 1024,
    "batch_size": 2,
    "steps": 1500,
    "evaluations": 1,
}


def of_compressor(texts: list[str], name: str, starts: int) -> dict[str, object]:
    began = time.process_time()
    result = asdict(hilberg(texts, compressors=[name], starts=starts, progress=print))
    return {"bytes": result["bytes"], "cpu_seconds": time.process_time() - began, **result["curves"][0]}


def of_run(text: tuple[str, ...], starts: int) -> dict[str, object]:
    """The race's model with a longer context, trained on the text, its newest checkpoint on the text's last 5 %."""
    with tempfile.TemporaryDirectory() as folder:
        result = train(small(text=text, **TRAINING), Path(folder), execution=Execution(device="cpu", log_every=None))
        found = asdict(hilberg(run=folder, starts=starts, progress=print))["curves"][0]
    return {**found, "compressor": "run", "recipe": TRAINING, "final_loss": result.final_loss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="*", default=[])
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"texts": {}}
    found["command"] = (
        "python benchmarks/hilberg_texts.py --texts gcide.txt perl-doc.txt --out results/hilberg-texts.json"
    )
    texts = {LIBRARY: [str(path) for path in library_files().values()]}
    texts |= {Path(text).name: [text] for text in options.texts}
    for what in (*COMPRESSORS, "run"):
        for name, files in texts.items():
            text = found["texts"].setdefault(name, {"curves": {}})
            if what in text["curves"]:  # an interrupted command goes on
                continue
            print(f"{what} on {name}", flush=True)
            if len(files) == 1:
                text["sha256"] = sha256_of(Path(files[0]))
            of_text = () if name == LIBRARY else tuple(files)
            curve = of_run(of_text, options.starts) if what == "run" else of_compressor(files, what, options.starts)
            text["curves"][what] = curve
            write_json(options.out, found)


if __name__ == "__main__":
    main()
