"""``adana export``: the folder that transformers loads, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
import torch

from adana.cli import main
from adana.models import architectures
from tests.data.files import write_tiktoken

TRAIN = "--heads 2 --layers 1 --head-dim 8 --seq-len 16 --batch-size 2 --steps 4 --lr 1e-3 --validation-tokens 64 "
TEXT = " ".join(f"word{n * n % 97}" for n in range(4000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("export")
    (where / "words.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        for arch in ("enoki", "qwen3"):
            words = f"train {arch} --vocab-size 256 --text words.txt --out {arch} --device cpu {TRAIN}"
            assert main(words.split()) == 0
    return where


def _has_transformers():
    transformers = pytest.importorskip("transformers", minversion="5")
    pytest.importorskip("safetensors")
    return transformers


@pytest.mark.parametrize("arch", ["enoki", "qwen3"])
def test_transformers_loads_the_run_and_its_tokenizer(arch, folder, tmp_path, capsys):
    transformers = _has_transformers()
    capsys.readouterr()
    assert main(["export", str(folder / arch), "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["difference"] < 1e-5
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert sum(p.numel() for name, p in model.named_parameters() if "bias" not in name) == found["parameters"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.encode("a\0b é") == [97, 98, 32, 195, 169]
    assert tokenizer.decode([97, 98, 32, 195, 169]) == "ab é"
    drawn = model.generate(**tokenizer("word", return_tensors="pt"), max_new_tokens=5, do_sample=False)
    capsys.readouterr()
    assert main(["sample", str(folder / arch), "--prompt", "word", "--tokens", "5", "--temperature", "0"]) == 0
    written = capsys.readouterr().out[:-1]
    assert written == "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in tokenizer.decode(drawn[0]))


@pytest.mark.parametrize("arch", ["enoki", "qwen3"])
def test_the_folder_holds_every_weight_and_is_made_whole_or_not_at_all(arch, folder, tmp_path, capsys, monkeypatch):
    load_file = pytest.importorskip("safetensors.torch").load_file
    monkeypatch.setattr("adana.train.export.importlib.util.find_spec", lambda name: None)  # as without transformers
    assert main(["export", str(folder / arch), "--out", str(tmp_path / "out")]) == 0
    assert "not compared, as transformers is not installed" in capsys.readouterr().out
    held = load_file(tmp_path / "out" / "model.safetensors")
    assert all(bool(torch.isfinite(weight).all()) for weight in held.values())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_attention_heads"] == 2
    assert held["lm_head.weight"].shape == (256, config["hidden_size"])
    monkeypatch.setattr("adana.train.export.write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert main(["export", str(folder / arch), "--out", str(tmp_path / "other")]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_form_that_loses_a_weight_is_refused_and_nothing_is_kept(folder, tmp_path, capsys, monkeypatch):
    _has_transformers()
    entry = architectures.architecture("qwen3")

    def without_gates(config, weights, context):
        for name, weight in weights.items():
            if name.endswith("attention.gate.weight"):
                weight.zero_()
        return entry.exported(config, weights, context)

    def without_a_layer(config, weights, context):
        found = entry.exported(config, weights, context)
        del found.weights["model.layers.0.mlp.up_proj.weight"]
        return found

    for wrong, said in ((without_gates, "logits"), (without_a_layer, "did not load the weights")):
        # The comparison must see the run's own model, so the form gets copies.
        form = lambda config, weights, context, wrong=wrong: wrong(  # noqa: E731
            config, {name: weight.clone() for name, weight in weights.items()}, context
        )
        monkeypatch.setitem(architectures._known, "qwen3", dataclasses.replace(entry, exported=form))
        assert main(["export", str(folder / "qwen3"), "--out", str(tmp_path / "out")]) == 1
        assert said in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["tiktoken", "trained"])
def test_the_tokenizer_of_the_data_goes_along(kind, tmp_path, capsys, monkeypatch):
    transformers = _has_transformers()
    pytest.importorskip("tiktoken")
    from adana.data.tokenizer import load_tokenizer, train_tokenizer

    if kind == "trained":
        made = train_tokenizer([TEXT.encode()], 300)
    else:
        made = load_tokenizer(str(write_tiktoken(tmp_path / "tiny.tiktoken")))
    (tmp_path / "tokenizer.json").write_text(made.definition())
    again = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in (TEXT[:300], "  Ünïcode, 12.5 %\n\ttabs  and it's", ""):
        assert again.encode(text) == made.encode([text.encode()])[0].tolist()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 2, "nowhere"),
        (["enoki", "--to", "onnx"], 2, "transformers"),
        (["enoki", "--out", "words.txt"], 2, "already something at words.txt"),
    ],
)
def test_what_cannot_be_is_refused(words, code, said, folder, capsys, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(folder)
    assert main(["export", *words]) == code
    assert said in capsys.readouterr().err


def test_what_is_not_installed_is_one_line(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert main(["export", str(folder / "enoki")]) == 1
    assert "pip install 'adana[export]'" in capsys.readouterr().err
