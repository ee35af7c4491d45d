"""Recipes, the loop, run directories, checkpoints."""
