from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.data.tokenizer import (
    GPT2,
    Bytes,
    HuggingFace,
    Tokenizer,
    load_tokenizer,
    padded,
    saved_tokenizer,
    train_tokenizer,
)
from tests.data.files import texts, write_tiktoken

KINDS = ["bytes", "tiktoken", "trained"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[str, Tokenizer]:
    file = write_tiktoken(tmp_path_factory.mktemp("bpe") / "tiny.tiktoken")
    trained = train_tokenizer((text.encode() for text in texts(200)), 300)
    return {"bytes": Bytes(), "tiktoken": load_tokenizer(str(file)), "trained": trained}


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_text_comes_back_from_its_tokens(tokenizers, kind, text):
    tokenizer = tokenizers[kind]
    (tokens,) = tokenizer.encode([text.encode()])
    assert tokenizer.decode(tokens) == text.encode()
    assert (tokens < tokenizer.vocabulary).all()
    assert tokenizer.end_of_text not in tokens


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_of_a_tokenizer_loads_as_the_same_one(tokenizers, kind, tmp_path):
    tokenizers[kind].save(tmp_path)
    saved = saved_tokenizer(tmp_path)
    again = load_tokenizer(tokenizers[kind].name if saved is None else str(saved))
    assert again.fingerprint == tokenizers[kind].fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_utf_8_is_encoded_all_the_same(tokenizers, kind):
    (tokens,) = tokenizers[kind].encode([b"caf\xe9 \xff\xfe"])
    assert tokenizers[kind].decode(tokens) in (b"caf\xe9 \xff\xfe", "caf\ufffd \ufffd\ufffd".encode())


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_encoded_each_by_itself_and_in_order(tokenizers, kind):
    documents = [text.encode() for text in texts(50)] + [b""]
    together = tokenizers[kind].encode(documents)
    assert len(together) == 51
    assert all((a == tokenizers[kind].encode([document])[0]).all() for a, document in zip(together, documents))


@pytest.mark.parametrize("kind", ["tiktoken", "trained"])
def test_a_text_that_spells_the_end_of_text_does_not_end_there(tokenizers, kind):
    """Web pages about language models do."""
    (tokens,) = tokenizers[kind].encode([b"before<|endoftext|>after"])
    assert tokenizers[kind].end_of_text not in tokens
    assert tokenizers[kind].decode(tokens) == b"before<|endoftext|>after"


def test_a_zero_byte_in_a_text_is_dropped_by_bytes(tokenizers):
    assert Bytes().encode([b"a\0b"])[0].tolist() == [97, 98]


def test_gpt_2s_vocabulary_is_padded_to_the_papers():
    assert padded(50257) == 50304
    assert [padded(n) for n in (1, 128, 129)] == [128, 128, 256]


def test_a_tiktoken_file_merges_by_rank_within_words(tokenizers):
    (tokens,) = tokenizers["tiktoken"].encode([b"log mom"])
    assert tokens.tolist() == [257, 260]
    assert (tokenizers["tiktoken"].end_of_text, tokenizers["tiktoken"].vocabulary) == (261, 384)


@given(st.text())
def test_words_are_cut_as_tiktoken_itself_cuts_them_for_gpt_2(tokenizers, text):
    """Its own pattern is written for speed, ours as GPT-2's was."""
    import regex
    from tiktoken_ext import openai_public

    from adana.data.tokenizer import _GPT2_WORDS

    theirs = getattr(openai_public, "r50k_pat_str", None)
    if theirs is None:
        pytest.skip("this tiktoken does not name its pattern")
    assert regex.findall(_GPT2_WORDS, text) == regex.findall(theirs, text)


def test_a_changed_vocabulary_file_is_read_anew_and_has_another_fingerprint(tmp_path):
    """tiktoken's own loader would go on giving what the file held at first."""
    file = write_tiktoken(tmp_path / "tiny.tiktoken")
    first = GPT2(file)
    assert GPT2(file).fingerprint == first.fingerprint
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    second = GPT2(file)
    assert second.end_of_text == first.end_of_text - 1
    assert second.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("bG8= 0 1\n", "line 1: not a base64"),
        ("bG8=\tzero\n", "line 1: not a base64"),
        ("*** 0\n", "line 1: not a base64"),
        ("bG8= 0\nbG9n 2\n", "ranks must be 0, 1, 2"),
        ("", "found 0"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_by_name(tmp_path, content, told):
    (tmp_path / "bad.tiktoken").write_text(content)
    with pytest.raises(ValueError, match=rf"bad\.tiktoken.*{told}"):
        GPT2(tmp_path / "bad.tiktoken")


def test_without_a_network_gpt_2_says_what_to_do(monkeypatch, tmp_path):
    import requests
    import tiktoken

    def fail(*args, **options):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", fail)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    with pytest.raises(OSError, match=r"r50k_base\.tiktoken"):
        load_tokenizer("gpt2")


def test_a_trained_tokenizer_is_the_same_when_trained_again_by_another_process(tokenizers):
    code = (
        "from tests.data.files import texts; from adana.data.tokenizer import train_tokenizer\n"
        "print(train_tokenizer((t.encode() for t in texts(200)), 300).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tokenizers["trained"].fingerprint


def test_a_trained_tokenizer_is_no_larger_than_asked_and_shorter_than_bytes(tokenizers):
    trained = tokenizers["trained"]
    assert trained.vocabulary == 384  # 300, padded
    document = texts(1)[0].encode()
    assert max(trained.encode([document])[0]) < 300
    assert len(trained.encode([document])[0]) < 0.8 * len(document)
    with pytest.raises(ValueError, match="got 256"):
        train_tokenizer([b"x"], 256)


def test_a_saved_tokenizer_loads_as_the_same(tokenizers, tmp_path):
    tokenizers["trained"].save(tmp_path)
    loaded = load_tokenizer(str(tmp_path / "tokenizer.json"), end_of_text="<|endoftext|>")
    assert loaded.fingerprint == tokenizers["trained"].fingerprint
    assert np.array_equal(loaded.encode([b"momentum"])[0], tokenizers["trained"].encode([b"momentum"])[0])


@pytest.mark.parametrize("end", ["</s>", "<eos>", "<|end_of_text|>"])
def test_the_end_of_text_is_found_by_its_usual_names_or_as_told(tokenizers, end):
    tokenizer = tokenizers["trained"]
    definition = tokenizer._definition.replace("<|endoftext|>", end)
    assert HuggingFace(definition, name="x").end_of_text == tokenizer.end_of_text
    odd = tokenizer._definition.replace("<|endoftext|>", "<stop>")
    assert HuggingFace(odd, name="x", end_of_text="<stop>").end_of_text == tokenizer.end_of_text
    with pytest.raises(ValueError, match=r"odd\.json has none of the usual"):
        HuggingFace(odd, name="odd.json")
    with pytest.raises(ValueError, match=r"odd\.json has no token '<end>'"):
        HuggingFace(odd, name="odd.json", end_of_text="<end>")


def test_padding_and_truncation_of_a_tokenizer_file_are_set_aside(tokenizers):
    """Published files carry the settings of somebody's fine-tuning."""
    definition = json.loads(tokenizers["trained"]._definition)
    definition["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    definition["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    cut = HuggingFace(json.dumps(definition), name="x")
    text = texts(1)[0].encode()
    assert np.array_equal(cut.encode([text])[0], tokenizers["trained"].encode([text])[0])


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("gpt3", ValueError, "'gpt3'"),
        ("missing.json", OSError, "missing.json"),
        ("missing.tiktoken", OSError, "missing.tiktoken"),
    ],
)
def test_an_unknown_tokenizer_is_refused(name, error, told):
    with pytest.raises(error, match=told):
        load_tokenizer(name)


def test_a_json_file_that_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "bad.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match=r"bad\.json is not a file of Hugging Face tokenizers"):
        load_tokenizer(str(tmp_path / "bad.json"))


@pytest.mark.parametrize(("library", "build"), [("tiktoken", "GPT2()"), ("tokenizers", "train_tokenizer([], 300)")])
def test_a_library_that_is_not_installed_is_named_with_the_extra_to_install(library, build):
    code = f"import sys; sys.modules[{library!r}] = None\nfrom adana.data.tokenizer import *\n{build}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"needs {library}: pip install 'adana[data]'" in done.stderr
