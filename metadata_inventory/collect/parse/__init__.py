"""Reads what origins send: headers, cookies, codings, content types, certificates, pages. Pure functions and values."""
