"""The parent's side of collecting: lanes and their processes."""
