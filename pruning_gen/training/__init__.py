"""Training one network: pure functions that the engine maps over many."""
