"""Hostile URLs, redirects, names and pages that lead to prohibited destinations, where traps count every connection."""
