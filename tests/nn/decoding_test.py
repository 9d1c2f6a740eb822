"""A token costs no more than reading the caches once: nothing copies or turns them."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from vqjax.nn.transformer import Transformer, unstack_params

B, S, C, HEADS = 3, 40, 32, 4


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_caches_are_neither_copied_nor_turned_for_a_token(kv_heads):
    network = Transformer(2, HEADS, kv_heads)
    x, angles = jnp.ones((B, 1, C)), jnp.ones((1, C // HEADS // 2))
    params = jax.eval_shape(network.init, jax.random.key(0), x, angles)["params"]
    caches = network.caches(B, S, C, "float32")

    def all_tokens(params, x, caches):
        blocks, norm = unstack_params(params, network.layers), params["norm"]

        def one(offset, carry):
            return network.decode_step(blocks, norm, carry[0], angles, carry[1], offset)

        return jax.lax.fori_loop(0, S, one, (x, caches))

    jitted = jax.jit(all_tokens, donate_argnums=2)
    program = jitted.lower(params, x, caches).compile().as_text()
    assert "dynamic-update-slice" in program
    moved = [
        line.strip()
        for line in program.splitlines()
        for shape in re.findall(r"= f32\[([\d,]+)\]\S* (?:copy|transpose)\(", line)
        if math.prod(map(int, shape.split(","))) == caches[0].keys.size
    ]
    assert not moved
