"""The race's model in plain JAX, trained with ``adana.optax``: same bytes, data order and recipe as ``adana race``.

    python examples/jax_enoki.py --folder runs/jax-enoki --seed 0

Ctrl-C saves and stops; the same command goes on where it was, bit for bit on one machine. Needs
``adana[jax]`` and ``orbax-checkpoint``; torch is not imported.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tyro

from adana import schedules
from adana.data import text
from adana.optax import adana

HEAD_DIM = 64
ROPE_BASE = 10000.0
CLIP_NORM = 0.5
EVALUATIONS = 8
LOG_EVERY = 50

Params = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """All that decides a run's numbers; the defaults are the race's, with a learning rate near ADana's best."""

    lr: float = 0.00125
    """Peak learning rate."""
    weight_decay: float = 1.0
    """Omega: decay is omega / (steps/10 + t) a step, whatever the learning rate."""
    heads: int = 2
    """Attention heads of 64 dimensions each."""
    layers: int | None = None
    """Transformer blocks; default floor(3 heads / 4), at least 1."""
    seq_len: int = 256
    """Bytes per sequence."""
    batch_size: int = 4
    """Sequences per step."""
    steps: int = 1500
    """Optimizer steps: the budget, and the horizon of every schedule."""
    seed: int = 0
    """Of the initial weights and of the data order."""
    text: tuple[str, ...] = ()
    """Text files to train on (the last 5 % of each is held out); default the Python standard library."""

    @property
    def depth(self) -> int:
        return max(1, 3 * self.heads // 4) if self.layers is None else self.layers


# The model: a dictionary of arrays, matrices as (inputs, outputs).


@partial(jax.jit, static_argnums=0)
def init(recipe: Recipe) -> Params:
    """Weights as ``N(0, 1/fan_in)``, the two projections onto the residual stream as ``N(0, 1/(2 fan_in layers))``."""
    width = recipe.heads * HEAD_DIM
    keys = iter(jax.random.split(jax.random.key(recipe.seed), 2 + 6 * recipe.depth))

    def matrix(rows: int, columns: int, fan_in: int) -> jax.Array:
        return jax.random.normal(next(keys), (rows, columns)) / math.sqrt(fan_in)

    def block() -> Params:
        residual = 2 * recipe.depth
        return {
            "attention_norm": jnp.ones(width),
            "query": matrix(width, width, width),
            "key": matrix(width, width, width),
            "value": matrix(width, width, width),
            "out": matrix(width, width, residual * width),
            "query_norm": jnp.ones(HEAD_DIM),
            "key_norm": jnp.ones(HEAD_DIM),
            "mlp_norm": jnp.ones(width),
            "up": matrix(width, 4 * width, width),
            "down": matrix(4 * width, width, residual * 4 * width),
        }

    return {
        "embedding": matrix(text.VOCABULARY, width, width),
        "blocks": [block() for _ in range(recipe.depth)],
        "norm": jnp.ones(width),
        "head": matrix(width, text.VOCABULARY, width),
    }


def from_torch(state_dict: Mapping[str, np.ndarray]) -> Params:
    """The weights of ``adana.models.enoki.Enoki``, to start both frameworks from the same point.

    Args:
        state_dict: ``{name: tensor.numpy() for name, tensor in model.state_dict().items()}``; torch keeps
            matrices as (outputs, inputs).
    """
    blocks = 1 + max(int(name.split(".")[1]) for name in state_dict if name.startswith("blocks."))

    def array(name: str) -> jax.Array:
        # A copy: jnp.asarray may share memory with torch's weights, which its optimizer changes in place.
        return jnp.array(state_dict[f"{name}.weight"])

    def block(prefix: str) -> Params:
        matrices = {"query": "attention.", "key": "attention.", "value": "attention.", "out": "attention."}
        matrices |= {"up": "mlp.", "down": "mlp."}
        norms = {"attention_norm": "", "query_norm": "attention.", "key_norm": "attention.", "mlp_norm": ""}
        return {name: array(f"{prefix}.{inside}{name}").T for name, inside in matrices.items()} | {
            name: array(f"{prefix}.{inside}{name}") for name, inside in norms.items()
        }

    return {
        "embedding": array("embedding"),
        "blocks": [block(f"blocks.{i}") for i in range(blocks)],
        "norm": array("norm"),
        "head": array("head").T,
    }


def layer_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * scale


def rotate(x: jax.Array) -> jax.Array:
    """Rotary positions for (batch, time, heads, HEAD_DIM)."""
    half = HEAD_DIM // 2
    frequency = ROPE_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None] * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attention(block: Params, x: jax.Array) -> jax.Array:
    q, k, v = ((x @ block[name]).reshape(*x.shape[:2], -1, HEAD_DIM) for name in ("query", "key", "value"))
    q, k = rotate(layer_norm(q, block["query_norm"])), rotate(layer_norm(k, block["key_norm"]))
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ block["out"]


