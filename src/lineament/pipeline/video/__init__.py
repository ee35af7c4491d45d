"""Landmarks on videos: faces tracked, points smoothed, tables and overlays written."""
