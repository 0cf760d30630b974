"""Whole HTTP/1.1 responses, byte by byte, and where they are served."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tests.support.origin import Headers, Origin, head
from tests.witness.case import HOST, Case

HTML = ("Content-Type", "text/html; charset=utf-8")
_IN_DAYS = re.compile(rb"\{in (-?[0-9]+) days(?:, as (RFC 850|asctime))?\}")
_FORMATS = {
    None: "%a, %d %b %Y %H:%M:%S GMT",
    b"RFC 850": "%A, %d-%b-%y %H:%M:%S GMT",
    b"asctime": "%a %b %e %H:%M:%S %Y",
}


def page(text: str | bytes = "Hello.", *, head: str | bytes = b"<title>A page</title>") -> bytes:
    """An HTML document whose text is marked."""
    text, head = (part.encode() if isinstance(part, str) else part for part in (text, head))
    return b"<!doctype html><html lang=en><head>%s</head><body><p id=text>%s</p></body></html>" % (head, text)


def answer(
    body: bytes | None = None, headers: Headers = (), *, status: int = 200, reason: str = "OK", html: bool = True
) -> bytes:
    """A response with a length. Without a body it is a page."""
    body = page() if body is None else body
    given = [HTML, *headers] if html else list(headers)
    return head(status, [*given, ("Content-Length", str(len(body)))], reason) + body


def redirect(to: str, status: int = 302, headers: Headers = (), reason: str = "Found") -> bytes:
    return head(status, [("Location", to), *headers, ("Content-Length", "0")], reason)


def serve(case: Case, http: Origin, https: Origin) -> str:
    """Put the case's answers on both origins; the URL to begin with."""
    directories = {
        b"{http}": http.url(f"/{case.slug}", HOST),
        b"{HTTP}": http.url(f"/{case.slug}", HOST.upper()),
        b"{http without scheme}": http.url(f"/{case.slug}", HOST).removeprefix("http://"),
        b"{https}": https.url(f"/{case.slug}", HOST),
        b"{other}": http.url(f"/{case.slug}", "other.site.example"),
        b"{elsewhere}": http.url(f"/{case.slug}", "elsewhere.example"),
    }
    for name, response in case.answers.items():
        lines, end, body = response.partition(b"\r\n\r\n")
        for placeholder, directory in directories.items():
            lines = lines.replace(placeholder, directory.encode())
        lines = _IN_DAYS.sub(_date, lines)
        for origin in (http, https):
            origin.answer(f"/{case.slug}/{name.partition('#')[0]}", lines + end + body, keep_alive=_delimited(lines))
    origin = https if case.secure else http
    return origin.url(f"/{case.slug}/{next(iter(case.answers))}", case.host)


def _delimited(lines: bytes) -> bool:
    """Whether a client knows where the response ends, so that the connection may stay open."""
    return b"\r\nContent-Length:" in lines or b"\r\nTransfer-Encoding:" in lines


def _date(match: re.Match[bytes]) -> bytes:
    """So many days and half an hour from now, so that counting whole hours bears a slow run."""
    instant = datetime.now(UTC) + timedelta(days=int(match[1]), minutes=30)
    return instant.strftime(_FORMATS[match[2]]).encode()
