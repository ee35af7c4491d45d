"""`lineament analyze`: everything that is known of the faces of photos and videos, as numbers, files and one page."""
