"""Small files of the formats that data comes in, made here: the project ships none."""

from __future__ import annotations

import base64
import json
from pathlib import Path

# FineWeb's schema: name and Arrow type of each column.
FINEWEB = {
    "text": "string",
    "id": "string",
    "dump": "string",
    "url": "string",
    "date": "string",
    "file_path": "string",
    "language": "string",
    "language_score": "float64",
    "token_count": "int64",
}


def texts(count: int, *, first: int = 0) -> list[str]:
    return [
        f"Document {i} says: naïve café, {'very ' * (i % 7)}log-time momentum № {i}."
        for i in range(first, first + count)
    ]


def rows(documents: list[str]) -> list[dict[str, object]]:
    return [
        {
            "text": document,
            "id": f"<urn:uuid:{i}>",
            "dump": "CC-MAIN-2024-10",
            "url": f"https://example.org/{i}",
            "date": "2024-02-20T00:00:00Z",
            "file_path": "s3://commoncrawl/x.warc.gz",
            "language": "en",
            "language_score": 0.9,
            "token_count": len(document) // 4,
        }
        for i, document in enumerate(documents)
    ]


def write_parquet(path: Path, documents: list[str]) -> Path:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in FINEWEB.items()])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(documents), schema=schema), path)
    return path


def write_jsonl(path: Path, documents: list[str]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(documents)))
    return path


def write_fineweb(folder: Path, documents: list[str]) -> Path:
    """A repository laid out as FineWeb's: samples by name, each some Parquet files."""
    for name, part in (("10BT", documents), ("100BT", documents[:3])):
        (folder / "sample" / name).mkdir(parents=True)
        for number in range(2):
            write_parquet(folder / "sample" / name / f"00{number}_00000.parquet", part[number::2])
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: sample-10BT\n  data_files:\n  - split: train\n    path: sample/10BT/*\n"
        "- config_name: sample-100BT\n  data_files:\n  - split: train\n    path: sample/100BT/*\n---\n"
    )
    return folder


def write_tiktoken(path: Path) -> Path:
    """A tiny BPE in tiktoken's format: the bytes, and a few merges."""
    tokens = [bytes([i]) for i in range(256)] + [b"lo", b"log", b" m", b"om", b" mom"]
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    return path
