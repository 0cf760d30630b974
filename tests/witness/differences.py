"""The differences that are known, by the case's name, each with both values. Why they are: `docs/witness.md`.

The reasons are the titles there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.witness.bodies import FIRST_MEMBER, PAGE, PAGE_TEXT
from tests.witness.case import Difference, Value, Witness
from tests.witness.seen import read_bytes

INTERIM = "Interim responses and trailers"
FRAGMENT = "Fragments"
SPELLING = "Spelling of URLs"
CHOICES = "Multiple choices"
LIFETIME = "Lifetimes over 400 days"
RELATIVE_PATH = "A Path without a slash"
NEW_ATTRIBUTES = "SameSite and Partitioned"
NAMELESS = "Cookies without a name"
ORDER = "Order of the cookies sent"
UNTOLD = "Refused without a word"
MEMBERS = "Gzip in several members"
UNNAMED = "A charset that nothing names"


def _of(witness: Witness, reason: str, values: Mapping[str, tuple[Value, Value]]) -> tuple[Difference, ...]:
    return tuple(Difference(witness, path, ours, theirs, reason) for path, (ours, theirs) in values.items())


def _curl(reason: str, values: Mapping[str, tuple[Value, Value]]) -> tuple[Difference, ...]:
    return _of(Witness.CURL, reason, values)


def _chromium(reason: str, values: Mapping[str, tuple[Value, Value]]) -> tuple[Difference, ...]:
    return _of(Witness.CHROMIUM, reason, values)


def _final(slug: str, ours: str, theirs: str, *, host: str = "www.site.example") -> dict[str, tuple[Value, Value]]:
    """The second hop, which is the last one, at URLs that are spelled differently."""
    urls = (f"http://www.site.example:http/{slug}/{ours}", f"http://{host}:http/{slug}/{theirs}")
    return {"final url": urls, "hop 2: url": urls}


def _cookie(name: str, path: str, value: str, *, only_ours: bool) -> Iterator[tuple[str, tuple[Value, Value]]]:
    """A plain session cookie that one side has."""
    for attribute, told in {"value": value, "lifetime": "session", "secure": False, "http only": False}.items():
        pair = (told, None) if only_ours else (None, told)
        yield f"cookie {name} of www.site.example at {path}: {attribute}", pair


def _added(hop: str, url: str) -> dict[str, tuple[Value, Value]]:
    """A further hop, to a page, that only the witness made."""
    told: dict[str, Value] = {
        "url": url,
        "version": "HTTP/1.1",
        "status": 200,
        "reason": "OK",
        "header lines": 2,
        "header line 1": "Content-Type: text/html; charset=utf-8",
        "header line 2": "Content-Length: 104",
    }
    return {f"{hop}: {path}": (None, value) for path, value in told.items()}


_START = "http://www.site.example:http"
_WINDOWS_1252 = _chromium(UNNAMED, {"charset": ("utf-8", "windows-1252")})
_MEMBERS = zip(read_bytes("content", PAGE).items(), read_bytes("content", FIRST_MEMBER).values(), strict=True)

DIFFERENCES: Mapping[str, tuple[Difference, ...]] = {
    "early hints": _curl(INTERIM, {"hop 1: line of 103 1": (None, "Link: </a.css>; rel=preload")}),
    "chunked with trailers": _curl(
        INTERIM, {"hop 1: trailer line 1": (None, "X-Sum: 1"), "hop 1: trailer line 2": (None, "X-More: 2")}
    ),
    "location with a fragment": _curl(FRAGMENT, _final("location-with-a-fragment", "end", "end#there")),
    "fragment kept over a redirect": _curl(
        FRAGMENT,
        {
            "hop 1: url": (
                f"{_START}/fragment-kept-over-a-redirect/start",
                f"{_START}/fragment-kept-over-a-redirect/start#here",
            ),
        },
    ),
    "location in UTF-8": _curl(SPELLING, _final("location-in-utf-8", "gr%C3%BC%C3%9Fe", "gr%c3%bc%c3%9fe")),
    "location in ISO-8859-1": _curl(SPELLING, _final("location-in-iso-8859-1", "gr%FC%DFe", "gr%fc%dfe")),
    "upper-case host in a location": _curl(
        SPELLING, _final("upper-case-host-in-a-location", "end", "end", host="WWW.SITE.EXAMPLE")
    ),
    "multiple choices": _curl(
        CHOICES,
        {
            "hops": (1, 2),
            "final url": (f"{_START}/multiple-choices/start", f"{_START}/multiple-choices/end"),
            **_added("hop 2", f"{_START}/multiple-choices/end"),
        },
    ),
    "cookie of years": (
        *_curl(LIFETIME, {"cookie a of www.site.example at /cookie-of-years: lifetime": ("9600 h", "26280 h")}),
        *_chromium(LIFETIME, {"cookie b of www.site.example at /cookie-of-years: lifetime": ("24000 h", "9600 h")}),
    ),
    "cookie with Path": _curl(
        RELATIVE_PATH,
        dict(
            (*_cookie("c", "/cookie-with-path", "3", only_ours=True), *_cookie("c", "relative", "3", only_ours=False))
        ),
    ),
    "SameSite=None without Secure": _curl(
        NEW_ATTRIBUTES,
        {"cookies": (1, 2), **dict(_cookie("a", "/samesite-none-without-secure", "1", only_ours=False))},
    ),
    "Partitioned": (
        *_curl(
            NEW_ATTRIBUTES,
            {
                "cookies": (1, 2),
                "cookie a of www.site.example at /: value": ("1", "3"),
                **dict(_cookie("b", "/partitioned", "2", only_ours=False)),
            },
        ),
        *_chromium(UNTOLD, {"refused line 1": ("b=2; Partitioned", None)}),
    ),
    "empty cookie value": _curl(
        NAMELESS, {"cookies": (2, 1), **dict(_cookie("", "/empty-cookie-value", "c", only_ours=True))}
    ),
    "cookie in UTF-8": _curl(ORDER, {"hop 2: cookies sent": ("a=ä€; näme=1", "näme=1; a=ä€")}),
    "cookie from a redirect": _curl(ORDER, {"hop 2: cookies sent": ("b=2; c=3; a=1", "c=3; b=2; a=1")}),
    "cookies gathered over redirects": (
        *_curl(
            ORDER,
            {
                "hop 3: cookies sent": ("a=9; b=2", "b=2; a=9"),
                "hop 4: cookies sent": ("a=9; b=2; c=3", "c=3; b=2; a=9"),
            },
        ),
        *_chromium(
            ORDER,
            {
                "hop 3: cookies sent": ("a=9; b=2", "b=2; a=9"),
                "hop 4: cookies sent": ("a=9; b=2; c=3", "b=2; a=9; c=3"),
            },
        ),
    ),
    "cookie deleted by Max-Age": _curl(ORDER, {"hop 2: cookies sent": ("a=1; b=2", "b=2; a=1")}),
    "cookie deleted by Expires": _curl(ORDER, {"hop 2: cookies sent": ("a=1; b=2", "b=2; a=1")}),
    "cookie deleted before it is sent": _curl(ORDER, {"hop 2: cookies sent": ("a=1; b=2", "b=2; a=1")}),
    "SameSite cookies over redirects": _curl(ORDER, {"hop 2: cookies sent": ("a=1; b=2; c=3", "c=3; b=2; a=1")}),
    "cookie set again": _curl(ORDER, {"hop 2: cookies sent": ("a=1; b=2", "b=2; a=1")}),
    "order of cookies sent": _chromium(
        ORDER, {"hop 2: cookies sent": ("long=2; short=4; last=3", "long=2; last=3; short=4")}
    ),
    "gzip in two members": _chromium(
        MEMBERS,
        {
            **{path: (ours, theirs) for (path, ours), theirs in _MEMBERS},
            "text": (PAGE_TEXT, PAGE_TEXT[: len(FIRST_MEMBER.decode()) - PAGE.decode().index(PAGE_TEXT)]),
        },
    ),
    "ASCII without a charset": _WINDOWS_1252,
    "utf-8 without a charset": _chromium(
        UNNAMED,
        {
            "charset": ("utf-8", "windows-1252"),
            "text": (
                "Grüße aus Köln, „hier“ kostet es 5 € – viel.",
                "GrÃ¼ÃŸe aus KÃ¶ln, â€žhierâ€œ kostet es 5 â‚¬ â€“ viel.",
            ),
            "title": ("Grüße au", "GrÃ¼ÃŸe au"),
        },
    ),
    "page without a type": _WINDOWS_1252,
    "text without a type": _WINDOWS_1252,
    "style sheet": _WINDOWS_1252,
}
