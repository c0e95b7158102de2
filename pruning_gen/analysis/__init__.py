"""Statistics, figures and pages. Reads what a run left on disk, never runs."""
