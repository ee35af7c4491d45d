"""Cameras, rigid and affine fits, warps: pure functions."""
