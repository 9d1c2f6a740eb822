"""Steps that were saved while JAX's environment still decided about dtypes and keys.

JAX_ENABLE_X64 made parameters float64, JAX_DEFAULT_PRNG_IMPL keys of another kind. Such a step is
read as any other: numbers rounded to float32, the key made one of threefry, of the same words.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from vqjax.ops.numerics import KEYS
from vqjax.types import Tree

KINDS = {"key<fry>": KEYS, "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}


def caveat(arrays: Mapping[str, list]) -> str | None:
    """What is to be said of a step with these arrays, {path: [shape, dtype]}; None: nothing."""
    dtypes = {str(array[-1]) for array in arrays.values() if isinstance(array, list) and array}
    found = ["float64 numbers"] if "float64" in dtypes else []
    found += [
        f"a key of kind {KINDS[k]}" for k in sorted(dtypes & KINDS.keys()) if KINDS[k] != KEYS
    ]
    if not found:
        return None
    return (
        f"it was saved with {' and '.join(found)}, as JAX's environment said then: read as float32 "
        f"and {KEYS}; a training that goes on draws other numbers than it would have"
    )


def fits(saved: list, wanted: list) -> bool:
    """Whether an array [shape, dtype] that was saved can be read as one that is wanted."""
    if saved == wanted or not isinstance(saved, list) or len(saved) != 2:
        return saved == wanted
    pair = str(saved[1]), wanted[1]
    return saved[0] == wanted[0] and (pair == ("float64", "float32") or KINDS.keys() >= set(pair))


def as_saved(target: Tree, arrays: Mapping[str, list]) -> Tree:
    """`target` with the kinds of keys that were saved."""

    def one(path, wanted):
        kind = KINDS.get(arrays[jax.tree_util.keystr(path)][1])
        if kind is None:
            return wanted
        dtype = jax.eval_shape(lambda: jax.random.key(0, impl=kind)).dtype
        return jax.ShapeDtypeStruct(wanted.shape, dtype, sharding=wanted.sharding)

    return jax.tree_util.tree_map_with_path(one, target)


def as_wanted(state: Tree, target: Tree) -> Tree:
    """`state`, as it was saved, with the kinds of keys of `target`."""

    def one(array, wanted):
        if array.dtype == wanted.dtype or not jnp.issubdtype(wanted.dtype, jax.dtypes.prng_key):
            return array
        words = jax.random.key_data(array)[..., :2]
        return jax.random.wrap_key_data(words, impl=KEYS)

    return jax.tree.map(one, state, target)
