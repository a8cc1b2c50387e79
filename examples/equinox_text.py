"""ADana with Equinox, beside optax's AdamW; model and state are saved and loaded. Needs adana[jax] and equinox.

python examples/equinox_text.py
"""

from __future__ import annotations

import tempfile

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import tiny

from adana.optax import adana

STEPS = 60


class Model(eqx.Module):
    embed: eqx.nn.Embedding
    up: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.embed, self.norm = eqx.nn.Embedding(256, 32, key=keys[0]), eqx.nn.LayerNorm(128)
        self.up, self.head = eqx.nn.Linear(96, 128, key=keys[1]), eqx.nn.Linear(128, 256, key=keys[2])

    def __call__(self, tokens):  # of one text
        x = jnp.pad(jax.vmap(self.embed)(tokens), ((2, 0), (0, 0)))
        x = jnp.concatenate((x[:-2], x[1:-1], x[2:]), axis=-1)
        return jax.vmap(lambda v: self.head(self.norm(jax.nn.gelu(self.up(v)))))(x)


def loss(model, tokens):
    logits = jax.vmap(model)(tokens[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def train(name: str, stop_and_go_on: bool = False) -> float:
    model, data = Model(jax.random.key(0)), jnp.asarray(tiny.rows())
    arrays = eqx.filter(model, eqx.is_inexact_array)  # what is trained
    if name == "adana":
        rate = optax.cosine_decay_schedule(tiny.ADANA_LR, STEPS)
        rule = adana(rate, peak_learning_rate=tiny.ADANA_LR, total_steps=STEPS)
    else:
        rule = optax.adamw(optax.cosine_decay_schedule(tiny.ADAMW_LR, STEPS))
    state = rule.init(arrays)

    @eqx.filter_jit
    def update(model, state, tokens):
        grads = eqx.filter_grad(loss)(model, tokens)
        changes, state = rule.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, changes), state

    for step in range(STEPS):
        if stop_and_go_on and step == STEPS // 2:
            with tempfile.TemporaryFile() as file:
                eqx.tree_serialise_leaves(file, (model, state))
                file.seek(0)
                fresh = Model(jax.random.key(1))
                model, state = eqx.tree_deserialise_leaves(file, (fresh, rule.init(arrays)))
        model, state = update(model, state, data[step * 8 % 240 :][:8])
    return float(loss(model, data))


def main() -> dict[str, float]:
    return {"adamw": train("adamw"), "adana": train("adana"), "resumed": train("adana", stop_and_go_on=True)}


if __name__ == "__main__":
    print(main())
