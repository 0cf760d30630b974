"""Where a response redirects to, and which redirects cannot be followed."""

from __future__ import annotations

import pytest

from metadata_inventory.collect.parse.headers import HeaderReader
from metadata_inventory.collect.parse.redirects import find_redirect
from tests.support.options import header_limits

URL = "https://a.example/dir/page?x"


def read(status: int, *locations: bytes) -> HeaderReader:
    reader = HeaderReader(header_limits())
    for line in (b"HTTP/1.1 %d Found" % status, *(b"Location: " + one for one in locations), b""):
        reader.feed(line + b"\r\n")
    return reader


@pytest.mark.parametrize(
    ("location", "target"),
    [
        pytest.param(b"next", "https://a.example/dir/next", id="relative"),
        pytest.param(b"//b.example/", "https://b.example/", id="without a scheme"),
        pytest.param(b"http://B.example:80/", "http://b.example/", id="another scheme of ours"),
        pytest.param("/ä".encode(), "https://a.example/%C3%A4", id="UTF-8"),
        pytest.param(b"/\xe4", "https://a.example/%E4", id="ISO-8859-1"),
    ],
)
def test_a_location_is_resolved_against_the_url(location: bytes, target: str) -> None:
    assert find_redirect(URL, read(302, location)) == target


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 309, 404])
def test_other_status_codes_do_not_redirect(status: int) -> None:
    assert find_redirect(URL, read(status, b"/next")) is None


@pytest.mark.parametrize(
    "location", [b"", b"http://[", b"ftp://a.example/", b"mailto:a@a.example", b"http://u@a.example/"]
)
def test_a_location_that_cannot_be_followed_does_not_redirect(location: bytes) -> None:
    assert find_redirect(URL, read(302, location)) is None


def test_the_first_location_that_is_not_empty_counts() -> None:
    assert find_redirect(URL, read(302, b"", b"/one", b"/two")) == "https://a.example/one"
    assert find_redirect(URL, read(302)) is None
