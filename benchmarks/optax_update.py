"""Time of an update of adana.optax inside jit, beside optax.adamw's, alternating in one process.

    python benchmarks/optax_update.py            a table
    python benchmarks/optax_update.py --json     a document

Two ways: "step" applies the updates, with parameters and state donated, as a training step does; "update" returns
them, with the state donated. Each round times every optimizer once, in an order that turns from round to round; what
counts is the ratio to optax.adamw within a round, of which the median and the quartiles are printed. Beside it stands
the memory that the compiler takes for arrays between, as a multiple of the parameters' own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import adana.optax as ours
from measured import print_table, surroundings

HORIZON = 10_000
BASELINE = "optax.adamw"
WAYS = ["step", "update"]


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


def compiled(optimizer: Any, way: str, params: Any, state: Any) -> Any:
    """One program: updates and the state after them, or parameters and state."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates) if way == "step" else updates), state

    donated = (0, 1) if way == "step" else 1
    return jax.jit(step, donate_argnums=donated).lower(params, state, params).compile()


def contender(optimizer: Any, way: str, params: Any, grads: Any) -> tuple[Callable[[], None], float, float]:
    """A call that is to be timed, the seconds until its first was done, and the memory between per parameter's own."""
    state = jax.jit(optimizer.init)(params)
    started = time.perf_counter()
    program = compiled(optimizer, way, params, state)
    held = [jax.tree.map(jnp.copy, params) if way == "step" else params, state]

    def call() -> None:
        found, held[1] = jax.block_until_ready(program(*held, grads))
        if way == "step":
            held[0] = found

    call()
    between = program.memory_analysis().temp_size_in_bytes / sum(p.nbytes for p in jax.tree.leaves(params))
    return call, time.perf_counter() - started, between


def measure(way: str, params: Any, only: list[str], rounds: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    grads = jax.tree.map(lambda p: 0.1 * p, params)
    chosen = {name: one for name, one in optimizers().items() if not only or name in (BASELINE, *only)}
    calls = {name: contender(one, way, params, grads) for name, one in chosen.items()}
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = clock()
            calls[name][0]()
            times[name].append(clock() - started)
        print(f"\r{way}: {turn + 1} of {rounds} rounds", end="", file=sys.stderr)
    print(file=sys.stderr)
    rows = []
    for name in names:
        ratios = [t / base for t, base in zip(times[name], times[BASELINE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        rows.append(
            {
                "way": way,
                "optimizer": name,
                "ratio": round(middle, 4),
                "quartiles": [round(low, 4), round(high, 4)],
                "milliseconds": round(1e3 * statistics.median(times[name]), 2),
                "first_call_seconds": round(calls[name][1], 2),
                "memory_between": round(calls[name][2], 4),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=6, help="Enoki's heads")
    parser.add_argument("--vocabulary", type=int, default=8192, help="rows of the embedding")
    parser.add_argument("--rounds", type=int, default=40, help="how often each is timed")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="what is timed")
    parser.add_argument("--only", nargs="+", default=[], choices=list(optimizers()), help="optimizers; default: all")
    parser.add_argument("--own-time", action="store_true", help="count this process's time, for one busy CPU")
    parser.add_argument("--json", action="store_true", help="print a document instead of a table")
    arguments = parser.parse_args()
    params = tree(arguments.heads, arguments.vocabulary)
    one_thread = "multi_thread_eigen=false" in os.environ.get("XLA_FLAGS", "")
    if arguments.own_time and not one_thread:
        sys.exit("optax_update: --own-time counts one thread: set XLA_FLAGS=--xla_cpu_multi_thread_eigen=false")
    clock = time.process_time if arguments.own_time else time.perf_counter
    about = surroundings(1 if one_thread else len(os.sched_getaffinity(0)), ("jax", "optax"))
    found: dict[str, Any] = {
        **about,
        "parameters": sum(math.prod(p.shape) for p in jax.tree.leaves(params)),
        "leaves": len(params),
        "rounds": arguments.rounds,
        "device": jax.devices()[0].device_kind,
        "dtype": str(jnp.float32.dtype),
        "rows": [
            row for way in arguments.ways for row in measure(way, params, arguments.only, arguments.rounds, clock)
        ],
    }
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    print_table(
        found,
        f"{found['parameters'] / 1e6:.1f}M parameters in {found['leaves']} leaves, {found['rounds']} rounds, "
        f"{found['device']}",
        ("optimizer", "way", f"x {BASELINE}", "quartiles", "ms", "first call s", "memory between"),
        (
            (
                row["optimizer"],
                row["way"],
                f"{row['ratio']:.2f}",
                "{:.2f} to {:.2f}".format(*row["quartiles"]),
                f"{row['milliseconds']:.1f}",
                f"{row['first_call_seconds']:.1f}",
                f"{row['memory_between']:.2f}",
            )
            for row in found["rows"]
        ),
    )


if __name__ == "__main__":
    main()
