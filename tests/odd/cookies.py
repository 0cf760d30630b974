"""Set-Cookie lines: many, malformed, and on their way from hop to hop."""

from __future__ import annotations

from metadata_inventory.model.capture import Outcome
from tests.odd.case import HELLO, Case, page
from tests.odd.server import OddServer, answers, moved, replies, routes, whole

HERE = b"http://127.0.0.1:{port}"
THERE = b"http://localhost:{port}"


def carries_fifty(outcome: Outcome, server: OddServer) -> None:
    (value,) = [header.value for header in outcome.exchanges[-1].request.headers if header.name == "Cookie"]
    assert len(value.split("; ")) == 50


CASES = (
    Case(
        name="cookies-300",
        does="sets 300 cookies in one response",
        says="300 of them, in their order",
        serve=answers(whole(*[b"Set-Cookie: c%d=%d; Path=/" % (number, number) for number in range(300)])),
        expect=page(cookies=[(f"c{number}", str(number)) for number in range(300)], body=HELLO),
    ),
    Case(
        name="cookies-of-one-name",
        does="sets a cookie of one name three times",
        says="all three lines",
        serve=answers(whole(b"Set-Cookie: a=1", b"set-cookie: a=2", b"SET-COOKIE: a=1")),
        expect=page(cookies=[("a", "1"), ("a", "2"), ("a", "1")]),
    ),
    Case(
        name="cookie-not-utf8",
        does="sets a cookie with bytes that are not UTF-8",
        says="the value as ISO-8859-1; flagged `not_utf8`",
        serve=answers(whole(b"Set-Cookie: a=caf\xe9")),
        expect=page(cookies=[("a", "café")], flaws=[("not_utf8",)]),
    ),
    Case(
        name="cookie-with-bad-attributes",
        does="sets a cookie whose attributes are no dates, numbers, paths or known words",
        says="the cookie; flagged are the parts that a browser ignores",
        serve=answers(whole(b"Set-Cookie: a=1; Expires=soon; Max-Age=1x; Path=up; SameSite=Maybe; Color=red")),
        expect=page(
            cookies=[("a", "1")],
            flaws=[("unknown_attribute", "bad_expires", "bad_max_age", "bad_path", "bad_same_site")],
        ),
    ),
    Case(
        name="cookies-a-browser-refuses",
        does="sets cookies for another host, with a control character, without a name, `Secure` over http",
        says="every one of them, flagged with why a browser would not take it",
        serve=answers(
            whole(
                b"Set-Cookie: a=1; Domain=example.com",
                b"Set-Cookie: b=\x01",
                b"Set-Cookie: =",
                b"Set-Cookie: d=1; Secure",
                b"Set-Cookie: __Host-e=1",
            )
        ),
        expect=page(
            cookies=[("a", "1"), ("b", "\x01"), ("", ""), ("d", "1"), ("__Host-e", "1")],
            flaws=[
                ("domain_mismatch",),
                ("control_character",),
                ("empty",),
                ("secure_on_insecure_origin",),
                ("bad_prefix",),
            ],
        ),
    ),
    Case(
        name="cookie-of-8-kib",
        does="sets a cookie of 8 KiB",
        says="the cookie; flagged `too_long`",
        serve=answers(whole(b"Set-Cookie: a=" + b"x" * 8192)),
        expect=page(cookies=[("a", "x" * 8192)], flaws=[("too_long",)]),
    ),
    Case(
        name="cookie-folded",
        does="folds a Set-Cookie line",
        says="the cookie, its line joined by libcurl",
        serve=answers(whole(b"Set-Cookie: a=1;\r\n Path=/x")),
        expect=page(cookies=[("a", "1")], flaws=[()]),
    ),
    Case(
        name="redirect-sets-cookie",
        does="sets cookies with a redirect and looks for them at its target",
        says="the next request carries those that a browser would send",
        path="/a/b",
        serve=routes(
            {
                "/a/b": moved(
                    b"/c",
                    b"Set-Cookie: all=1; Path=/",
                    b"Set-Cookie: here=2",  # for /a
                    b"Set-Cookie: gone=3; Path=/; Max-Age=0",
                    b"Set-Cookie: secure=4; Path=/; Secure",
                    b"Set-Cookie: other=5; Path=/; Domain=example.com",
                ),
                "/c": whole(),
            }
        ),
        expect=page(hops=2, sent_cookies=[None, "all=1"], body=HELLO),
    ),
    Case(
        name="redirect-wall-of-cookies",
        does="redirects a client without its cookie back to itself, as consent walls do",
        says="the page: with the cookie the same URL is no loop",
        serve=replies(
            lambda conversation, request: whole() if b"\nCookie: ok=1" in request else moved(b"/", b"Set-Cookie: ok=1")
        ),
        expect=page(hops=2, paths=["/", "/"], sent_cookies=[None, "ok=1"], body=HELLO),
    ),
    Case(
        name="redirect-unsets-cookie",
        does="sets a cookie on one hop, takes it back on the next",
        says="it is sent once",
        serve=routes(
            {
                "/": moved(b"/1", b"Set-Cookie: a=1"),
                "/1": moved(b"/2", b"Set-Cookie: a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
                "/2": whole(),
            }
        ),
        expect=page(hops=3, sent_cookies=[None, "a=1", None]),
    ),
    Case(
        name="redirect-to-other-host-with-cookie",
        does="sets a cookie and redirects to another host, which redirects back",
        says="the other host gets nothing, the first one its cookie",
        serve=routes(
            {
                "/": moved(THERE + b"/there", b"Set-Cookie: a=1; Path=/"),
                "/there": moved(HERE + b"/back", b"Set-Cookie: b=2; Path=/"),
                "/back": whole(),
            }
        ),
        expect=page(hops=3, sent_cookies=[None, None, "a=1"], body=HELLO),
    ),
    Case(
        name="cookies-between-collections",
        does="sets a cookie, and is collected again",
        says="the second collection sends none",
        serve=routes({"/login": whole(b"Set-Cookie: a=1; Path=/"), "/": whole()}),
        before=("/login",),
        expect=page(sent_cookies=[None], body=HELLO),
    ),
    Case(
        name="redirects-set-1000-cookies",
        does="sets 200 cookies on each of five hops",
        says="1,000 cookies are recorded; 50 of them are sent on, as many as a browser must keep for a host",
        serve=routes(
            {
                "/" + (str(hop) if hop else ""): moved(
                    b"/%d" % (hop + 1), *[b"Set-Cookie: c%d-%d=x; Path=/" % (hop, number) for number in range(200)]
                )
                for hop in range(5)
            }
            | {"/5": whole()}
        ),
        expect=page(carries_fifty, hops=6, cookie_count=1000),
    ),
)
