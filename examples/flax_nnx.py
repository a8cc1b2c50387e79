"""ADana in Flax NNX, beside optax's AdamW; the state is saved and loaded as arrays. Needs adana[jax] and flax.

python examples/flax_nnx.py
"""

from __future__ import annotations

import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny
from flax import nnx

from adana.optax import adana

STEPS = 60


class Model(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(256, 32, rngs=rngs)
        self.up, self.norm = nnx.Linear(96, 128, rngs=rngs), nnx.LayerNorm(128, rngs=rngs)
        self.head = nnx.Linear(128, 256, rngs=rngs)

    def __call__(self, tokens):
        x = jnp.pad(self.embed(tokens), ((0, 0), (2, 0), (0, 0)))
        x = jnp.concatenate((x[:, :-2], x[:, 1:-1], x[:, 2:]), axis=-1)
        return self.head(self.norm(jax.nn.gelu(self.up(x))))


def loss(model, tokens):
    return optax.softmax_cross_entropy_with_integer_labels(model(tokens[:, :-1]), tokens[:, 1:]).mean()


@nnx.jit
def update(model, optimizer, tokens):
    optimizer.update(model, nnx.grad(loss)(model, tokens))


def made(name: str):
    model = Model()
    if name == "adana":
        rate = optax.cosine_decay_schedule(tiny.ADANA_LR, STEPS)
        rule = adana(rate, peak_learning_rate=tiny.ADANA_LR, total_steps=STEPS)
    else:
        rule = optax.adamw(optax.cosine_decay_schedule(tiny.ADAMW_LR, STEPS))
    return model, nnx.Optimizer(model, rule, wrt=nnx.Param)


def train(name: str, stop_and_go_on: bool = False) -> float:
    data, (model, optimizer) = jnp.asarray(tiny.rows()), made(name)
    for step in range(STEPS):
        if stop_and_go_on and step == STEPS // 2:
            with tempfile.TemporaryFile() as file:
                np.savez(file, *jax.tree.leaves(nnx.state((model, optimizer))))
                file.seek(0)
                model, optimizer = made(name)
                form = jax.tree.structure(nnx.state((model, optimizer)))
                nnx.update((model, optimizer), jax.tree.unflatten(form, list(np.load(file).values())))
        update(model, optimizer, data[step * 8 % 240 :][:8])
    return float(loss(model, data))


def main() -> dict[str, float]:
    return {"adamw": train("adamw"), "adana": train("adana"), "resumed": train("adana", stop_and_go_on=True)}


if __name__ == "__main__":
    print(main())
