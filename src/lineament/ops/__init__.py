"""Hot kernels, each with a plain reference twin."""
