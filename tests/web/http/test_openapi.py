"""The OpenAPI document as it is built from the route table."""

from __future__ import annotations

import json

from openapi_spec_validator import validate

from metadata_inventory.web.app import ROUTES
from metadata_inventory.web.http.openapi import build_document
from metadata_inventory.web.http.operation import METHODS


def test_document_is_valid_openapi() -> None:
    validate(json.loads(json.dumps(build_document(ROUTES))))


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


def test_answer_with_chosen_fields_may_lack_any_member_and_has_no_other() -> None:
    document = build_document(ROUTES)
    content = document["paths"]["/api/metadata/{record_id}/"]["get"]["responses"]["200"]["content"]
    references = [one["$ref"] for one in content["application/json"]["schema"]["anyOf"]]
    assert references == ["#/components/schemas/Record", "#/components/schemas/PartialRecord"]
    whole, partial = (document["components"]["schemas"][one.rpartition("/")[2]] for one in references)
    assert partial["properties"] == whole["properties"]
    assert whole["required"]
    assert "required" not in partial
    assert partial["additionalProperties"] is False


def _ours(ancestor: type) -> bool:
    return ancestor.__module__.startswith("metadata_inventory")


def test_operation_without_a_collection_documents_no_failure_of_one() -> None:
    document = build_document(ROUTES)
    assert set(document["paths"]["/livez"]["get"]["responses"]) == {"200", "500"}
    assert {"502", "504"} <= set(document["paths"]["/api/metadata/"]["post"]["responses"])
