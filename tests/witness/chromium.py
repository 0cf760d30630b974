"""The second witness: Debian's Chromium, driven by Playwright and read through the DevTools protocol.

Of a response's lines the protocol has two forms, each with a hole: `headersText` has order and spelling but loses bytes
that are not UTF-8, `headers` has the bytes (as windows-1252) but puts lines of one spelling together. Both are used.
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.witness.case import Field, Value
from tests.witness.seen import Place, SeenCookie, SeenHop, read_bytes, read_hops, read_kept

CHROMIUM = "/usr/bin/chromium"
DEADLINE_S = 20.0
FLAGS = [
    "--no-sandbox",  # it may be root who runs this, in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example 127.0.0.1",
]
EVENTS = (
    "requestWillBeSent",
    "requestWillBeSentExtraInfo",
    "responseReceived",
    "responseReceivedExtraInfo",
    "loadingFinished",
    "loadingFailed",
)
_DOCUMENT = """() => {
    const marked = document.querySelector("#text") ?? document.querySelector("body > pre");
    const href = (selector) => document.querySelector(selector)?.href ?? null;
    return {
        charset: document.characterSet.toLowerCase(),
        "media type": document.contentType,
        text: (marked ?? document.documentElement).textContent,
        title: document.title || null,
        description: document.querySelector('meta[name="description" i]')?.content ?? null,
        canonical: href('link[rel~="canonical" i]'),
        language: document.documentElement.lang || null,
        favicon: href('link[rel~="icon" i]'),
    };
}"""
_AGAIN = """async () => {
    const answer = await fetch(document.URL, {cache: "no-store"});
    const bytes = new Uint8Array(await answer.arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    return btoa(text);
}"""


@contextmanager
def started() -> Iterator[Browser]:
    """One browser for all cases; each gets a context, and so a cookie store, of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


def see(browser: Browser, url: str, place: Place, fields: tuple[Field, ...]) -> dict[Field, dict[str, Value]]:
    """Go to the URL and tell what Chromium saw, in these fields. The certificate is not verified: it is no authority's
    that a browser knows, and verifying is not what is compared.
    """
    context = browser.new_context(ignore_https_errors=True)
    try:
        page = context.new_page()
        visit = _Visit(page)
        visit.go(url)
        seen = read_hops(visit.hops(), visit.final_url, place)
        seen[Field.KEPT] = read_kept(visit.cookies(place), whole=True)
        seen[Field.REFUSED] = {f"refused line {number}": line for number, line in enumerate(visit.refused(), 1)}
        if details := visit.response.get("securityDetails"):
            seen[Field.TLS] = _read_tls(details)
        if Field.CONTENT in fields:
            seen[Field.CONTENT] = read_bytes("content", b64decode(page.evaluate(_AGAIN)))
        if Field.TYPE in fields:
            document = {name: value and place.text(value) for name, value in page.evaluate(_DOCUMENT).items()}
            seen[Field.TYPE] = {"media type": document.pop("media type")}
            seen[Field.TEXT] = {name: document.pop(name) for name in ("charset", "text")}
            seen[Field.SUMMARY] = document
        return {field: values for field, values in seen.items() if field in fields}
    finally:
        context.close()


class _Visit:
    """One navigation and the protocol's events about its document."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._events: list[tuple[str, dict[str, Any]]] = []
        for name in EVENTS:
            self._session.on(f"Network.{name}", lambda event, name=name: self._events.append((name, event)))
        self._session.send("Network.enable")

    def go(self, url: str) -> None:
        try:
            self._page.goto(url)
        except Error as error:
            # So it says of an answer that makes no document, such as a 204 or a file to be saved.
            if "net::ERR_ABORTED" not in str(error) and "Download is starting" not in str(error):
                raise
        deadline = time.monotonic() + DEADLINE_S
        while not self._complete:
            assert time.monotonic() < deadline, self._events
            self._page.wait_for_timeout(10)

    def _told(self, name: str) -> list[dict[str, Any]]:
        """The events of one name that are about the document, which is the first request."""
        document = next((event["requestId"] for one, event in self._events if one == "requestWillBeSent"), None)
        return [event for one, event in self._events if one == name and event["requestId"] == document]

    @property
    def _complete(self) -> bool:
        ended = self._told("loadingFinished") or self._told("loadingFailed")
        hops = len(self._told("requestWillBeSent"))
        extras = ("requestWillBeSentExtraInfo", "responseReceivedExtraInfo")
        return bool(ended) and all(len(self._told(name)) == hops for name in extras)

    @property
    def response(self) -> dict[str, Any]:
        """The last hop's."""
        found: dict[str, Any] = self._told("responseReceived")[0]["response"]
        return found

    @property
    def final_url(self) -> str:
        return str(self.response["url"])

    def hops(self) -> list[SeenHop]:
        requests = self._told("requestWillBeSent")
        responses = [request["redirectResponse"] for request in requests[1:]] + [self.response]
        sent = [event["headers"] for event in self._told("requestWillBeSentExtraInfo")]
        lines = [_read_lines(event) for event in self._told("responseReceivedExtraInfo")]
        return [
            SeenHop(
                url=response["url"],
                http_version=response["protocol"].upper(),
                status_code=response["status"],
                reason=reason,
                headers=headers,
                sent_cookies=_octets(headers_sent["Cookie"]) if "Cookie" in headers_sent else None,
            )
            for response, headers_sent, (reason, headers) in zip(responses, sent, lines, strict=True)
        ]

    def refused(self) -> list[str]:
        """The lines that it would not keep, in order. A name that was expired is not refused."""
        blocked = [one for event in self._told("responseReceivedExtraInfo") for one in event["blockedCookies"]]
        return [str(one["cookieLine"]) for one in blocked]

    def cookies(self, place: Place) -> list[SeenCookie]:
        found = self._session.send("Network.getAllCookies")["cookies"]
        return [
            SeenCookie(
                name=cookie["name"],
                value=cookie["value"],
                domain=cookie["domain"],
                path=cookie["path"],
                lifetime=place.lifetime(None if cookie["session"] else cookie["expires"]),
                secure=cookie["secure"],
                http_only=cookie["httpOnly"],
                same_site=cookie.get("sameSite"),
                partitioned="partitionKey" in cookie,
            )
            for cookie in found
        ]


def _read_lines(event: dict[str, Any]) -> tuple[str, list[tuple[str, bytes]]]:
    """The reason, and the header lines: order and names from one form, bytes from the other."""
    status_line, *lines = event["headersText"].removesuffix("\r\n\r\n").split("\r\n")
    octets = {name: iter(_octets(joined).split(b"\n")) for name, joined in event["headers"].items()}
    headers = []
    for line in lines:
        name = line.partition(":")[0].strip()
        headers.append((name, next(octets[name])))
    assert all(next(rest, None) is None for rest in octets.values()), event
    return (*status_line.split(" ", 2), "")[2], headers


def _octets(text: str) -> bytes:
    """The bytes that the protocol tells as windows-1252; its five holes are controls."""
    return b"".join(bytes([ord(one)]) if ord(one) < 0x100 else one.encode("cp1252") for one in text)


def _read_tls(details: dict[str, Any]) -> dict[str, Value]:
    return {
        "tls version": details["protocol"].replace("TLS 1", "TLSv1"),
        "certificate subject": f"CN={details['subjectName']}",
        "certificate issuer": f"CN={details['issuer']}",
        "certificate not before": details["validFrom"],
        "certificate not after": details["validTo"],
        "certificate names": ", ".join(sorted(details["sanList"])),
    }
