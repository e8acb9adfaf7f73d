"""Measurements of a real system, each by one command: `python -m bamboo.benchmarks NAME` (docs/performance.md)."""
