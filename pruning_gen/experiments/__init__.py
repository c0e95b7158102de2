"""The paper's experiments, each written to read like its text."""
