"""What outside suites call keeps its names, its arguments and what it returns."""

from __future__ import annotations

from datetime import UTC, datetime

import pycurl
import pytest

from tests import conformance

NOW = datetime(2026, 1, 2, tzinfo=UTC)
URL = "https://shop.example/cart"


def test_urls_are_normalized_resolved_and_refused() -> None:
    url = conformance.normalize("HTTP://Example.com:80/%7ea#b")
    assert (url.href, url.host, url.port) == ("http://example.com/~a", "example.com", 80)
    assert conformance.resolve("http://example.com/a", "b") == "http://example.com/b"
    with pytest.raises(conformance.InvalidUrl):
        conformance.normalize("example.com")


def test_cookies_are_parsed_kept_and_sent() -> None:
    cookie = conformance.parse_set_cookie(b"a=b; Secure", URL, NOW)
    assert (cookie.name, cookie.value, cookie.secure) == ("a", "b", True)
    jar = conformance.CookieJar()
    assert jar.receive(cookie, URL, NOW)
    assert jar.octets_for(URL, NOW) == b"a=b"
    assert conformance.parse_cookie_date(b"Fri, 02 Jan 2026 00:00:00 GMT") == NOW


def test_content_is_identified_and_decoded() -> None:
    assert conformance.parse_media_type("Text/HTML; charset=latin1") == ("text/html", "latin1")
    identified = conformance.identify(b"<!doctype html>", "text/html; charset=latin1")
    assert (identified.media_type, identified.charset) == ("text/html", "windows-1252")
    assert conformance.find_charset("latin1") == "windows-1252"
    assert conformance.decode(b"\x80", "latin1") == "€"


def test_transfer_is_prepared_with_options_of_a_destination_policy_alone() -> None:
    options = conformance.CollectorOptions(destinations=conformance.DestinationPolicy.parse(["127.0.0.0/8"]))
    easy = pycurl.Curl()
    conformance.configure(easy, options, "http://shop.example/", timeout_ms=3000, verify=True)
    conformance.name_addresses(easy, "shop.example", 80, ("127.0.0.1",))
    easy.close()
    assert conformance.is_address("127.0.0.1")
    assert not conformance.is_address("shop.example")
