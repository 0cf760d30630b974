"""Cases about cookies: what is kept of a line, what is refused, what is sent on the next hop."""

from __future__ import annotations

from tests.witness.answers import answer, redirect
from tests.witness.case import HOST, Case


def _page(*lines: str) -> dict[str, bytes]:
    """One page that sets these cookies."""
    return {"start": answer(headers=[("Set-Cookie", line) for line in lines])}


def _hops(*lines: str, to: str = "end", then: tuple[str, ...] = (), last: str = "end") -> dict[str, bytes]:
    """A redirect that sets these cookies; a page that is sent them and may set others."""
    return {
        "start": redirect(to, headers=[("Set-Cookie", line) for line in lines]),
        last: answer(headers=[("Set-Cookie", line) for line in then]),
    }


CASES = (
    Case("session cookie", _page("a=1")),
    Case("several cookies", _page("a=1", "b=2; Path=/", "c=3; Path=/; HttpOnly")),
    Case("cookie with Max-Age", _page("a=1; Max-Age=88200")),
    Case("cookie with Expires", _page("a=1; Expires={in 30 days}")),
    Case("Max-Age before Expires", _page("a=1; Max-Age=88200; Expires={in 30 days}")),
    Case("cookie of years", _page("a=1; Max-Age=94609800", "b=2; Expires={in 1000 days}")),
    Case("cookie with Path", _page("a=1; Path=/cookie-with-path", "b=2; Path=/elsewhere", "c=3; Path=relative")),
    Case("cookie with Domain", _page("a=1; Domain=site.example", "b=2; Domain=.site.example", f"c=3; Domain={HOST}")),
    Case("cookie of another domain", _page("a=1; Domain=elsewhere.example", "b=2; Domain=other.site.example", "c=3")),
    Case("cookie of a public suffix", _page("a=1; Domain=example", "b=2")),
    Case("Secure and HttpOnly over TLS", _page("a=1; Secure", "b=2; HttpOnly", "c=3; secure; httponly"), secure=True),
    Case("Secure without TLS", _page("a=1; Secure", "b=2")),
    Case(
        "SameSite", _page("a=1; SameSite=Strict", "b=2; SameSite=lax", "c=3; SameSite=None; Secure", "d=4"), secure=True
    ),
    Case("SameSite=None without Secure", _page("a=1; SameSite=None", "b=2; SameSite=Other"), secure=True),
    Case(
        "Partitioned", _page("a=1; Secure; Path=/; Partitioned", "b=2; Partitioned", "a=3; Secure; Path=/"), secure=True
    ),
    Case("name prefixes kept", _page("__Secure-a=1; Secure", "__Host-b=2; Secure; Path=/"), secure=True),
    Case(
        "name prefixes refused",
        _page("__Secure-a=1", "__Host-b=2; Secure; Path=/x", "__host-c=3; Secure; Domain=x", "d=4"),
        secure=True,
    ),
    Case("unknown attributes", _page("a=1; Priority=High; Version=1; Comment=c")),
    Case("spelling of attributes", _page("a=1; PATH=/; max-AGE=88200; HTTPONLY", "b=2;Path=/;Max-Age=88200")),
    Case("attributes repeated", _page("a=1; Path=/x; Path=/; Max-Age=10; Max-Age=88200")),
    Case("spaces in a cookie", _page("  a  =  1 2  ; Path = / ")),
    Case("equals signs in a cookie", _page("a=b=c==; Path=/")),
    Case("quotes in a cookie", _page('a="1"; Path=/', 'b="1, 2"')),
    Case("empty cookie value", _page("a=; Path=/", "b", "=c")),
    Case("cookie in UTF-8", _hops("a=\xc3\xa4\xe2\x82\xac", "n\xc3\xa4me=1")),
    Case("large cookie", _page("a=" + "v" * 4000, "b=" + "v" * 5000)),
    Case("cookie replaced", _page("a=1; Path=/", "a=2; Path=/", "a=3; Path=/x")),
    Case(
        "date formats of Expires",
        _page(
            "a=1; Expires={in 30 days, as RFC 850}",
            "b=2; Expires={in 30 days, as asctime}",
            "c=3; Expires=never",
            "d=4; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        ),
    ),
    Case("cookie from a redirect", _hops("a=1; Path=/", "b=2", "c=3; HttpOnly; Max-Age=88200")),
    Case(
        "cookies gathered over redirects",
        {
            "start": redirect("two", headers=[("Set-Cookie", "a=1")]),
            "two": redirect("three", headers=[("Set-Cookie", "b=2"), ("Set-Cookie", "a=9")]),
            "three": redirect("end", headers=[("Set-Cookie", "c=3")]),
            "end": answer(headers=[("Set-Cookie", "d=4")]),
        },
    ),
    Case("cookie that does not fit the path", _hops("a=1; Path=/elsewhere", "b=2; Path=/cookie-that", "c=3; Path=/")),
    Case(
        "order of cookies sent",
        _hops("short=1; Path=/", "long=2; Path=/order-of-cookies-sent", "last=3; Path=/", "short=4; Path=/"),
    ),
    Case("cookie set again", _hops("a=1; Path=/", "b=2; Path=/", "a=1; Path=/")),
    Case("cookie for the other host", _hops("a=1; Domain=site.example", "b=2", to="{other}/end")),
    Case("cookie kept from another site", _hops("a=1; Domain=site.example", "b=2", to="{elsewhere}/end")),
    Case("cookie deleted by Max-Age", _hops("a=1", "b=2", then=("a=; Max-Age=0",))),
    Case("cookie deleted by Expires", _hops("a=1", "b=2", then=("a=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT",))),
    Case(
        "cookie deleted before it is sent",
        {
            "start": redirect("two", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
            "two": redirect("end", headers=[("Set-Cookie", "a=; Max-Age=-1")]),
            "end": answer(),
        },
    ),
    Case(
        "Secure cookie not sent without TLS",
        _hops("a=1; Secure; Path=/", "b=2; Path=/", to="{http}/end"),
        secure=True,
        final_secure=False,
    ),
    Case("cookie from http sent over TLS", _hops("a=1; Path=/", to="{https}/end"), final_secure=True),
    Case(
        "SameSite cookies over redirects",
        _hops("a=1; SameSite=Strict", "b=2; SameSite=Lax", "c=3; SameSite=None; Secure"),
        secure=True,
    ),
)
