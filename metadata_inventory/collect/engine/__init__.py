"""The child's side of collecting: everything that runs inside a lane process."""
