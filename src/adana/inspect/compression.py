"""Code lengths of a text's beginnings, by compressors that others keep well."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = ["COMPRESSORS", "Reader", "code_lengths"]

COMPRESSORS = ("ppm", "zstd", "lzma")
ORDER = 8
"""Bytes of context of PPM. More costs much time and memory on text that has little repetition."""

_CHUNK = 1 << 20


class Reader:
    """Files one after another, read in pieces from any place on.

    Args:
        texts: the files.

    Raises:
        ValueError: no file, a folder or a device, or nothing in them.
        OSError: a file cannot be read.
    """

    def __init__(self, texts: Sequence[str | Path]) -> None:
        self.paths = [Path(text) for text in texts]
        if not self.paths:
            raise ValueError("name at least one text file")
        for path in self.paths:
            if not path.is_file():
                raise ValueError(f"{path} is not a file")
        self.sizes = [path.stat().st_size for path in self.paths]
        self.size = sum(self.sizes)
        if not self.size:
            raise ValueError(f"nothing is in {', '.join(map(str, self.paths))}")

    def pieces(self, start: int, lengths: Sequence[int]) -> Iterator[bytes]:
        """The bytes from ``start`` on, then those before it, in pieces that end at each length and after the last."""
        done = 0
        for n in lengths:
            for low, high in ((start + done, start + n), (start + done - self.size, start + n - self.size)):
                yield from self._between(max(low, 0), min(high, self.size))
            done = n

    def _between(self, begin: int, end: int) -> Iterator[bytes]:
        offset = 0
        for path, size in zip(self.paths, self.sizes):
            low, high = max(begin - offset, 0), min(end - offset, size)
            if low < high:
                with path.open("rb") as file:
                    file.seek(low)
                    left = high - low
                    while left:
                        piece = file.read(min(left, _CHUNK))
                        if not piece:
                            raise ValueError(f"{path} became shorter while it was read")
                        left -= len(piece)
                        yield piece
            offset += size


def code_lengths(
    reader: Reader, start: int, lengths: Sequence[int], compressor: str, *, memory: int = 1 << 30
) -> Iterator[tuple[int, int]]:
    """Bits that a compressor needs for the first n bytes from a place on.

    PPM codes byte by byte: one pass gives all lengths, to some bytes that its coder holds back. Zstandard goes on
    after a flush, which ends a block: some 100 bytes per length. LZMA begins anew for every length.

    Args:
        reader: the text.
        start: where to begin; at the end it goes on from the beginning.
        lengths: n, increasing, at most the text's.
        compressor: ``"ppm"`` (PPMd7 of order 8), ``"zstd"`` (level 19, long-distance matching) or ``"lzma"`` (preset
            6).
        memory: bytes that the model or the window may take. A PPM model that is full is begun anew and loses what it
            has learned.

    Yields:
        n and its bits.

    Raises:
        ImportError: the compressor's package is missing.
    """
    if compressor == "lzma":
        for n in lengths:
            yield n, 8 * sum(map(len, _xz(reader.pieces(start, [n]), n, memory)))
        return
    encode, flush = _encoder(compressor, memory)
    coded = done = 0
    for piece in reader.pieces(start, lengths):
        coded += len(encode(piece))
        done += len(piece)
        if done in lengths:
            coded += len(flush())
            yield done, 8 * coded


_Step = Callable[[bytes], bytes]


def _encoder(name: str, memory: int) -> tuple[_Step, Callable[[], bytes]]:
    """What codes a piece, and what gives out all that is held back in mid-text."""
    if name == "ppm":
        import pyppmd

        ppm = pyppmd.Ppmd7Encoder(ORDER, min(max(memory, 1 << 20), (1 << 32) - (1 << 20)))
        return ppm.encode, bytes
    import zstandard

    window = min(max((memory // 8).bit_length() - 1, 20), 30)
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=window, enable_ldm=True)
    zstd = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return zstd.compress, lambda: zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def _xz(pieces: Iterator[bytes], n: int, memory: int) -> Iterator[bytes]:
    window = min(max(n, 1 << 16), max(memory // 12, 1 << 16), (1 << 32) - (1 << 20))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": window}]
    xz = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=filters)
    yield from map(xz.compress, pieces)
    yield xz.flush()
