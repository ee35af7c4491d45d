"""Samples, sources, the order of data."""
