"""Speed measurements, one file per bench."""
