"""The two players' losses of a GAN, from the discriminator's logits of any shape.

Real data should get high logits. Means are over all logits, in at least float32; the
discriminator's two halves are averaged, so that its loss has the size of one mean.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vqjax.ops.numerics import at_least_float32


@dataclasses.dataclass(frozen=True)
class Hinge:
    """The hinge loss (arXiv 1705.02894, section 3.2): logits beyond +-1 exert no pull on D.

    discriminator: (mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2;  generator: -mean fake.
    """

    def generator(self, fake_logits: jax.Array) -> jax.Array:
        """The scalar that makes fakes pass for real."""
        return -jnp.mean(at_least_float32(fake_logits))  # []

    def discriminator(self, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        """The scalar that tells them apart."""
        real = jnp.mean(jax.nn.relu(1.0 - at_least_float32(real_logits)))
        fake = jnp.mean(jax.nn.relu(1.0 + at_least_float32(fake_logits)))
        return 0.5 * (real + fake)


@dataclasses.dataclass(frozen=True)
class NonSaturating:
    """Binary cross-entropy for both players (arXiv 1406.2661, section 3), in nats.

    discriminator: (mean -log p(real) - mean log(1 - p(fake))) / 2;  generator: mean -log p(fake),
    with p = sigmoid(logits).
    """

    def generator(self, fake_logits: jax.Array) -> jax.Array:
        """The scalar that makes fakes pass for real."""
        return jnp.mean(jax.nn.softplus(-at_least_float32(fake_logits)))

    def discriminator(self, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        """The scalar that tells them apart."""
        real = jnp.mean(jax.nn.softplus(-at_least_float32(real_logits)))
        fake = jnp.mean(jax.nn.softplus(at_least_float32(fake_logits)))
        return 0.5 * (real + fake)


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """Real data should get 1, fakes 0, by the square of what is missing (arXiv 1611.04076, eq. 9).

    discriminator: (mean (real - 1)^2 + mean fake^2) / 2;  generator: mean (fake - 1)^2.
    """

    def generator(self, fake_logits: jax.Array) -> jax.Array:
        """The scalar that makes fakes pass for real."""
        return jnp.mean(jnp.square(at_least_float32(fake_logits) - 1.0))

    def discriminator(self, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        """The scalar that tells them apart."""
        real = jnp.mean(jnp.square(at_least_float32(real_logits) - 1.0))
        fake = jnp.mean(jnp.square(at_least_float32(fake_logits)))
        return 0.5 * (real + fake)


@dataclasses.dataclass(frozen=True)
class Relativistic:
    """Real data should get higher logits than the fake beside it in the batch (arXiv 1807.00734;
    arXiv 2501.05441, eq. 2), in nats.

    discriminator: mean -log sigmoid(real - fake);  generator: mean -log sigmoid(fake - real).
    """

    sees_both = True

    def generator(self, fake_logits: jax.Array, real_logits: jax.Array) -> jax.Array:
        """The scalar that makes fakes pass for more real than what is."""
        fake, real = at_least_float32(fake_logits), at_least_float32(real_logits)
        return jnp.mean(jax.nn.softplus(real - fake))

    def discriminator(self, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
        """The scalar that tells them apart."""
        return self.generator(real_logits, fake_logits)
