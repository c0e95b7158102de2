"""Everything on disk: checkpoints, and every path and format of a workdir."""