def forward(params: Params, tokens: jax.Array) -> jax.Array:
    """Token indices (batch, time) to logits (batch, time, vocabulary)."""
    x = params["embedding"][tokens]
    for block in params["blocks"]:
        x = x + attention(block, layer_norm(x, block["attention_norm"]))
        hidden = jax.nn.gelu(layer_norm(x, block["mlp_norm"]) @ block["up"], approximate=False)
        x = x + hidden @ block["down"]
    return layer_norm(x, params["norm"]) @ params["head"]


@jax.jit
def loss_of(params: Params, windows: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats per token; windows are (batch, time + 1)."""
    logits = forward(params, windows[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()


# The optimizer.


def learning_rate(recipe: Recipe, count: Any) -> Any:
    """Warm-up over 2 % of the steps, cosine to a tenth: the schedule shared with torch."""
    return recipe.lr * schedules.gamma(count, recipe.steps)


def make_optimizer(recipe: Recipe) -> optax.GradientTransformationExtraArgs:
    return optax.chain(
        optax.clip_by_global_norm(CLIP_NORM),
        adana(
            partial(learning_rate, recipe),
            peak_learning_rate=recipe.lr,  # decay follows learning_rate / peak, and a schedule hides its peak
            total_steps=recipe.steps,
            weight_decay=recipe.weight_decay,
        ),
    )


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def train_step(recipe: Recipe, params: Params, state: Any, windows: jax.Array) -> tuple[Params, Any, jax.Array]:
    """One update; the parameters and the state passed in are used up."""
    loss, grads = jax.value_and_grad(loss_of)(params, windows)
    updates, state = make_optimizer(recipe).update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


# The run.


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is in its folder."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after ``step`` updates; ``seconds`` and ``done`` count this sitting only."""

    step: int
    loss: float
    validation_loss: float | None
    seconds: float
    done: int


def train(
    recipe: Recipe,
    folder: Path,
    *,
    params: Params | None = None,
    save_every: int = 250,
    report: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Params, dict[str, Any]]:
    """Train to the end, from the folder's newest checkpoint where there is one.

    Args:
        recipe: what to run.
        folder: holds ``checkpoints/`` and, once finished, ``result.json``.
        params: weights to start from; default :func:`init`.
        save_every: steps between checkpoints.
        report: called after every step.
        should_stop: asked after every step; True saves and raises :class:`Interrupted`.

    Returns:
        The trained parameters and what ``result.json`` says.

    Raises:
        Interrupted: it was asked to stop.
        FloatingPointError: the loss is not finite.
        ValueError: the folder holds a run of another recipe or text, a size is below 1, or the text is too short.
    """
    counts = {"heads": recipe.heads, "layers": recipe.depth, "seq_len": recipe.seq_len, "steps": recipe.steps}
    for name, count in (counts | {"batch_size": recipe.batch_size, "save_every": save_every}).items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    corpus = text.text_files(recipe.text) if recipe.text else text.standard_library()
    if min(len(corpus.train), len(corpus.held_out)) <= recipe.seq_len:
        raise ValueError(
            f"the text is too short: {len(corpus.train):,} bytes to train on and {len(corpus.held_out):,} held out, "
            f"and one sequence of seq_len={recipe.seq_len} needs {recipe.seq_len + 1:,} of each"
        )
    validation = text.validation_windows(corpus.held_out, seq_len=recipe.seq_len).astype(np.int32)
    identity = {"recipe": json.loads(json.dumps(asdict(recipe))), "text_sha256": corpus.sha256}

    optimizer = make_optimizer(recipe)
    params = init(recipe) if params is None else jax.tree.map(jnp.copy, params)  # the steps use them up
    state = optimizer.init(params)
    step, curve, losses, seconds = 0, [], [], 0.0

    # Saved before the next step runs: the step donates the very buffers that an asynchronous save would read.
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder.absolute() / "checkpoints", options=options) as checkpoints:

        def save() -> None:
            if step in checkpoints.all_steps():
                return
            log = {"curve": curve, "losses": losses, "seconds": seconds + time.perf_counter() - started}
            arrays = ocp.args.StandardSave({"params": params, "optimizer": state})
            checkpoints.save(step, args=ocp.args.Composite(arrays=arrays, log=ocp.args.JsonSave(identity | log)))

        newest = checkpoints.latest_step()
        if newest is not None:
            log = checkpoints.restore(newest, args=ocp.args.Composite(log=ocp.args.JsonRestore())).log
            for name, value in identity.items():
                if log[name] != value:
                    raise ValueError(
                        f"{folder} holds a run with {name} {log[name]}, and this one has {value}: choose another "
                        "folder, or pass --no-resume to start it anew"
                    )
            like = ocp.args.StandardRestore({"params": params, "optimizer": state})
            arrays = checkpoints.restore(newest, args=ocp.args.Composite(arrays=like)).arrays
            params, state = arrays["params"], arrays["optimizer"]
            step, curve, losses, seconds = newest, log["curve"], log["losses"], log["seconds"]
        started, first = time.perf_counter(), step

        every = max(1, recipe.steps // EVALUATIONS)
        while step < recipe.steps:
            windows = text.batch(
                corpus.train,
                step=step,
                seed=recipe.seed,
                batch_size=recipe.batch_size,
                seq_len=recipe.seq_len,
            )
            params, state, loss = train_step(recipe, params, state, windows.astype(np.int32))
            value = float(loss)
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at step {step}: try a learning rate below {recipe.lr:g}")
            step += 1
            losses.append(value)
            validation_loss = None
            if step % every == 0 or step == recipe.steps:
                validation_loss = evaluate(params, validation, recipe.batch_size)
                curve.append([step, sum(losses) / len(losses), validation_loss])
                losses = []
            report(Progress(step, value, validation_loss, time.perf_counter() - started, step - first))
            stop = step < recipe.steps and should_stop()
            if stop or step % save_every == 0 or step == recipe.steps:
                save()
            if stop:
                raise Interrupted

        versions = {"jax": jax.__version__, "optax": optax.__version__, "python": sys.version.split()[0]}
        seconds += time.perf_counter() - started if step > first else 0.0
        result = identity | {"final_loss": curve[-1][2], "curve": curve, "seconds": seconds, "versions": versions}
    write_json(folder / "result.json", result)
    return params, result


def evaluate(params: Params, windows: np.ndarray, batch_size: int) -> float:
    """Mean loss over the fixed windows; summed in float64 so that the batch size does not matter."""
    chunks = [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]
    return sum(float(loss_of(params, chunk)) * len(chunk) for chunk in chunks) / len(windows)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)


