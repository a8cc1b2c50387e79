"""Byte-level vocabularies as files of Hugging Face's `tokenizers`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

__all__ = ["byte_level"]


def byte_level(ranks: Mapping[bytes, int], end: str, end_token: int) -> str:
    """The ``tokenizer.json`` of a byte-pair encoding that is given by its tokens' ranks, as tiktoken's files give it.

    Args:
        ranks: token by its bytes. Pairs are merged in the order of the tokens that they make.
        end: name of the end of a text.
        end_token: its token.

    Raises:
        ImportError: tokenizers is not installed.

    >>> import json
    >>> found = json.loads(byte_level({b"a": 0, b"b": 1, b"ab": 2}, "<end>", 3))
    >>> found["model"]["merges"], found["model"]["vocab"]["ab"]
    ([['a', 'b']], 2)
    """
    try:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    except ImportError:
        raise ImportError("a tokenizer.json needs tokenizers: pip install 'adana[export]'") from None
    letters = _letters()
    named = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            left, right = _last_merge(token, rank, ranks)
            merges.append((named[left], named[right]))
    vocabulary = {named[token]: rank for token, rank in ranks.items()} | {end: end_token}
    model = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.add_special_tokens([AddedToken(end, normalized=False, special=True)])
    definition: str = model.to_str(pretty=False)
    return definition


def _last_merge(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> list[bytes]:
    """The two parts of a token, found by merging its bytes by all lower ranks."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        found = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(itertools.pairwise(parts))]
        lowest, i = min(found)
        if lowest >= rank:
            raise ValueError(f"the token {token!r} cannot be made by merging two others: this is no byte-pair encoding")
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _letters() -> list[str]:
    """The letter that stands for each byte in such files: itself where it is printed, else one from 256 on."""
    printed = {*range(33, 127), *range(161, 173), *range(174, 256)}
    letters, others = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in printed else others))
        others += byte not in printed
    return letters
