"""A toy method: learns how bright a face is. One folder; nothing else in the package knows of it."""
