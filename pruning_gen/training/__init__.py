"""Pure functions of one member, and the one place that stacks them."""
