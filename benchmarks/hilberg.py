"""What ``adana inspect hilberg`` says of texts whose Hilberg exponent is known: Santa Fe processes.

python benchmarks/hilberg.py --out results/hilberg-santa-fe.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from adana.data.santa_fe import SantaFe
from adana.files import write_json
from adana.inspect.hilberg import hilberg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=16.0)
    parser.add_argument("--exponents", nargs="+", type=float, default=[0.5, 0.7, 0.88])
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"texts": []}
    found["command"] = "python benchmarks/hilberg.py " + " ".join(sys.argv[1:])
    have = {text["exponent"] for text in found["texts"]}
    with tempfile.TemporaryDirectory() as folder:
        for exponent in options.exponents:
            if exponent in have:  # an interrupted command goes on
                continue
            path = Path(folder) / "santa-fe.txt"
            left = int(options.megabytes * 2**20)
            with path.open("wb") as file:
                for piece in SantaFe(exponent=exponent, count=10**9).pieces():
                    file.write(piece.text[:left])
                    left -= min(left, len(piece.text))
                    if not left:
                        break
            began = time.process_time()
            result = asdict(hilberg([str(path)], starts=options.starts))
            result.pop("texts")
            found["texts"].append({"exponent": exponent, "cpu_seconds": time.process_time() - began, **result})
            write_json(options.out, found)
            for law in result["curves"][0]["fits"]:
                print(exponent, law, flush=True)


if __name__ == "__main__":
    main()
