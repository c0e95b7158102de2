"""Many networks as one compiled program, and what one run of it keeps."""
