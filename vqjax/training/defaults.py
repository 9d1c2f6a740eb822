"""Steps that were saved when JAX's environment still decided on dtypes and kinds of keys.

JAX_ENABLE_X64 made parameters float64, JAX_DEFAULT_PRNG_IMPL keys of another kind. Such a step is
read with numbers rounded to float32 and the key made a threefry key of the same words.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from vqjax.ops.numerics import KEYS
from vqjax.types import Tree

KINDS = {"key<fry>": KEYS, "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}


def caveat(arrays: Mapping[str, list]) -> str | None:
    """A caveat on a step with these arrays, {path: [shape, dtype]}; None: there is none."""
    dtypes = {str(array[-1]) for array in arrays.values() if isinstance(array, list) and array}
    odd = ["float64 numbers"] if "float64" in dtypes else []
    odd += [f"a key of kind {KINDS[k]}" for k in sorted(dtypes & KINDS.keys()) if KINDS[k] != KEYS]
    if not odd:
        return None
    return (
        f"it was saved with {' and '.join(odd)}, by JAX's environment at the time: read as float32 "
        f"and {KEYS}; a training that goes on uses other random numbers than it would have"
    )


def fits(saved: list, spec: list) -> bool:
    """Whether a saved array [shape, dtype] can be read as one of another `spec`."""
    if saved == spec or not isinstance(saved, list) or len(saved) != 2:
        return saved == spec
    pair = str(saved[1]), spec[1]
    return saved[0] == spec[0] and (pair == ("float64", "float32") or KINDS.keys() >= set(pair))


def as_saved(target: Tree, arrays: Mapping[str, list]) -> Tree:
    """`target` with the kinds of keys that were saved."""

    def saved_spec(path, spec):
        kind = KINDS.get(arrays[jax.tree_util.keystr(path)][1])
        if kind is None:
            return spec
        dtype = jax.eval_shape(lambda: jax.random.key(0, impl=kind)).dtype
        return jax.ShapeDtypeStruct(spec.shape, dtype, sharding=spec.sharding)

    return jax.tree_util.tree_map_with_path(saved_spec, target)


def as_target(state: Tree, target: Tree) -> Tree:
    """`state`, as it was saved, with the kinds of keys of `target`."""

    def convert(array, spec):
        if array.dtype == spec.dtype or not jnp.issubdtype(spec.dtype, jax.dtypes.prng_key):
            return array
        words = jax.random.key_data(array)[..., :2]
        return jax.random.wrap_key_data(words, impl=KEYS)

    return jax.tree.map(convert, state, target)
