"""Four small models as other people build them, in torch alone: after GPT-2, Llama, Qwen3 and a vision transformer.

Each has 35,000 to 55,000 parameters. What they differ in is what an optimizer sees: norms with and without biases,
tables of positions, tied and untied heads, norms of queries and keys, a class token.
"""

from __future__ import annotations

import functools
import io
import tokenize
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adana.data.text import Corpus, batch, library_files, standard_library, validation_windows

WIDTH, HEADS, LAYERS, VOCABULARY, SEQUENCE, BATCH = 48, 3, 1, 256, 64, 8
CLASSES, IMAGE, PATCH = 32, 16, 4


class Attention(nn.Module):
    """Causal or full attention, with what the families differ in as switches."""

    def __init__(self, *, bias: bool, causal: bool, rotary: bool, key_heads: int = HEADS, norms: bool = False) -> None:
        super().__init__()
        self.key_heads, self.causal, self.rotary = key_heads, causal, rotary
        size = WIDTH // HEADS
        self.query = nn.Linear(WIDTH, HEADS * size, bias=bias)
        self.key = nn.Linear(WIDTH, key_heads * size, bias=bias)
        self.value = nn.Linear(WIDTH, key_heads * size, bias=bias)
        self.out = nn.Linear(WIDTH, WIDTH, bias=bias)
        self.query_norm = nn.RMSNorm(size) if norms else nn.Identity()
        self.key_norm = nn.RMSNorm(size) if norms else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.query_norm(self.query(x).view(b, n, HEADS, -1)).transpose(1, 2)
        k = self.key_norm(self.key(x).view(b, n, self.key_heads, -1)).transpose(1, 2)
        v = self.value(x).view(b, n, self.key_heads, -1).transpose(1, 2)
        if self.rotary:
            q, k = rotated(q), rotated(k)
        k, v = (y.repeat_interleave(HEADS // self.key_heads, 1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(b, n, WIDTH))


def rotated(x: Tensor) -> Tensor:
    n, size = x.shape[-2:]
    angles = torch.arange(n)[:, None] / 10000.0 ** (torch.arange(0, size, 2) / size)
    one, other = x[..., : size // 2], x[..., size // 2 :]
    return torch.cat((one * angles.cos() - other * angles.sin(), one * angles.sin() + other * angles.cos()), -1)


class Gelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class SwiGlu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, norm: Callable[[int], nn.Module], attention: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.attention_norm, self.attention, self.mlp_norm, self.mlp = norm(WIDTH), attention, norm(WIDTH), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nn.Module):
    """A language model; its loss is the mean over the tokens after the first."""

    def __init__(
        self, norm: Callable[[int], nn.Module], block: Callable[[], nn.Module], *, tied: bool, positions: bool
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(SEQUENCE, WIDTH) if positions else None
        self.blocks = nn.ModuleList(block() for _ in range(LAYERS))
        self.norm = norm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.apply(_normal)
        if tied:
            self.head.weight = self.embedding.weight

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def loss(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens[:, :-1])
        if self.positions is not None:
            x = x + self.positions.weight
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), tokens[:, 1:].flatten())


class Vision(nn.Module):
    """A classifier of images of 16 by 16, in patches of 4 by 4."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (IMAGE // PATCH) ** 2 + 1, WIDTH))
        attention = functools.partial(Attention, bias=True, causal=False, rotary=False)
        self.blocks = nn.ModuleList(Block(nn.LayerNorm, attention(), Gelu()) for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)
        self.apply(_normal)

    def loss(self, data: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = data
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)[:, 0]), labels)


def _normal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def gpt2() -> Decoder:
    def block() -> Block:
        return Block(nn.LayerNorm, Attention(bias=True, causal=True, rotary=False), Gelu())

    return Decoder(nn.LayerNorm, block, tied=True, positions=True)


def llama() -> Decoder:
    def block() -> Block:
        return Block(nn.RMSNorm, Attention(bias=False, causal=True, rotary=True), SwiGlu())

    return Decoder(nn.RMSNorm, block, tied=False, positions=False)


def qwen3() -> Decoder:
    def block() -> Block:
        return Block(nn.RMSNorm, Attention(bias=False, causal=True, rotary=True, key_heads=1, norms=True), SwiGlu())

    return Decoder(nn.RMSNorm, block, tied=True, positions=False)


MODELS: dict[str, Callable[[], nn.Module]] = {"gpt2": gpt2, "llama": llama, "qwen3": qwen3, "vit": Vision}


def made(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return MODELS[name]()


# --- data -----------------------------------------------------------------------------------------------


@functools.cache
def library() -> Corpus:
    return standard_library()


@functools.cache
def english() -> tuple[np.ndarray, np.ndarray]:
    """Another text: comments and docstrings of every eighth file of the library, the last 5 % of them held out."""
    texts = []
    for file in list(library_files().values())[::8]:
        try:
            marks = list(tokenize.generate_tokens(io.StringIO(file.read_text("utf-8")).readline))
        except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
            continue
        kinds = (tokenize.COMMENT, tokenize.STRING)
        texts += [one.string.strip("#'\"r ") for one in marks if one.type in kinds and one.string.count(" ") > 3]
    tokens = np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)
    cut = int(0.95 * len(tokens))
    return tokens[:cut], tokens[cut:]


def text_batch(tokens: np.ndarray, *, step: int, seed: int) -> Tensor:
    found = batch(tokens, step=step, seed=seed, batch_size=BATCH, seq_len=SEQUENCE)
    return torch.from_numpy(found.astype(np.int64))


def held_out(tokens: np.ndarray) -> Iterator[Tensor]:
    windows = validation_windows(tokens, seq_len=SEQUENCE, tokens=32_768)
    yield from torch.from_numpy(windows.astype(np.int64)).split(64)


def images(step: int, seed: int, count: int = 2 * BATCH) -> tuple[Tensor, Tensor]:
    """Pictures made of two of 32 textures each, shifted and with noise; the label is the stronger one's."""
    makes = torch.Generator().manual_seed(12345)
    textures = torch.randn(CLASSES, 3, IMAGE, IMAGE, generator=makes)
    random = torch.Generator().manual_seed(1_000_003 * seed + step)
    labels = torch.randint(CLASSES, (count,), generator=random)
    others = torch.randint(CLASSES, (count,), generator=random)
    shifts = torch.randint(2, (count, 2), generator=random)
    stack = [
        torch.roll(textures[a], tuple(s.tolist()), (1, 2)) + 0.5 * torch.roll(textures[b], tuple(s.tolist()), (2, 1))
        for a, b, s in zip(labels, others, shifts, strict=True)
    ]
    return torch.stack(stack) + torch.randn(count, 3, IMAGE, IMAGE, generator=random), labels


def training_batch(name: str, step: int, seed: int) -> Tensor | tuple[Tensor, Tensor]:
    return images(step, seed) if name == "vit" else text_batch(library().train, step=step, seed=seed)


@torch.no_grad()
def validation_loss(name: str, model: nn.Module, tokens: np.ndarray | None = None) -> float:
    """Over data that no seed trains on."""
    if name == "vit":
        batches = [images(step, seed=999_999, count=256) for step in range(4)]
    else:
        batches = list(held_out(library().held_out if tokens is None else tokens))
    losses = [float(model.loss(one)) for one in batches]  # type: ignore[operator]
    return sum(losses) / len(losses)
