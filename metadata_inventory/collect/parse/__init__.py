"""Pure: reads what origins send (headers, cookies, content codings, TLS, HTML).

Functions and values without I/O. Whatever bytes an origin sends, they end within bounds and raise nothing that their
docstrings do not name.
"""
