"""Time of one jitted update of adana.optax against optax.adamw, alternating in one process.

    python benchmarks/optax_update.py            a table
    python benchmarks/optax_update.py --json     a document

Each round times every optimizer once, in an order that turns from round to round; what counts is the ratio to
optax.adamw within a round, of which the median and the quartiles are printed. State is donated, as in training.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

import adana.optax as ours

HORIZON = 10_000


def tree(heads: int, vocabulary: int) -> dict[str, jax.Array]:
    """Shapes of Enoki with that many heads of 64, laid out layer by layer."""
    width, shapes = 64 * heads, {"embedding": (vocabulary, 64 * heads), "head": (64 * heads, vocabulary)}
    for layer in range(max(1, 3 * heads // 4)):
        for name in ("query", "key", "value", "out"):
            shapes[f"{layer}.{name}"] = (width, width)
        shapes |= {f"{layer}.up": (width, 4 * width), f"{layer}.down": (4 * width, width)}
        shapes |= {f"{layer}.{norm}": (width,) for norm in ("attention_norm", "mlp_norm")}
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return {name: 0.02 * jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}


def optimizers() -> dict[str, Any]:
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 200, HORIZON)
    plain = {"total_steps": HORIZON, "peak_learning_rate": 1e-3}
    return {
        "optax.adamw": optax.adamw(schedule, weight_decay=0.1),
        "optax.nadamw": optax.nadamw(schedule, weight_decay=0.1),
        "adana": ours.adana(schedule, **plain),
        "adana released": ours.adana(schedule, form="released", **plain),
        "dana_mk4": ours.dana_mk4(schedule, **plain),
        "dana_star": ours.dana_star(schedule, **plain),
        "dana_star_mk4": ours.dana_star_mk4(schedule, **plain),
        "adamw": ours.adamw(schedule, **plain),
        "ademamix": ours.ademamix(schedule, **plain),
    }


def measure(heads: int, vocabulary: int, rounds: int) -> dict[str, Any]:
    params = tree(heads, vocabulary)
    grads = jax.tree.map(lambda p: 0.1 * p, params)
    update, state, first = {}, {}, {}
    for name, optimizer in optimizers().items():
        state[name] = jax.jit(optimizer.init)(params)
        update[name] = jax.jit(optimizer.update, donate_argnums=1)
        started = time.perf_counter()
        updates, state[name] = jax.block_until_ready(update[name](grads, state[name], params))
        first[name] = time.perf_counter() - started
    names = list(update)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            updates, state[name] = jax.block_until_ready(update[name](grads, state[name], params))
            times[name].append(time.perf_counter() - started)
            del updates
    rows = []
    for name in names:
        ratios = [t / base for t, base in zip(times[name], times["optax.adamw"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        rows.append(
            {
                "optimizer": name,
                "ratio": middle,
                "quartiles": [low, high],
                "milliseconds": 1e3 * statistics.median(times[name]),
                "first_call_seconds": first[name],
            }
        )
    return {
        "parameters": sum(math.prod(p.shape) for p in jax.tree.leaves(params)),
        "leaves": len(params),
        "heads": heads,
        "vocabulary": vocabulary,
        "rounds": rounds,
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "jax": jax.__version__,
        "optax": optax.__version__,
        "dtype": str(jnp.float32.dtype),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=6, help="Enoki's heads")
    parser.add_argument("--vocabulary", type=int, default=8192, help="rows of the embedding")
    parser.add_argument("--rounds", type=int, default=40, help="how often each is timed")
    parser.add_argument("--json", action="store_true", help="print a document instead of a table")
    arguments = parser.parse_args()
    found = measure(arguments.heads, arguments.vocabulary, arguments.rounds)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"{found['parameters'] / 1e6:.1f}M parameters in {found['leaves']} leaves, {found['rounds']} rounds, "
        f"{found['device']}, jax {found['jax']}, optax {found['optax']}"
    )
    print(f"{'optimizer':<16}{'x optax.adamw':>14}{'quartiles':>16}{'ms':>9}{'first call s':>14}")
    for row in found["rows"]:
        low, high = row["quartiles"]
        print(
            f"{row['optimizer']:<16}{row['ratio']:>14.3f}{f'{low:.2f}-{high:.2f}':>16}"
            f"{row['milliseconds']:>9.1f}{row['first_call_seconds']:>14.2f}"
        )


if __name__ == "__main__":
    main()
