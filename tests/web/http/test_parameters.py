"""Query strings and JSON bodies as the types that operations declare, and the sentence about each that does not fit."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from metadata_inventory import errors
from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.operation import operations
from metadata_inventory.web.http.parameters import read_members, read_query
from tests.web.client import Api


class UrlQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    wait: Annotated[int, Meta(ge=0, le=30)] | None = None
    collect: bool = True


class PageQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: int
    order: Annotated[str, Meta(pattern="^-?age$", extra={"expected": "age or -age"})] = "age"


def parsed(query: str) -> dict[str, list[bytes]]:
    """As Tornado parses it."""
    arguments = parse_qs(query, keep_blank_values=True, encoding="latin-1")
    return {name: [value.encode("latin-1") for value in values] for name, values in arguments.items()}


ENCODE = "percent-encode the URL: & must be written %26."
REFUSED_QUERIES = [
    (UrlQuery, "", "The parameter url is missing."),
    (UrlQuery, "URL=x", 'The parameter url is missing. There is no parameter "URL".'),
    (UrlQuery, "url=http://a.example/?x=1&b=2", f'There is no parameter "b". If it belongs to url, {ENCODE}'),
    (UrlQuery, "url=x&wiat=1", f'There is no parameter "wiat"; did you mean wait? If it belongs to url, {ENCODE}'),
    (UrlQuery, "url=x&%C3%A9=1", f'There is no parameter "é". If it belongs to url, {ENCODE}'),
    (
        UrlQuery,
        "url=a&url=b&url=c",
        f'The parameter "url" is given 3 times; give it once. If one of them belongs to url, {ENCODE}',
    ),
    (UrlQuery, "url=%ff", 'The parameter "url" must be percent-encoded UTF-8.'),
    (UrlQuery, "url=x&wait=31", 'wait must be a whole number from 0 to 30, not "31".'),
    (UrlQuery, "url=x&collect=perhaps", 'collect must be true or false, not "perhaps".'),
    (PageQuery, "limit=1&b=2", 'There is no parameter "b"; there are limit and order.'),
    (PageQuery, "limit=1&limit=2", 'The parameter "limit" is given 2 times; give it once.'),
    (PageQuery, "order=age", "The parameter limit is missing."),
    (PageQuery, "limit=1&order=size", 'order must be age or -age, not "size".'),
]
REFUSED_VALUES: list[tuple[type[Struct], Any, str]] = [
    (UrlQuery, ["x"], "The body must be a JSON object (members: url, wait, collect), not a list."),
    (UrlQuery, "x", 'The body must be a JSON object (members: url, wait, collect), not "x".'),
    (UrlQuery, {}, "The member url is missing."),
    (UrlQuery, {"url": "x", "b": 1}, 'There is no member "b"; there are url, wait and collect.'),
    (UrlQuery, {"url": "x", "waits": 1}, 'There is no member "waits"; did you mean wait?'),
    (UrlQuery, {"url": "x", "\ud800": 1}, 'There is no member "�"; there are url, wait and collect.'),
    (UrlQuery, {"url": 5}, "url must be text, not 5."),
    (UrlQuery, {"url": "x", "wait": "5"}, 'wait must be a whole number from 0 to 30 or null, not "5".'),
]


@pytest.mark.parametrize(("shape", "query", "sentence"), REFUSED_QUERIES)
def test_query_that_does_not_fit_is_refused_in_a_sentence(shape: type[Struct], query: str, sentence: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        read_query(parsed(query), shape)
    assert caught.value.detail == sentence


@pytest.mark.parametrize(("shape", "value", "sentence"), REFUSED_VALUES)
def test_body_that_does_not_fit_is_refused_in_a_sentence(shape: type[Struct], value: Any, sentence: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        read_members(value, shape)
    assert caught.value.detail == sentence


def shapes(source: str) -> st.SearchStrategy[Any]:
    declared = [getattr(one, source) for route in ROUTES for _, one in operations(route.handler)]
    return st.sampled_from([shape for shape in declared if shape is not None])


TEXTS = st.text(max_size=80) | st.sampled_from(["0", "5", "30", "31", "-1", "true", "false", "null", "1.0", "id"])
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(TEXTS, max_size=2) | st.just({"a": 1})
)


@settings(deadline=None, database=None)
@given(st.data(), shapes("query"))
def test_query_is_read_as_its_type_says_or_refused_on_one_line(data: st.DataObject, shape: type[Struct]) -> None:
    names = st.sampled_from(shape.__struct_fields__) | st.text(max_size=80)
    values = data.draw(st.dictionaries(names, TEXTS, max_size=4))
    arguments = {name.encode().decode("latin-1"): [value.encode()] for name, value in values.items()}
    compare(shape, values, lambda: read_query(arguments, shape), strict=False)


@settings(deadline=None, database=None)
@given(st.data(), shapes("body"))
def test_body_is_read_as_its_type_says_or_refused_on_one_line(data: st.DataObject, shape: type[Struct]) -> None:
    names = st.sampled_from(shape.__struct_fields__) | st.text(max_size=80)
    value = data.draw(st.dictionaries(names, VALUES, max_size=4) | VALUES)
    compare(shape, value, lambda: read_members(value, shape), strict=True)


def compare(shape: type[Struct], value: Any, read: Any, *, strict: bool) -> None:
    """Nothing is refused that the type as a whole takes, and nothing is taken that it refuses."""
    try:
        expected = msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError:
        with pytest.raises(errors.InvalidRequest) as caught:
            read()
        assert caught.value.detail.isprintable()
        assert len(caught.value.detail) < 600
    else:
        assert read() == expected


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