def print_line(recipe: Recipe, progress: Progress) -> None:
    step, seconds = progress.step, progress.seconds / progress.done
    if progress.validation_loss is None and step % LOG_EVERY:
        return
    validation = "" if progress.validation_loss is None else f"  validation {progress.validation_loss:.4f}"
    print(
        f"step {step:>{len(str(recipe.steps))}}/{recipe.steps}  {step / recipe.steps:6.1%}  loss {progress.loss:.4f}"
        f"  lr {float(learning_rate(recipe, step - 1)):.2e}  {1000 * seconds:.0f} ms/step"
        f"  {recipe.batch_size * recipe.seq_len / seconds:,.0f} tokens/s"
        f"  {(recipe.steps - step) * seconds:.0f} s left{validation}",
        flush=True,
    )


def main(
    recipe: Annotated[Recipe, tyro.conf.arg(name="")],
    folder: Path = Path("runs/jax-enoki"),
    save_every: int = 250,
    resume: bool = True,
) -> None:
    """Train the race's Enoki in JAX with ADana. Ctrl-C saves and stops; the same command goes on.

    Args:
        recipe: what to run.
        folder: where checkpoints and result.json go.
        save_every: steps between checkpoints.
        resume: go on from the folder's checkpoint; --no-resume deletes it first.
    """
    if not resume:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / "result.json").unlink(missing_ok=True)
    asked: list[int] = []

    def stop_after_this_step(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it at once

    signal.signal(signal.SIGINT, stop_after_this_step)
    try:
        _, result = train(
            recipe, folder, save_every=save_every, report=partial(print_line, recipe), should_stop=lambda: bool(asked)
        )
    except Interrupted:
        print(f"stopped; the checkpoint is in {folder}. The same command goes on from here.")
    except (FloatingPointError, OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    else:
        print(f"validation loss {result['final_loss']:.4f} after {recipe.steps} steps; {folder / 'result.json'}")


if __name__ == "__main__":
    tyro.cli(main)
