"""`lineament data fetch`: the data packs, made from the files that their publishers offer."""
