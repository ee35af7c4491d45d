"""A multiplane image of a photo: person and background apart, each at its depth."""
