"""Convolutions in two forms: what a CPU computes fast, and what everything else does."""

import functools
from collections.abc import Callable

import jax

Pads = tuple[tuple[int, int], ...]  # zeros before and after each spatial axis
Form = Callable[[jax.Array, jax.Array], jax.Array]  # (x, kernel) -> y


def channels_last(axes: int) -> jax.lax.ConvDimensionNumbers:
    """Of x [B, *S, C_in], kernel [*k, C_in, C_out] and y [B, *s, C_out] with that many axes."""
    data = (0, axes + 1, *range(1, axes + 1))
    return jax.lax.ConvDimensionNumbers(data, (axes + 1, axes, *range(axes)), data)


def by_platform(cpu: Form, default: Form) -> Form:
    """`cpu` on CPUs and `default` elsewhere, each with its own gradients.

    The choice is made when a program is lowered, and costs nothing in it. Without the rule below
    a gradient would carry what both forms keep for it.
    """

    @jax.custom_vjp
    def chosen(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.platform_dependent(x, kernel, cpu=cpu, default=default)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple:
        return chosen(x, kernel), (x, kernel)

    def backward(residuals: tuple, gradient: jax.Array) -> tuple:
        def gradients(form: Form, x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple:
            return jax.vjp(form, x, kernel)[1](g)

        return jax.lax.platform_dependent(
            *residuals,
            gradient,
            cpu=functools.partial(gradients, cpu),
            default=functools.partial(gradients, default),
        )

    chosen.defvjp(forward, backward)
    return chosen
