"""Data sets as arrays, label noise, and where all randomness comes from."""
