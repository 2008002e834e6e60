"""Measurements: suites of quality and benchmarks of speed; runs from a checkout."""
