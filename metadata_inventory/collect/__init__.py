"""Collecting: from an order to its outcome. `pool` is the parent's side, `engine` the child's, `parse` is pure."""
