"""The page about batches says what was measured."""

from __future__ import annotations

import json

from tests.docs.pages import ROOT, table

PAGE = "docs/batch.md"


def test_the_noise_along_a_run_is_what_was_measured():
    found = json.loads((ROOT / "results" / "noise-small.json").read_text())
    rows = table(PAGE, "step | loss | noise scale, all")
    assert len(rows) == len(found["snapshots"])
    for snapshot, row in zip(found["snapshots"], rows):
        kinds = {kind["kind"]: kind for kind in snapshot["kinds"]}
        hidden, whole = kinds["hidden"], kinds["all"]
        scales = [f"{kinds[name]['scale']:.3g}" for name in ("hidden", "embedding", "head", "other")]
        forms = {"momentum_batches": ".3g", "momentum_snr": ".2f", "momentum_cosine": ".2f"}
        momentum = ["" if hidden[name] is None else format(hidden[name], form) for name, form in forms.items()]
        span = f"{whole['low']:.3g} to {whole['high']:.3g}"
        assert row == [
            f"{snapshot['step']:,}", f"{snapshot['loss']:.3f}", f"{whole['scale']:.3g}", span, *scales, *momentum
        ]  # fmt: skip
    batch = found["batch_size"]
    assert all(one["kinds"][0]["scale"] > 5 * batch for one in found["snapshots"][1:])
