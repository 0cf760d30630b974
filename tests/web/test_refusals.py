"""Every operation of the route table, with wrong values of each of its parameters and members.

The answer names the parameter, says what is accepted in the project's own words, and quotes no library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest

from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.openapi import build_document
from tests.web.client import Api

DOCUMENT = json.loads(json.dumps(build_document(ROUTES)))
# Words of msgspec's messages: "Object contains unknown field `b`", "Expected `int` <= 30 - at `$.wait`".
QUOTED = re.compile(r"Expected|Object|`|\$\.|msgspec|Traceback")
LONG = "x" * 5000
WRONG_TEXTS = ["x", "", "1.5", "-1", "1000000000000000", "9" * 5000, "\x1b[31m\r\n", LONG]
WRONG_VALUES = [None, True, -1, 1.5, 10**15, "", "x", LONG, "\x1b[31m\r\n", [], [1], ["x", LONG], {}, {"a": 1}]
REQUIRED = {"url": "http://127.0.0.1:9/"}


def operations() -> list[Any]:
    return [
        pytest.param(method, re.sub(r"{\w+}", "0" * 64, path), declared, id=declared["operationId"])
        for path, item in DOCUMENT["paths"].items()
        for method, declared in item.items()
    ]


def required_query(declared: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: REQUIRED[one["name"]] for one in query_parameters(declared) if one["required"]}


def query_parameters(declared: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in declared["parameters"] if one["in"] == "query"]


def body_schema(declared: dict[str, Any]) -> dict[str, Any] | None:
    if "requestBody" not in declared:
        return None
    reference = declared["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema: dict[str, Any] = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
    return schema


def fits(value: Any, schema: dict[str, Any]) -> bool:
    validator = jsonschema.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )
    return bool(validator.is_valid(value))


def is_text(schema: dict[str, Any]) -> bool:
    return any(option.get("type") == "string" for option in schema.get("anyOf", [schema]))


def wrong_queries(declared: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The name that the answer has to have, and a query string."""
    valid = required_query(declared)
    for one in query_parameters(declared):
        name = one["name"]
        yield name, f"{urlencode({**valid, name: 'x'})}&{name}=y"
        yield name, f"{urlencode({key: value for key, value in valid.items() if key != name})}&{name}=%ff"
        if one["required"]:
            yield name, urlencode({key: value for key, value in valid.items() if key != name})
        if not is_text(one["schema"]):
            for text in WRONG_TEXTS:
                yield name, urlencode({**valid, name: text})
    if query_parameters(declared):
        for name in ("b", "WAIT", "é", LONG):
            yield name[:50], urlencode({**valid, name: "secret"})


def wrong_bodies(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The name that the answer has to have, and a body."""
    valid = {name: REQUIRED[name] for name in schema.get("required", ())}
    for name, member in schema["properties"].items():
        yield name, f'{{"{name}": 1, "{name}": 2}}'
        for value in WRONG_VALUES:
            if not fits(value, member):
                yield name, json.dumps({**valid, name: value})
        yield from ((name, json.dumps(value)) for value in (None, 5, "x", [valid]))  # no object: its members are named
    for name in schema.get("required", ()):
        yield name, json.dumps({key: value for key, value in valid.items() if key != name})
    for name in ("b", "é", LONG):
        yield name[:50], json.dumps({**valid, name: "secret"})


@pytest.mark.gen_test
@pytest.mark.parametrize(("method", "path", "declared"), operations())
async def test_refusal_names_what_is_wrong_and_quotes_no_library(
    api: Api, method: str, path: str, declared: dict[str, Any]
) -> None:
    schema = body_schema(declared)
    valid_body = None if schema is None else json.dumps({name: REQUIRED[name] for name in schema.get("required", ())})
    valid_query = urlencode(required_query(declared))
    requests = [(name, query, valid_body) for name, query in wrong_queries(declared)]
    if schema is not None:
        requests += [(name, valid_query, body) for name, body in wrong_bodies(schema)]
    assert len(requests) >= 8 or not (query_parameters(declared) or schema)
    for name, query, body in requests:
        headers = {"Content-Type": "application/json"} if body else {}
        target = f"{path}?{query}" if query else path
        content = None if body is None else body.encode()
        answer = await api.send(method.upper(), target, headers=headers, body=content)
        assert answer.status == 400, (query, body, answer.content)
        detail = answer.json["detail"]
        assert name in detail, (query, body, detail)
        assert not QUOTED.search(detail), detail
        assert detail.isprintable(), detail
        assert detail.endswith((".", "?")), detail
        assert LONG[:100] not in detail, detail
        assert "secret" not in detail, detail
