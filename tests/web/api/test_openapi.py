"""`/openapi.json` is held against what the service answers."""

from __future__ import annotations

import json
import re

import pytest

from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.openapi import build_document
from metadata_inventory.web.http.operation import METHODS
from tests.web.client import Api


@pytest.mark.gen_test
async def test_served_document_is_the_one_that_the_routes_make(api: Api) -> None:
    answer = await api.get("/openapi.json")
    assert answer.json == json.loads(json.dumps(build_document(ROUTES)))
    assert answer.json["openapi"] == "3.1.0"


@pytest.mark.gen_test
async def test_every_path_answers_exactly_the_methods_that_the_document_declares(api: Api) -> None:
    for template, item in (await api.document())["paths"].items():
        path = re.sub(r"{\w+}", "0" * 64, template)
        for method in METHODS:
            answer = await api.send(method.upper(), path, body=b"" if method in ("post", "put", "patch") else None)
            declared = method in item
            assert (answer.status != 405) == declared, (method, path)
            assert answer.status != 500
