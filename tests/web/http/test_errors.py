"""Bad input: one shape, a stable code, and never a trace of the inside."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from metadata_inventory import errors
from metadata_inventory.web.http.problem import build_problem, status_of
from tests.web.client import Api

JSON = {"Content-Type": "application/json"}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "url_missing"),
        ("wait=1", "url_missing"),
        ("url=http://a.example/&url=http://b.example/", "url_repeated"),
        ("url=http://a.example/?x=1&y=2", "invalid_parameter"),
        ("url=http://a.example/&wait=soon", "invalid_parameter"),
        ("url=http://a.example/&wait=31", "invalid_parameter"),
        ("url=http://a.example/&wait=1&wait=2", "invalid_parameter"),
        ("url=http://a.example/&max_age=-1", "invalid_parameter"),
        ("url=http://a.example/&max_age=1000000000000000", "invalid_parameter"),
        ("url=http://a.example/&collect=perhaps", "invalid_parameter"),
        ("url=%ff", "invalid_parameter"),
        ("url=", "url_scheme_unsupported"),
        ("url=example.com", "url_scheme_unsupported"),
        ("url=ftp://a.example/", "url_scheme_unsupported"),
        ("url=http://user:secret@a.example/", "url_userinfo_refused"),
        ("url=http://", "url_host_empty"),
        ("url=http://a.example/%00", "url_character_refused"),
        ("url=http://a%20b.example/", "url_character_refused"),
        (f"url=http://a.example/{'x' * 8192}", "url_too_long"),
        ("url=http://[1:2/", "invalid_url"),
    ],
)
async def test_bad_query_is_400(api: Api, query: str, code: str) -> None:
    answer = await api.get(f"/api/metadata/?{query}")
    assert (answer.status, answer.json["code"]) == (400, code)
    assert "secret" not in answer.content.decode()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"url": "http://a.example/"} x', "invalid_json"),
        (b'{"url": "http://a.example/", "max_age": NaN}', "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[" * 60_000, "invalid_json"),
        (b"[]", "invalid_parameter"),
        (b'"http://a.example/"', "invalid_parameter"),
        (b"null", "invalid_parameter"),
        (b"{}", "url_missing"),
        (b'{"URL": "http://a.example/"}', "url_missing"),
        (b'{"url": "http://a.example/", "url": "http://b.example/"}', "url_repeated"),
        (b'{"url": 5}', "invalid_parameter"),
        (b'{"url": null}', "invalid_parameter"),
        (b'{"url": ["http://a.example/"]}', "invalid_parameter"),
        (b'{"url": "http://a.example/", "wait": 5}', "invalid_parameter"),
        (rb'{"url": "http://a.example/", "\ud800": 5}', "invalid_parameter"),
        (b'{"url": "http://a.example/", "max_age": "5"}', "invalid_parameter"),
        (b'{"url": "http://a.example/", "max_age": 5.5}', "invalid_parameter"),
        (b'{"url": "http://a.example/", "max_age": 1e300}', "invalid_parameter"),
        (b'{"url": "http://a.example/", "max_age": 1e400}', "invalid_parameter"),
        (b'{"url": "http://a.example/", "max_age": 1, "max_age": 2}', "invalid_parameter"),
        (rb'{"url": "http://a.example/\ud800"}', "url_character_refused"),
        (b'{"url": "gopher://a.example/"}', "url_scheme_unsupported"),
    ],
)
async def test_bad_body_is_400(api: Api, body: bytes, code: str) -> None:
    answer = await api.send("POST", "/api/metadata/", headers=JSON, body=body)
    assert (answer.status, answer.json["code"]) == (400, code)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/jsonx"],
)
async def test_other_media_type_is_415(api: Api, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await api.send("POST", "/api/metadata/", headers=headers, body=b'{"url": "http://a.example/"}')
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.gen_test
@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/json;"])
async def test_json_media_type_is_read(api: Api, content_type: str) -> None:
    answer = await api.send("POST", "/api/metadata/", headers={"Content-Type": content_type}, body=b"{}")
    assert answer.json["code"] == "url_missing"


@pytest.mark.gen_test
async def test_body_over_the_limit_is_413_before_it_is_sent(api: Api) -> None:
    """Only the head is sent: the answer comes without the body."""
    for extra in ("Content-Length: 65537", "Content-Length: 999999999999"):
        head = await exchange(api, f"POST /api/metadata/ HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n\r\n".encode())
        assert b"413" in head.split(b"\r\n")[0]
        assert b'"code":"request_too_large"' in head


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
    """All that the server answers to these bytes."""
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


def family(error: type[errors.InventoryError]) -> list[type[errors.InventoryError]]:
    return [error, *(one for subclass in error.__subclasses__() for one in family(subclass))]


@pytest.mark.parametrize("error", family(errors.InventoryError), ids=lambda error: error.__name__)
def test_every_error_has_a_status_and_a_code_of_its_own(error: type[errors.InventoryError]) -> None:
    problem = build_problem(status_of(error), error.code, error().detail)
    assert problem.status >= 400
    assert problem.title
    declared = [one for one in family(errors.InventoryError) if "code" in vars(one) and one.code == error.code]
    assert len(declared) == 1


def test_every_error_stands_in_the_modules_tree() -> None:
    tree = errors.__doc__ or ""
    assert all(error.__name__ in tree for error in family(errors.InventoryError))


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("line", "status"),
    [("Content-Length: abc", b"400"), ("Content-Length: -1", b"400"), ("Origin: http://[", b"403")],
)
async def test_odd_header_is_refused_and_no_fault_of_ours(api: Api, line: str, status: bytes) -> None:
    head = f"POST /api/metadata/ HTTP/1.1\r\nHost: localhost\r\n{line}\r\nConnection: close\r\n\r\n"
    answer = await exchange(api, head.encode())
    assert status in answer.split(b"\r\n")[0], answer
