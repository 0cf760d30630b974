"""Cases about header lines."""

from __future__ import annotations

from tests.support.origin import head
from tests.witness.answers import HTML, answer, page
from tests.witness.case import NO_DOCUMENT, Case

CASES = (
    Case("plain page", {"start": answer()}),
    Case(
        "many headers",
        {"start": answer(headers=[(f"X-Header-{number}", f"value {number}") for number in range(200)])},
    ),
    Case(
        "repeated headers",
        {"start": answer(headers=[("X-One", "1"), ("X-Two", "a"), ("X-One", "2"), ("Vary", "Accept"), ("X-One", "3")])},
    ),
    Case(
        "header spelling",
        {"start": answer(headers=[("x-LOWER-Upper", "1"), ("X-Lower-Upper", "2"), ("ETAG", '"e"'), ("server", "s")])},
    ),
    Case(
        "header names of odd characters",
        {"start": answer(headers=[("X_Under", "1"), ("x.dot", "2"), ("7", "3"), ("X!#$%&'*+^`|~", "4")])},
    ),
    Case("empty header values", {"start": answer(headers=[("X-Empty", ""), ("X-Full", "1"), ("X-Empty", "")])}),
    Case("long header value", {"start": answer(headers=[("X-Long", "v" * 16_000), ("X-After", "1")])}),
    Case(
        "spaces around header values",
        {"start": answer(headers=[("X-Spaces", "   v   "), ("X-Tabs", "\ta\tb\t"), ("X-Within", "a   b")])},
    ),
    Case(
        "header value in UTF-8",
        {"start": answer(headers=[("X-Name", "na\xc3\xafve \xe2\x82\xac 5 \xf0\x9f\x8d\xaa")])},
    ),
    Case("header value in ISO-8859-1", {"start": answer(headers=[("X-Name", "caf\xe9 au lait \xfcber alles")])}),
    Case(
        "quotes, commas and colons in header values",
        {
            "start": answer(
                headers=[
                    ("Link", '</style.css>; rel="preload stylesheet"; title="a, b; \\"c\\""'),
                    ("X-Colons", ":a::b:"),
                    ("Date", "Tue, 03 Nov 2026 08:49:37 GMT"),
                ]
            )
        },
    ),
    Case("reason with spaces", {"start": answer(status=200, reason="All is  well here")}),
    Case("no reason", {"start": answer().replace(b"200 OK", b"200 ", 1)}),
    Case("status without a meaning", {"start": answer(status=299, reason="Whatever")}),
    Case("not found", {"start": answer(page("Not here."), status=404, reason="Not Found")}),
    Case("gone, with a cookie", {"start": answer(headers=[("Set-Cookie", "gone=1")], status=410, reason="Gone")}),
    Case("server error", {"start": answer(page("Broken."), status=500, reason="Internal Server Error")}),
    Case(
        "authentication asked for",
        {"start": answer(status=401, headers=[("X-Realm", "none")], reason="Unauthorized")},
    ),
    Case("no content", {"start": head(204, [("X-Nothing", "here")], "No Content")}, without=NO_DOCUMENT),
    Case("early hints", {"start": head(103, [("Link", "</a.css>; rel=preload")], "Early Hints") + answer()}),
    Case("HTTP/1.0", {"start": answer().replace(b"HTTP/1.1", b"HTTP/1.0", 1)}),
    Case("ended by closing", {"start": head(200, [HTML], "OK") + page()}),
    Case("over TLS", {"start": answer(headers=[("Strict-Transport-Security", "max-age=0")])}, secure=True),
)
