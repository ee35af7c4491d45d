"""Face detectors that need no download."""
