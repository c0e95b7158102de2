"""Pruning's effect on generalization, reproduced and extended in JAX."""

__version__ = '0.1.0'
