"""Compiling for programs that run once, as those of laws do."""

import functools

import jax

from vqjax.training.platform import COMPILE_QUICKLY


def _known(options):
    """Those of the compiler's options that this JAX has."""
    known = {}
    for name, value in options.items():
        program = jax.jit(lambda x: x + 1, compiler_options={name: value})
        try:
            program.lower(0.0).compile()
        except Exception as err:  # its class differs from JAX to JAX
            if name not in str(err):
                raise
        else:
            known[name] = value
    return known


# XLA's older way to write code for CPUs, in one piece: a third of the time for a quantizer's call.
# Trained runs and verbs, which do not go through `quick`, are compiled as in the product.
QUICKLY = _known(
    {
        **COMPILE_QUICKLY,
        "xla_cpu_use_fusion_emitters": False,
        "xla_cpu_parallel_codegen_split_count": 1,
    }
)
quick = functools.partial(jax.jit, compiler_options=QUICKLY)
