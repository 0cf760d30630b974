"""Requests that are refused before an operation reads them: too long a body, an unknown path or method, odd headers."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.web.client import Api

JSON = {"Content-Type": "application/json"}


@pytest.mark.gen_test
async def test_body_over_the_limit_is_413_before_it_is_sent(api: Api) -> None:
    """Only the head is sent, and the answer comes."""
    for extra in ("Content-Length: 65537", "Content-Length: 999999999999"):
        head = await exchange(api, f"POST /api/metadata/ HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n\r\n".encode())
        assert b"413" in head.split(b"\r\n")[0]
        assert b'"code":"request_too_large"' in head
        assert b"The body must have at most 65536 bytes." in head


@pytest.mark.gen_test
async def test_chunked_body_over_the_limit_is_413_while_it_is_sent(api: Api) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    request = b"POST /api/metadata/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + 2 * chunk
    answer = await exchange(api, request)
    assert b'"code":"request_too_large"' in answer


@pytest.mark.gen_test
async def test_body_at_the_limit_is_read(api: Api) -> None:
    body = json.dumps({"url": "x"}).encode()
    answer = await api.send("POST", "/api/metadata/", headers=JSON, body=body.ljust(65536))
    assert answer.json["code"] == "url_scheme_unsupported"


async def exchange(api: Api, request: bytes) -> bytes:
    """All bytes that the server sends in answer to these."""
    address = urlsplit(api.base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/", "/api", "/api/metadata/x/y", "/api/nothing/", "/livez/x", "/%00", "/..%2f"])
async def test_unknown_path_is_404(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.json["code"]) == (404, "path_not_found")
    assert answer.json["detail"] == "There is no such path; /openapi.json lists all paths."


@pytest.mark.gen_test
@pytest.mark.parametrize("record_id", ["x", "0" * 63, "0" * 64, "A" * 64])
async def test_unknown_id_is_404(api: Api, record_id: str) -> None:
    answer = await api.get(f"/api/metadata/{record_id}/")
    assert (answer.status, answer.json["code"]) == (404, "record_not_found")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/metadata/", "HEAD, GET, POST"),
        ("PATCH", "/api/metadata/", "HEAD, GET, POST"),
        ("OPTIONS", "/api/metadata/", "HEAD, GET, POST"),
        ("BREW", "/api/metadata/", "HEAD, GET, POST"),
        ("POST", f"/api/metadata/{'0' * 64}/", "HEAD, GET"),
        ("POST", "/livez", "HEAD, GET"),
    ],
)
async def test_unknown_method_is_405_and_names_the_known(api: Api, method: str, path: str, allow: str) -> None:
    answer = await api.send(method, path, body=b"" if method == "POST" else None)
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allow
    *others, last = allow.split(", ")
    assert answer.json["detail"] == f"The method must be {', '.join(others)} or {last}."


@pytest.mark.gen_test
async def test_unknown_method_on_an_unknown_path_is_405(api: Api) -> None:
    answer = await api.send("BREW", "/nowhere")
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")


@pytest.mark.gen_test
async def test_path_that_is_not_utf8_is_400(api: Api) -> None:
    answer = await api.get("/api/metadata/%ff/")
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert answer.json["detail"] == "The path must be percent-encoded UTF-8."


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("line", "status", "detail"),
    [
        ("Content-Length: abc", b"400", b'Content-Length must be a whole number of at least 0, not \\"abc\\".'),
        ("Content-Length: -1", b"400", b'Content-Length must be a whole number of at least 0, not \\"-1\\".'),
        ("Origin: http://[", b"403", b"A page of another site"),
    ],
)
async def test_odd_header_is_the_callers_mistake(api: Api, line: str, status: bytes, detail: bytes) -> None:
    head = f"POST /api/metadata/ HTTP/1.1\r\nHost: localhost\r\n{line}\r\nConnection: close\r\n\r\n"
    answer = await exchange(api, head.encode())
    assert status in answer.split(b"\r\n")[0], answer
    assert detail in answer
