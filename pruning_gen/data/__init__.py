"""Data sets, label noise, and where all randomness comes from."""
