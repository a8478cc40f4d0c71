"""Metrics: which there are, what a reading of them is, and what can be computed from two readings."""
