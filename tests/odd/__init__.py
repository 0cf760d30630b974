"""Servers that misbehave, one named case each, and what the collector makes of them."""
