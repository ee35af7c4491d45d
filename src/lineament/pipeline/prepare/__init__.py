"""Preparation and checking of data sets: faces found, cut out, accounted for."""
