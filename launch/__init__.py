"""Launches the paper's jobs: on this machine, on Slurm or on Cloud TPU."""
