"""Synthetic faces with exact ground truth."""
