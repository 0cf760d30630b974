"""Cross-origin resource sharing: which other origins' pages may read answers (Fetch standard, "CORS protocol").

Without allowed origins no CORS header is ever sent, so a browser lets no page of another origin read an answer.
"""

from __future__ import annotations

from collections.abc import Collection

from tornado.httputil import HTTPHeaders

# Request headers that a page of an allowed origin may send, and response headers that it may read.
ALLOWED_HEADERS = "Authorization, Content-Type, If-None-Match, Prefer"
EXPOSED_HEADERS = (
    "Age, Cache-Status, ETag, Last-Modified, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After"
)
PREFLIGHT_S = 600  # how long a browser may remember the answer to a preflight


class CorsPolicy:
    """The origins whose pages may read answers; each is compared with the `Origin` header as a whole."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str | None) -> bool:
        return origin in self._origins

    def answer_headers(self, request_headers: HTTPHeaders) -> dict[str, str]:
        """The headers that let a page of an allowed origin read the answer.

        `Vary` is sent to other origins too: a cache must not give them the answer that an allowed one got.
        """
        if not self._origins:
            return {}
        origin = request_headers.get("Origin")
        if origin is None or not self.allows(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        }

    def preflight_headers(self, request_headers: HTTPHeaders, methods: Collection[str]) -> dict[str, str] | None:
        """The answer to a preflight; None when its origin is not allowed."""
        if not self.allows(request_headers.get("Origin")):
            return None
        return {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_S),
        }
