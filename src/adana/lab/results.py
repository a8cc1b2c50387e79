"""Where a search's results go: a place that belongs to one search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adana import identity
from adana.files import read_json, remove_leftovers, write_json

__all__ = ["Results"]


class Results:
    """``<output>.csv`` and ``<output>.json`` of one search, whose settings the JSON file names by a hash.

    Args:
        output: without ``.csv`` and ``.json``.
        searched: all that decides the search, as plain values: the same search goes on there, however it is run.
        command: what made it, for the reader.
        anew: whether another search's results may be replaced.

    Raises:
        ValueError: the results of another search are there.
        OSError: they cannot be read or written.
    """

    def __init__(self, output: Path, searched: Mapping[str, Any], command: str, *, anew: bool = False) -> None:
        self.csv = output.with_name(output.name + ".csv")
        self.json = output.with_name(output.name + ".json")
        self._about = {"command": command, "searched": identity.digest(searched)}
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output.parent)
        if anew or not (self.json.exists() or self.csv.exists()):
            self.write({"finished": False, "best": []})
        elif self.json.exists():
            found = read_json(self.json, then="delete it, or choose another --output")
            if found.get("searched") != self._about["searched"]:
                whose = found.get("command") or "of an unknown command"
                raise ValueError(
                    f"{self.json} holds the results of another search ({whose}): "
                    "choose another --output, or move it away"
                )
        else:
            raise ValueError(
                f"{self.csv} is there, of a search that cannot be told (no {self.json.name} beside it): choose another "
                "--output, or move it away"
            )

    def write(self, found: Mapping[str, Any]) -> None:
        """Write the JSON file, whole or not at all."""
        write_json(self.json, {**self._about, **found})
