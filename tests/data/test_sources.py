from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from adana.data import text
from adana.data.santa_fe import SantaFe
from adana.data.sources import (
    FineWeb,
    InstalledPackages,
    JSONLines,
    Parquet,
    StandardLibrary,
    TextFiles,
    first_bytes,
)
from tests.data.files import FINEWEB, texts, write_fineweb, write_jsonl, write_parquet

DOCUMENTS = texts(60)


def contents(source) -> list[str]:
    return [document.text.decode() for document in source.pieces()]


def test_the_standard_library_is_split_as_the_race_splits_it():
    train, held_out = [], []
    for document in StandardLibrary().pieces():
        (held_out if document.held_out else train).append(document.text)
    corpus = text.standard_library()
    assert text.SEPARATOR.join(train) == corpus.train.tobytes()
    assert text.SEPARATOR.join(held_out) == corpus.held_out.tobytes()


@pytest.fixture
def packages(tmp_path):
    for name, content in {
        "b/code.py": b"print(1)\n",
        "a/copy_of_code.py": b"print(1)\n",
        "a/README.md": "café".encode(),
        "a/latin.txt": "café".encode("latin-1"),
        "a/table.csv": b"1,2,3",
        "a/empty.py": b"",
        "a/module.so": b"\x7fELF",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "a" / "broken.py").symlink_to("nowhere")
    (tmp_path / "a" / "folder.py").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe.py")
    return InstalledPackages(folders=(str(tmp_path),))


def test_packages_give_each_text_once_in_the_order_of_their_paths(packages):
    assert contents(packages) == ["café", "print(1)\n"]


@pytest.mark.slow
def test_the_installed_packages_are_those_of_this_python():
    found = InstalledPackages().pieces()
    assert {len(next(found).text) > 0 for _ in range(20)} == {True}


@pytest.mark.parametrize("write", [write_parquet, write_jsonl], ids=["parquet", "jsonl"])
def test_a_column_of_fineweb_files_is_read_in_order(tmp_path, write):
    kind, suffix = (Parquet, ".parquet") if write is write_parquet else (JSONLines, ".jsonl")
    write(tmp_path / f"1{suffix}", DOCUMENTS[30:])
    write(tmp_path / f"0{suffix}", DOCUMENTS[:30])
    assert contents(kind((tmp_path,))) == DOCUMENTS
    assert contents(kind((tmp_path / f"1{suffix}",), column="dump")) == ["CC-MAIN-2024-10"] * 30
    with pytest.raises(ValueError, match=rf"0{suffix}.*'body'.*text, id, dump"):
        contents(kind((tmp_path,), column="body"))
    with pytest.raises(ValueError, match="'token_count' holds int, not text"):
        contents(kind((tmp_path,), column="token_count"))


