"""The security headers of every answer.

The API sends data: no browser may render it as a page, put it into a frame, run it as a script, or send its URL to
another site. Sources: OWASP HTTP Headers Cheat Sheet; Content Security Policy Level 3; Fetch standard, "CORP".
"""

from __future__ import annotations

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
