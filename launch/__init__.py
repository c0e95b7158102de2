"""Launches the paper's jobs: on this machine, on Slurm, on Cloud TPU."""
