"""The paper's networks, as Flax Linen modules. NHWC, float32 parameters."""
