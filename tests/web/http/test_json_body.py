"""Bodies that have to be JSON, and are read strictly."""

from __future__ import annotations

import pytest

from metadata_inventory import errors
from metadata_inventory.web.http.json_body import parse_json
from tests.web.client import Api

JSON = {"Content-Type": "application/json"}
TYPE = "Content-Type must be application/json, in UTF-8, not"
REFUSED = [
    (None, b"{}", "Content-Type is missing; it must be application/json, in UTF-8."),
    ("text/plain", b"{}", f'{TYPE} "text/plain".'),
    ("application/json; charset=x", b"{}", f'{TYPE} "application/json; charset=x".'),
    ("application/json", b"", "The body is empty; it must be JSON."),
    ("application/json", b"\xff", "The body is not valid JSON: it is not UTF-8."),
    ("application/json", b'{"a": 1}\n x', "The body is not valid JSON; see line 2, column 2."),
    ("application/json", b'{"a": -Infinity}', "The body is not valid JSON: -Infinity is no JSON number."),
    ("application/json", b'{"a": 1, "b": 2, "b": 3}', 'The member "b" is given 2 times; give it once.'),
    ("application/json", b'{"b": {"url": 2, "url": 3}}', 'The member "url" is given 2 times; give it once.'),
]


@pytest.mark.parametrize(("content_type", "body", "sentence"), REFUSED)
def test_body_that_is_not_json_is_refused_in_a_sentence(content_type: str | None, body: bytes, sentence: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_json(content_type, body)
    assert caught.value.detail == sentence


@pytest.mark.parametrize("body", [b"[" * 60_000, b"1" * 5000])
def test_body_that_the_parser_gives_up_on_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidJson, match="too deep, or a number too long"):
        parse_json("application/json", body)


def test_number_with_a_zero_fraction_is_an_integer() -> None:
    value = parse_json("application/json", b"[60.0, 6e1, 0.5]")
    assert repr(value) == "[60, 60, 0.5]"


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


def test_of_members_that_are_repeated_url_is_named_first() -> None:
    with pytest.raises(errors.UrlRepeated):
        parse_json("application/json", b'{"a": 1, "a": 2, "url": "x", "url": "y"}')


def test_one_repeated_member_among_very_many_is_found_in_one_pass() -> None:
    """Counting each member by itself took minutes for these: longer than a test may take."""
    members = ",".join(f'"{number}":0' for number in range(200_000))
    with pytest.raises(errors.InvalidParameter, match='"199999" is given 2 times'):
        parse_json("application/json", f'{{{members},"199999":0}}'.encode())
