"""Domain files: read, checked against each other, and kept up to date."""
