"""The OpenAPI 3.1 document, made from the routes and types that serve."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from metadata_inventory import __version__, errors
from metadata_inventory.model.view import Record
from metadata_inventory.web.http.handler import BaseHandler, Services
from metadata_inventory.web.http.operation import Answer, Operation, operation
from metadata_inventory.web.http.problem import MEDIA_TYPE, Problem, status_of

METHODS = ("get", "post", "put", "patch", "delete")

_HEADERS = {
    "Location": "The record's own path.",
    "Retry-After": "Seconds after which asking again makes sense.",
    "ETag": "Names this representation of the record.",
    "Last-Modified": "When the capture was fetched.",
    "Age": "Seconds since the capture was fetched.",
    "Cache-Status": "RFC 9211: whether the answer was stored, or had to be collected.",
    "Content-Disposition": "The bytes are meant to be saved.",
    "Content-Security-Policy": "Where they are shown all the same, they run nothing.",
    "Preference-Applied": "RFC 7240: the preference that was followed.",
}


class Route(Struct, frozen=True):
    """A path as OpenAPI writes it, `{name}` for a segment, and its handler, which answers without last slash too."""

    path: str
    handler: type[BaseHandler]

    @property
    def pattern(self) -> str:
        """The regular expression for Tornado."""
        return re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path.rstrip("/"))) + "/?"


def operations(handler: type[BaseHandler]) -> Iterator[tuple[str, Operation]]:
    """The methods that a handler serves, with what they declare."""
    for method in METHODS:
        declared = getattr(getattr(handler, method), "operation", None)
        if declared is not None:
            yield method, declared


class OpenApiHandler(BaseHandler):
    def initialize(self, services: Services, route: str = "-", routes: tuple[Route, ...] = ()) -> None:
        super().initialize(services, route)
        self.routes = routes

    @operation(
        Operation(
            summary="This document.",
            scope=None,
            answers={200: Answer("OpenAPI 3.1.", dict)},
            errors=(errors.HostNotAllowed,),
        )
    )
    async def get(self) -> None:
        self.reply_json(200, encoded_document(self.routes))


@functools.cache
def encoded_document(routes: tuple[Route, ...]) -> bytes:
    return msgspec.json.encode(build_document(routes))


def build_document(routes: Sequence[Route]) -> dict[str, Any]:
    declared = [one for route in routes for _, one in operations(route.handler)]
    bodies = [
        answer.body for one in declared for answer in one.answers.values() if answer.body not in (None, dict, bytes)
    ]
    taken = [shape for one in declared for shape in (one.query, one.body) if shape is not None]
    types = list(dict.fromkeys([Problem, *bodies, *taken]))
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(types, schemas, strict=True))
    components["PartialRecord"] = _without_required(components["Record"])
    queries = {one.query.__name__ for one in declared if one.query is not None}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HTTP Metadata Inventory",
            "version": __version__,
            "description": "Give it a URL; it keeps what the URL's server answered.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {route.path: _path_item(route, by_type, components) for route in routes},
        "components": {
            "schemas": {name: shape for name, shape in components.items() if name not in queries},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


def _without_required(shape: dict[str, Any]) -> dict[str, Any]:
    """What `fields` leaves of a shape."""
    partial = {key: value for key, value in shape.items() if key not in ("required", "title")}
    return {**partial, "description": "A record with the `fields` that were asked for.", "additionalProperties": False}


def _path_item(route: Route, by_type: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = {}
    for method, declared in operations(route.handler):
        entry: dict[str, Any] = {
            "operationId": f"{method}_{re.sub(r'[^a-z]+', '_', route.path).strip('_')}",
            "summary": declared.summary,
            "parameters": list(_parameters(route, declared, components)),
            "responses": _responses(declared, by_type),
        }
        if declared.scope is not None:  # {}: where no keys are in force, none is needed
            entry["security"] = [{"key": [declared.scope]}, {}]
        if declared.body is not None:
            content = {"application/json": {"schema": by_type[declared.body]}}
            entry["requestBody"] = {"required": True, "content": content}
        item[method] = entry
    return item


def _parameters(route: Route, declared: Operation, components: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", route.path):
        schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
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
            schema = by_type.get(answer.body, {"type": "object"})
            if answer.body is Record:
                schema = {"anyOf": [schema, {"$ref": "#/components/schemas/PartialRecord"}]}
            response["content"] = {"application/json": {"schema": schema}} if answer.body is not bytes else {"*/*": {}}
        responses[str(status)] = response
    for status, summaries in sorted(_problems(declared).items()):
        content = {MEDIA_TYPE: {"schema": by_type[Problem]}}
        responses[str(status)] = {"description": " ".join(summaries), "content": content}
    return responses


def _problems(declared: Operation) -> dict[int, list[str]]:
    """Status → codes and their meaning, of every error that the operation declares and every subclass of it."""
    problems: dict[int, list[str]] = {}
    for declared_error in (*declared.errors, *([errors.AccessRefused] if declared.scope else [])):
        for error in _family(declared_error):
            problems.setdefault(status_of(error), []).append(f"`{error.code}`: {error.summary}")
    if declared.failures:
        problems.setdefault(403, []).append("`destination_ip_prohibited`, when it was found on connecting.")
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
