"""One file per data set; each registers one function that opens it (docs/data.md)."""
