"""Landmark, correspondence and other measures, with cards."""
