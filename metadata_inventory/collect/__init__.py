"""Collecting: what happens between an order and its outcome. Only `lanes` runs in the parent, the rest in children."""
