"""Redirects: loops, chains, and where odd Location values lead."""

from __future__ import annotations

from metadata_inventory.model.capture import FailureCode
from tests.odd.case import HELLO, Case, failure, page
from tests.odd.server import Conversation, answers, first_and_others, moved, replies, routes, whole


def location(name: str, does: str, value: bytes, *way: str, says: str = "the page at its target") -> Case:
    """A redirect from /dir/page whose target answers; `way` are the paths that are gone."""
    return Case(
        name=name,
        does=does,
        says=says,
        path="/dir/page",
        serve=routes({"/dir/page": moved(value), way[-1]: whole()}),
        expect=page(hops=len(way), paths=list(way), body=HELLO),
    )


def unfollowed(name: str, does: str, *lines: bytes, status: bytes = b"302 Found") -> Case:
    """A redirect that is an answer itself."""
    return Case(
        name=name,
        does=does,
        says="the redirect itself is the final response",
        serve=answers(whole(*lines, status=status)),
        expect=page(status=int(status[:3]), body=HELLO),
    )


def redirects_and_goes_silent(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(moved(b"/next"))
    conversation.read_request()
    conversation.wait()


CASES = (
    Case(
        name="redirect-to-itself",
        does="redirects a URL to itself",
        says="a loop, found on its first round",
        serve=routes({"/": moved(b"/")}),
        expect=failure(FailureCode.TOO_MANY_REDIRECTS, hops=2, reached=False),
    ),
    Case(
        name="redirect-loop",
        does="redirects in a circle of three",
        says="a loop, found when it closes; every hop is shown",
        serve=routes({"/": moved(b"/b"), "/b": moved(b"/c"), "/c": moved(b"/")}),
        expect=failure(FailureCode.TOO_MANY_REDIRECTS, hops=4, paths=["/", "/b", "/c", "/"], reached=False),
    ),
    Case(
        name="redirect-chain-without-end",
        does="redirects to a new URL each time",
        says="too many: ten are followed, all are shown",
        serve=replies(lambda conversation, request: moved(conversation.paths[-1].encode() + b"x")),
        expect=failure(FailureCode.TOO_MANY_REDIRECTS, hops=12, reached=False),
    ),
    Case(
        name="redirect-loop-with-new-cookies",
        does="redirects to itself with another cookie each time",
        says="too many: no two requests are the same, but ten are followed",
        serve=replies(lambda conversation, request: moved(b"/", b"Set-Cookie: n=%d" % len(conversation.paths))),
        expect=failure(FailureCode.TOO_MANY_REDIRECTS, hops=12, reached=False),
    ),
    Case(
        name="redirect-chain-of-ten",
        does="redirects ten times, with every status that redirects",
        says="the page, and all eleven exchanges",
        serve=routes(
            {
                "/" + (str(hop) if hop else ""): moved(b"/%d" % (hop + 1), status=status)
                for hop, status in enumerate([b"301 M", b"302 F", b"303 S", b"307 T", b"308 P"] * 2)
            }
            | {"/10": whole()}
        ),
        expect=page(hops=11, body=HELLO),
    ),
    location("location-relative", "sends Location `next`", b"next", "/dir/page", "/dir/next"),
    location("location-dots", "sends Location `../../up/./here`", b"../../up/./here", "/dir/page", "/up/here"),
    location("location-query", "sends Location `?q=1`", b"?q=1", "/dir/page", "/dir/page?q=1"),
    location("location-fragment", "sends Location `/next#there`", b"/next#there", "/dir/page", "/next"),
    location(
        "location-without-scheme", "sends Location `//host/next`", b"//127.0.0.1:{port}/next", "/dir/page", "/next"
    ),
    location("location-backslashes", r"sends Location `\next\page`", rb"\next\page", "/dir/page", "/next/page"),
    location("location-spaces", "has spaces in and around it", b"  /a b  ", "/dir/page", "/a%20b"),
    location("location-utf8", "has UTF-8 in it", "/caf\u00e9".encode(), "/dir/page", "/caf%C3%A9"),
    location("location-tab", "has a tab in it", b"/ne\txt", "/dir/page", "/next"),
    location(
        "location-upper-case-scheme", "sends Location `HTTP://…`", b"HTTP://127.0.0.1:{port}/next", "/dir/page", "/next"
    ),
    location("location-scheme-alone", "sends Location `http:next`", b"http:next", "/dir/page", "/dir/next"),
    location("location-bare-percent", "has a bare percent sign", b"/100%", "/dir/page", "/100%"),
    Case(
        name="location-not-utf8",
        does="has bytes that are not UTF-8 in its Location",
        says="the page; the bytes are sent back unchanged, percent-encoded, as browsers do",
        path="/dir/page",
        serve=routes({"/dir/page": moved(b"/caf\xe9"), "/caf%E9": whole()}),
        expect=page(hops=2, paths=["/dir/page", "/caf%E9"], body=HELLO),
    ),
    Case(
        name="location-fragment-alone",
        does="sends Location `#there`",
        says="a loop: it is the same URL",
        serve=routes({"/": moved(b"#there")}),
        expect=failure(FailureCode.TOO_MANY_REDIRECTS, hops=2, reached=False),
    ),
    Case(
        name="location-twice",
        does="sends two Locations",
        says="not acceptable: libcurl refuses two that differ, as browsers do",
        serve=routes({"/": moved(b"/first", b"Location: /second"), "/first": whole()}),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=302, names=["Location"]),
    ),
    Case(
        name="location-twice-the-same",
        does="sends the same Location twice",
        says="the page at its target",
        serve=routes({"/": moved(b"/first", b"Location: /first"), "/first": whole()}),
        expect=page(hops=2, paths=["/", "/first"], body=HELLO),
    ),
    Case(
        name="location-of-7-kib",
        does="redirects to a URL of 7 KiB",
        says="the page at its target",
        serve=routes({"/": moved(b"/" + b"x" * 7000), "/" + "x" * 7000: whole()}),
        expect=page(hops=2, body=HELLO),
    ),
    unfollowed("location-missing", "redirects without a Location"),
    unfollowed("location-empty", "redirects with an empty Location", b"Location:"),
    unfollowed("location-of-10-kib", "redirects to a URL over 8,192 characters", b"Location: /" + b"x" * 10_240),
    unfollowed("location-ftp", "redirects to ftp", b"Location: ftp://127.0.0.1/x"),
    unfollowed("location-file", "redirects to a file", b"Location: file:///etc/passwd"),
    unfollowed("location-script", "redirects to a script", b"Location: javascript:alert(1)"),
    unfollowed("location-data", "redirects to a data URL", b"Location: data:text/html,hello"),
    unfollowed("location-userinfo", "redirects to a URL with a password", b"Location: http://a:b@127.0.0.1:{port}/"),
    unfollowed("location-no-url", "redirects to `http://[`", b"Location: http://["),
    unfollowed("location-with-200", "has a Location with status 200", b"Location: /next", status=b"200 OK"),
    unfollowed("location-with-201", "has a Location with status 201", b"Location: /next", status=b"201 Created"),
    unfollowed("location-with-300", "has a Location with status 300", b"Location: /next", status=b"300 Choices"),
    unfollowed("refresh-header", "redirects by a Refresh header", b"Refresh: 0; url=/next", status=b"200 OK"),
    Case(
        name="redirect-to-refused-address",
        does="redirects to an address that may not be dialled",
        says="prohibited; nothing was sent there, and the redirect is shown",
        serve=routes({"/": moved(b"http://10.0.0.1/")}),
        expect=failure(FailureCode.DESTINATION_IP_PROHIBITED, hops=2, reached=False, asked=False),
    ),
    Case(
        name="redirect-to-spelled-address",
        does="redirects to a refused address spelled as a number",
        says="prohibited: it is normalized before it is checked",
        serve=routes({"/": moved(b"http://0x0a000001/")}),
        expect=failure(FailureCode.DESTINATION_IP_PROHIBITED, hops=2, reached=False, asked=False),
    ),
    Case(
        name="redirect-to-refused-name",
        does="redirects to a name that is not looked up, such as one below `.invalid`",
        says="prohibited; the redirect is shown",
        serve=routes({"/": moved(b"http://nowhere.invalid/")}),
        expect=failure(FailureCode.DESTINATION_IP_PROHIBITED, hops=2, reached=False, asked=False),
    ),
    Case(
        name="redirect-to-closed-port",
        does="redirects to a port on which nobody listens",
        says="refused; the redirect is shown",
        serve=routes({"/": moved(b"http://127.0.0.1:1/")}),
        expect=failure(FailureCode.CONNECTION_REFUSED, hops=2, reached=False, asked=False),
    ),
    Case(
        name="redirect-then-silence",
        does="redirects, and does not respond to the next request",
        says="a time-out: all hops share one deadline; the redirect is shown",
        serve=redirects_and_goes_silent,
        deadline_ms=500,
        waits=True,
        expect=failure(FailureCode.HTTP_RESPONSE_TIMEOUT, hops=2, asked=True),
    ),
    Case(
        name="redirect-with-endless-body",
        does="redirects with a body without end",
        says="the page at its target: the body is not read to its end",
        serve=first_and_others(
            answers(
                whole(b"Location: /next", status=b"302 F", length=False),
                then=lambda conversation: conversation.fill(b"x" * 65536),
            ),
            answers(whole()),
        ),
        expect=page(hops=2, body=HELLO),
    ),
    Case(
        name="redirect-with-stalled-body",
        does="redirects and stops inside the redirect's body",
        says="the page at its target, after a short wait",
        serve=first_and_others(
            answers(
                whole(b"Location: /next", b"Content-Length: 9", status=b"302 F", length=False), then=Conversation.wait
            ),
            answers(whole()),
        ),
        options={"redirect_body_ms": 100},
        expect=page(hops=2, body=HELLO),
    ),
    Case(
        name="redirect-without-end-of-headers",
        does="redirects and closes before the headers are complete",
        says="the response ended inside its headers; it is not followed",
        serve=answers(b"HTTP/1.1 302 Found\r\nLocation: /next\r\n"),
        expect=failure(FailureCode.HTTP_RESPONSE_INCOMPLETE),
    ),
)
