"""Landmark schemes, detection, named crops, keypoint files."""
