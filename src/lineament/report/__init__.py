"""Figures, tables and single-file HTML."""
