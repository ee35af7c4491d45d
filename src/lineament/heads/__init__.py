"""Parametric heads: the built-in one, ICT-FaceKit and OBJ files, each as one :class:`HeadModel`, and their fit."""

from lineament.heads.model import Eyes, HeadModel, Part

__all__ = ["Eyes", "HeadModel", "Part"]
