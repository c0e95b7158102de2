"""How much each weight is worth keeping."""

import jax
import jax.numpy as jnp


def magnitude(params):
  """Return |w| of every parameter, the paper's score (section 2)."""
  return jax.tree.map(jnp.abs, params)
