"""The built-in head: made by our own code from a few dozen numbers."""

from lineament.heads.builtin.build import builtin_head

__all__ = ["builtin_head"]
