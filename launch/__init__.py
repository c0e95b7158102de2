"""Launches the paper's jobs: on this machine, on Cloud TPU."""
