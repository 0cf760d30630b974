"""Bodies of every kind: what the origin sent is what the API answers with."""

from __future__ import annotations

import base64
import os

import pytest

from metadata_inventory.model.urls import normalize
from tests.support.origin import Origin
from tests.web.api.test_metadata import a_page, a_refused_url
from tests.web.client import Api


@pytest.mark.gen_test
async def test_body_comes_back_byte_for_byte_and_sandboxed(api: Api, shared_origin: Origin) -> None:
    page = b"<script>alert(1)</script>\xff\xfe\x80 \r\n" * 3
    with a_page(shared_origin, page) as (_, url):
        record = await api.collected(url)
    answer = await api.get(f"/api/metadata/{record['id']}/body")
    assert (answer.status, answer.content) == (200, page)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["ETag"] == f'"{record["body"]["sha256"]}"'
    unchanged = await api.get(f"/api/metadata/{record['id']}/body/", headers={"If-None-Match": answer.headers["ETag"]})
    assert (unchanged.status, unchanged.content) == (304, b"")
    for name in ("Content-Disposition", "Content-Security-Policy", "X-Content-Type-Options", "ETag"):
        assert unchanged.headers[name] == answer.headers[name], "a cache updates its stored answer with these"


@pytest.mark.gen_test
async def test_body_of_an_entry_without_a_capture_is_404(api: Api) -> None:
    url = a_refused_url()
    await api.post(url)
    for record_id in (normalize(url).id, "0" * 64, "x"):
        answer = await api.get(f"/api/metadata/{record_id}/body/")
        assert (answer.status, answer.json["code"]) == (404, "record_not_found")


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [300_000, 9_000_000])
async def test_large_binary_body_is_whole(api: Api, shared_origin: Origin, size: int) -> None:
    """The larger one does not fit into one document of the database."""
    page = os.urandom(size)
    with a_page(shared_origin, page, headers=[("Content-Type", "image/png")]) as (_, url):
        record = await api.collected(url)
    assert record["body"]["encoding"] == "base64"
    assert record["body"]["length"] == record["body"]["wire_length"] == size
    assert base64.b64decode(record["page_source"]) == page
    answer = await api.get(f"/api/metadata/{record['id']}/body/")
    assert answer.content == page
    assert answer.headers["Content-Type"] == "image/png"


@pytest.mark.gen_test
async def test_large_page_comes_back_whole(api: Api, shared_origin: Origin) -> None:
    page = "".join(f"<p>{n} é</p>" for n in range(100_000))
    with a_page(shared_origin, page) as (_, url):
        assert (await api.collected(url))["page_source"] == page
        assert (await api.get(url=url)).json["page_source"] == page
        assert (await api.get(url=url, fields="page_source")).json == {"page_source": page}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("content_type", "page"),
    [
        ("text/html; charset=utf-8", b"\x00<title>\x00a\xed\xa0\x80\xff</title>\x00"),
        ("text/html", "<title>\ufffe\U0010ffff</title>".encode("utf-16")),
        ("text/html; charset=utf-16le", b"\x00\xd8<\x00t\x00"),
        ("text/html; charset=iso-8859-8-i", b"\xf9\xec\xe5\xed"),
        ("text/plain; charset=replacement", b"anything"),
        ("text/html; charset=x-user-defined", b"\x80\xff"),
        ("text/html", b'<title>&#xD800;&#0;</title><meta property="og:title" content="$set">'),
        ("text/html", b'<script type="application/ld+json">{"@type": "\\ud800", "$where": 1}</script>'),
        ("application/json", b'{"$ne": null}'),
        ("x" * 3000, b"text"),
        ("text/\xff; charset=\xfe", b"text"),
        ("", b""),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_hostile_page_is_stored_and_shown(
    api: Api, shared_origin: Origin, content_type: str, page: bytes
) -> None:
    headers = [("Content-Type", content_type), ("$where", "\x7f$ROOT"), ("Set-Cookie", "\xff=\xfe; Path=$x")]
    with a_page(shared_origin, page, headers=headers) as (_, url):
        record = await api.collected(url)
        again = await api.get(url=url)
    assert again.json == record
    again.content.decode("utf-8")
    assert (await api.get(f"/api/metadata/{record['id']}/body/")).content == page
    assert record["cookies"]


@pytest.mark.gen_test
async def test_certificate_that_does_not_verify_is_shown(api: Api) -> None:
    with Origin(tls=True) as origin:
        answer = await api.post(origin.url("/"))
    assert (answer.status, answer.json["code"]) == (502, "tls_certificate_error")
    tls = answer.json["exchanges"][-1]["tls"]
    assert tls["verified"] is False
    assert tls["verify_error"]
    assert tls["certificate"]["subject"] == "CN=localhost"
