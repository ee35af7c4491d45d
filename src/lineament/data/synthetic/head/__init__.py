"""Parametric heads: the built-in one, made by our own code, and the record every head model fills."""

from lineament.data.synthetic.head.builtin import builtin_head
from lineament.data.synthetic.head.model import Eyes, HeadModel, Part

__all__ = ["Eyes", "HeadModel", "Part", "builtin_head"]