def test_gzipped_json_lines_are_read(tmp_path):
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"text": "one"}\n\n{"text": null}\n{"text": ""}\n{"text": "two \\ud800"}\n')
    assert contents(JSONLines((tmp_path,))) == ["one", "two ?"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{not json", "line 2: not JSON"),
        (b"[1]", "line 2: no field 'text'"),
        (b'{"text": "caf\xe9"}', "line 2: not UTF-8; convert the file"),
        (b'{"text": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 2: nested too deeply"),
        (b'{"a": 1, "b": 2}', "line 2: no field 'text'; there is a, b$"),
        (json.dumps({str(i): 0 for i in range(1000)}).encode(), r"no field 'text'; there is 0, 1, .* and 980 others$"),
    ],
    ids=["no json", "no object", "latin-1", "deep", "other fields", "many other fields"],
)
def test_a_bad_line_is_named(tmp_path, line, told):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(ValueError, match=rf"a\.jsonl, .*{told}"):
        contents(JSONLines((tmp_path / "a.jsonl",)))


def test_a_broken_parquet_file_is_named(tmp_path):
    whole = write_parquet(tmp_path / "a.parquet", DOCUMENTS).read_bytes()
    for broken in (whole[:-100], b"PAR1 and no more", whole[:300] + b"\xff" * 50 + whole[350:]):
        (tmp_path / "broken.parquet").write_bytes(broken)
        with pytest.raises(ValueError, match=r"broken\.parquet is corrupt or not Parquet"):
            contents(Parquet((tmp_path / "broken.parquet",)))


def test_parquet_text_that_is_not_utf_8_is_named(tmp_path):
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.array([b"caf\xe9"]).cast(pyarrow.string(), safe=False)
    pyarrow.parquet.write_table(pyarrow.table({"text": text}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet.*not UTF-8"):
        contents(Parquet((tmp_path / "a.parquet",)))


@pytest.fixture
def fineweb(tmp_path):
    return str(write_fineweb(tmp_path / "fineweb", DOCUMENTS))


def test_fineweb_is_streamed_by_the_name_of_its_sample(fineweb):
    """The hub's own code path, on a folder laid out as the repository is."""
    assert contents(FineWeb(repository=fineweb)) == DOCUMENTS[0::2] + DOCUMENTS[1::2]
    assert sorted(contents(FineWeb("sample-100BT", repository=fineweb))) == sorted(DOCUMENTS[:3])
    with pytest.raises(ValueError, match="sample-10BT"):  # the library lists those there are
        contents(FineWeb("sample-1BT", repository=fineweb))
    with pytest.raises(ValueError, match=f"'body'; there is {', '.join(FINEWEB)}"):
        contents(FineWeb(repository=fineweb, column="body"))


@pytest.mark.parametrize("error", [RuntimeError("gone\nlong trace"), OSError(), KeyError("text")], ids=repr)
def test_an_error_of_the_library_names_the_repository(monkeypatch, error):
    import datasets

    class Rows:
        column_names = None

        def __iter__(self):
            yield {"text": "fine"}
            raise error

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: Rows())
    with pytest.raises(OSError, match=r"fineweb cannot be read to its end: (gone$|OSError$|'text'$)"):
        contents(FineWeb())
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(OSError, match=r"fineweb cannot be opened: (gone$|OSError$|'text'$)"):
        contents(FineWeb())


@pytest.mark.slow
def test_fineweb_without_a_network_is_one_error_that_says_so():
    code = (
        "from adana.data.sources import FineWeb\n"
        "try: next(FineWeb().pieces())\n"
        "except OSError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "HuggingFaceFW/fineweb cannot be reached" in done.stdout, done.stderr


def test_a_text_file_holds_out_its_end_and_cuts_no_character(tmp_path):
    content = "ü" * 997
    (tmp_path / "a.txt").write_text(content)
    (tmp_path / "b.txt").write_text("tiny")
    (tmp_path / "c.csv").write_text("not text")
    documents = list(TextFiles((tmp_path,), held_out_every=10).pieces())
    assert [document.held_out for document in documents] == [False, True, False]
    assert documents[0].text.decode() + documents[1].text.decode() == content
    assert len(documents[1].text) == pytest.approx(199, abs=2)


def sources(tmp_path, every: int):
    files = (write_parquet(tmp_path / "a.parquet", texts(4000)), write_jsonl(tmp_path / "a.jsonl", texts(4000)))
    yield Parquet(files[:1], held_out_every=every)
    yield JSONLines(files[1:], held_out_every=every)
    yield SantaFe(count=4000, statements=1, held_out_every=every)


def test_one_document_in_so_many_is_held_out_the_same_ones_each_time(tmp_path):
    for source in sources(tmp_path, 20):
        held = [document.held_out for document in source.pieces()]
        assert 0.035 < np.mean(held) < 0.065, source
        assert held == [document.held_out for document in source.pieces()]


def test_no_held_out_document_has_a_copy_in_training(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", texts(500) * 2)
    split = {True: set(), False: set()}
    for document in JSONLines((path,), held_out_every=5).pieces():
        split[document.held_out].add(document.text)
    assert split[True]
    assert not split[True] & split[False]


@pytest.mark.parametrize("source", [TextFiles, JSONLines, Parquet, FineWeb, InstalledPackages, SantaFe])
def test_everything_held_out_is_refused(source):
    options = {"paths": ("x",)} if source in (TextFiles, JSONLines, Parquet) else {}
    with pytest.raises(ValueError, match=r"held_out_every must be at least 2 .* got 1"):
        source(held_out_every=1, **options)


@pytest.mark.parametrize("source", [TextFiles, JSONLines, Parquet])
def test_files_that_are_not_there_are_named(source, tmp_path):
    with pytest.raises(OSError, match="missing"):
        contents(source((tmp_path / "missing",)))
    with pytest.raises(OSError, match="in this folder"):
        contents(source((tmp_path,)))
    with pytest.raises(ValueError, match="no files"):
        contents(source(()))


def test_a_source_of_many_files_has_a_name_that_can_be_printed(tmp_path):
    paths = tuple(f"{i}.txt" for i in range(1000))
    assert TextFiles(paths).name.endswith("19.txt and 980 others")
    assert len(TextFiles(paths).about()["paths"]) == 1000


def test_what_a_source_says_of_itself_is_plain_json_and_decides_its_documents(tmp_path):
    for source in (*sources(tmp_path, 20), StandardLibrary(), FineWeb(), InstalledPackages()):
        about = json.loads(json.dumps(source.about()))
        assert about["source"] == type(source).__name__
    assert SantaFe(seed=3).about()["seed"] == 3


def test_what_a_tokenizer_is_trained_on_is_never_held_out(tmp_path):
    source = SantaFe(count=200, statements=10, held_out_every=2)
    held = {document.text for document in source.pieces() if document.held_out}
    used = list(first_bytes(source.pieces(), 1000))
    assert 990 <= sum(map(len, used)) <= 1000
    assert not [text for text in used if any(document.startswith(text) for document in held)]


def pairs(source: SantaFe) -> tuple[np.ndarray, np.ndarray]:
    words = b"".join(document.text for document in source.pieces()).split()
    return np.array([int(word[:-1]) for word in words]), np.array([word[-1:] == b"+" for word in words])


def test_a_fact_of_the_santa_fe_process_never_changes_and_is_a_fair_coin():
    k, z = pairs(SantaFe(exponent=0.7, symbols=5000, count=40, statements=500, seed=1))
    facts = {}
    for subject, fact in zip(k.tolist(), z.tolist()):
        assert facts.setdefault(subject, fact) == fact
    assert 0.45 < np.mean(list(facts.values())) < 0.55
    assert (z == SantaFe(symbols=5000, seed=1).facts()[k - 1]).all()


@pytest.mark.parametrize("exponent", [0.5, 0.7, 0.88])
def test_facts_of_the_santa_fe_process_become_known_as_its_law_says(exponent):
    """Distinct subjects among n statements, against sum(1 - (1 - p)^n): the mutual information the name is for."""
    source = SantaFe(exponent=exponent, symbols=200_000, count=1, statements=20_000, seed=0)
    k = source.subjects(0)
    p = source.probabilities()
    assert p.sum() == pytest.approx(1)
    assert p[0] / p[1] == pytest.approx(2 ** (1 / exponent))
    for n in (100, 1000, 20_000):
        expected = (1 - (1 - p) ** n).sum()
        assert len(set(k[:n].tolist())) == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_the_known_facts_grow_with_the_hilberg_exponent():
    """The exact count, not a sample: its slope between two sizes is the exponent, the truncation far away."""
    source = SantaFe(exponent=0.5, symbols=1_000_000)
    p = source.probabilities()
    small, large = ((1 - (1 - p) ** n).sum() for n in (1000, 10_000))
    assert np.log10(large / small) == pytest.approx(0.5, abs=0.01)


def test_documents_of_the_santa_fe_process_are_each_a_function_of_seed_and_number():
    a, b = SantaFe(count=3, statements=50), SantaFe(count=9, statements=50)
    assert contents(a) == contents(b)[:3]
    assert len(set(contents(b))) == 9
    assert contents(SantaFe(count=3, statements=50, seed=1)) != contents(a)
    digest = hashlib.sha256("".join(contents(a)).encode()).hexdigest()
    assert digest == hashlib.sha256("".join(contents(SantaFe(count=3, statements=50))).encode()).hexdigest()


@pytest.mark.parametrize(
    "bad",
    [{"exponent": 1.0}, {"exponent": 0.0}, {"symbols": 0}, {"symbols": 10**9}, {"count": 0}, {"seed": -1}],
    ids=str,
)
def test_an_impossible_santa_fe_process_is_refused(bad):
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        SantaFe(**bad)


@pytest.mark.parametrize(("library", "build"), [("pyarrow", "Parquet(('x',))"), ("datasets", "FineWeb()")])
def test_a_library_that_is_not_installed_is_named_with_the_extra_to_install(library, build):
    code = f"import sys; sys.modules[{library!r}] = None\nfrom adana.data.sources import *\nnext({build}.pieces())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"needs {library}: pip install 'adana[data]'" in done.stderr
