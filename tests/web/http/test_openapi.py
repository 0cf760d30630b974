"""The document is made from the routes and types that serve; here it is held against what answers."""

from __future__ import annotations

import json
import re

import pytest
from openapi_spec_validator import validate

from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.openapi import build_document
from metadata_inventory.web.http.operation import METHODS
from tests.web.client import Api


@pytest.mark.gen_test
async def test_served_document_is_the_one_that_the_routes_make(api: Api) -> None:
    answer = await api.get("/openapi.json")
    assert answer.json == json.loads(json.dumps(build_document(ROUTES)))
    assert answer.json["openapi"] == "3.1.0"


def test_document_is_valid_openapi() -> None:
    validate(json.loads(json.dumps(build_document(ROUTES))))


@pytest.mark.gen_test
async def test_every_path_answers_exactly_the_methods_that_the_document_declares(api: Api) -> None:
    for template, item in (await api.document())["paths"].items():
        path = re.sub(r"{\w+}", "0" * 64, template)
        for method in METHODS:
            answer = await api.send(method.upper(), path, body=b"" if method in ("post", "put", "patch") else None)
            declared = method in item
            assert (answer.status != 405) == declared, (method, path)
            assert answer.status != 500


def test_every_method_that_a_handler_defines_is_declared() -> None:
    for route in ROUTES:
        for method in METHODS:
            defined = any(method in vars(ancestor) for ancestor in route.handler.__mro__ if _ours(ancestor))
            assert defined == hasattr(getattr(route.handler, method), "operation"), (route.path, method)


def test_parameters_are_the_fields_of_the_types_that_read_them() -> None:
    document = build_document(ROUTES)
    get = document["paths"]["/api/metadata/"]["get"]
    assert [parameter["name"] for parameter in get["parameters"]] == ["url", "max_age", "wait", "collect", "fields"]
    assert [parameter["name"] for parameter in get["parameters"] if parameter["required"]] == ["url"]
    assert document["paths"]["/api/metadata/{record_id}/"]["get"]["parameters"][0]["in"] == "path"


def _ours(ancestor: type) -> bool:
    return ancestor.__module__.startswith("metadata_inventory")
