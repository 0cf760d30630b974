"""The child's side of collecting: what runs inside a lane process."""
