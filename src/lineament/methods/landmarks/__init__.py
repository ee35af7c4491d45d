"""Landmarks of real faces from drawn ones: few or free labels, unlabelled photos, a network made for CPUs."""
