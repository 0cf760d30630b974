"""Builds the OpenAPI 3.1 document from the route table and the declarations of its operations.

The types that read requests and encode answers are the schemas of the document: it cannot describe another API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from metadata_inventory import __version__, errors
from metadata_inventory.web.http.operation import Answer, Operation, operations
from metadata_inventory.web.http.problem import MEDIA_TYPE, Problem, status_of
from metadata_inventory.web.http.route import Route

_HEADERS = {
    "Location": "The path of the record.",
    "Retry-After": "The number of seconds after which to ask again.",
    "ETag": "Identifies this representation; it changes when the representation does.",
    "Last-Modified": "When the capture was fetched.",
    "Age": "Seconds since the capture was fetched.",
    "Cache-Status": "RFC 9211: whether the answer was stored, or had to be collected.",
    "Content-Disposition": "`attachment`: the bytes are to be saved, not shown.",
    "Content-Security-Policy": "`sandbox`: a browser that shows the bytes runs no script in them.",
    "Preference-Applied": "RFC 7240: the preference that was followed.",
}

_REF = "#/components/schemas/{name}"

# Segments of paths are ids: SHA-256 in hex.
_ID = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def build_document(routes: Sequence[Route]) -> dict[str, Any]:
    declared = [one for route in routes for _, one in operations(route.handler)]
    answers = [answer for one in declared for answer in one.answers.values()]
    bodies = [answer.body for answer in answers if answer.body not in (None, dict, bytes)]
    taken = [shape for one in declared for shape in (one.query, one.body) if shape is not None]
    types = list(dict.fromkeys([Problem, *bodies, *taken]))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(types, schemas, strict=True))
    for name in sorted({answer.body.__name__ for answer in answers if answer.partial and answer.body is not None}):
        components[f"Partial{name}"] = _without_required(name, components[name])
    queries = {one.query.__name__ for one in declared if one.query is not None}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HTTP Metadata Inventory",
            "version": __version__,
            "description": "Collects URLs, and stores their responses: headers, cookies and page source.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {route.path: _path_item(route, by_type, components) for route in routes},
        "components": {
            "schemas": {name: shape for name, shape in components.items() if name not in queries},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


def _without_required(name: str, shape: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with some of the members of `shape`."""
    partial = {key: value for key, value in shape.items() if key not in ("required", "title")}
    description = f"The members of {name} that the client has chosen."
    return {**partial, "description": description, "additionalProperties": False}


def _path_item(route: Route, by_type: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = {}
    for method, declared in operations(route.handler):
        entry: dict[str, Any] = {
            "operationId": f"{method}_{re.sub(r'[^a-z]+', '_', route.path).strip('_')}",
            "summary": declared.summary,
            "parameters": list(_parameters(route, declared, components)),
            "responses": _responses(declared, by_type),
        }
        if declared.scope is not None:  # {} is the second choice: where no keys are in force, none is needed
            entry["security"] = [{"key": [declared.scope]}, {}]
        if declared.body is not None:
            content = {"application/json": {"schema": by_type[declared.body]}}
            entry["requestBody"] = {"required": True, "content": content}
        item[method] = entry
    return item


def _parameters(route: Route, declared: Operation, components: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield {"name": name, "in": "path", "required": True, "schema": _ID}
    if declared.query is None:
        return
    shape = components[declared.query.__name__]
    for name, schema in shape["properties"].items():
        plain = {key: value for key, value in schema.items() if key != "description"}
        parameter = {"name": name, "in": "query", "required": name in shape.get("required", ()), "schema": plain}
        if "description" in schema:
            parameter["description"] = schema["description"]
        yield parameter


def _responses(declared: Operation, by_type: dict[Any, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in declared.answers.items():
        response: dict[str, Any] = {"description": answer.description}
        if answer.headers:
            response["headers"] = {
                name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in answer.headers
            }
        if answer.body is not None:
            response["content"] = _content(answer, by_type)
        responses[str(status)] = response
    for status, summaries in sorted(_problems(declared).items()):
        content = {MEDIA_TYPE: {"schema": by_type[Problem]}}
        responses[str(status)] = {"description": " ".join(summaries), "content": content}
    return responses


def _content(answer: Answer, by_type: dict[Any, Any]) -> dict[str, Any]:
    """The media types of an answer with a body, each with its schema."""
    if answer.body is bytes:
        return {"*/*": {}}
    schema = by_type.get(answer.body, {"type": "object"})
    if answer.partial and answer.body is not None:
        schema = {"anyOf": [schema, {"$ref": _REF.format(name=f"Partial{answer.body.__name__}")}]}
    return {"application/json": {"schema": schema}}


def _problems(declared: Operation) -> dict[int, list[str]]:
    """Status → each code with its meaning, for the errors that an operation declares and their subclasses."""
    problems: dict[int, list[str]] = {}
    for declared_error in (*declared.errors, *([errors.AccessRefused] if declared.scope else [])):
        for error in _family(declared_error):
            problems.setdefault(status_of(error), []).append(f"`{error.code}`: {error.summary}")
    if declared.failures:
        problems.setdefault(403, []).append("`destination_ip_prohibited`: found when the collector connected.")
        problems.setdefault(502, []).append("The collection failed; `code` is the stored failure's.")
        problems.setdefault(504, []).append("The collection timed out; `code` is the stored failure's.")
    problems.setdefault(500, []).append(f"`{errors.InventoryError.code}`: {errors.InventoryError.summary}")
    if declared.query is not None:
        problems.setdefault(400, problems.get(400, []))
    return problems


def _family(error: type[errors.InventoryError]) -> Iterator[type[errors.InventoryError]]:
    yield error
    for subclass in error.__subclasses__():
        yield from _family(subclass)
