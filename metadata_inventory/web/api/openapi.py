"""`/openapi.json`: the OpenAPI document of all routes."""

from __future__ import annotations

import functools

import msgspec

from metadata_inventory import errors
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.openapi import build_document
from metadata_inventory.web.http.operation import Answer, Operation, operation
from metadata_inventory.web.http.route import Route
from metadata_inventory.web.http.services import Services


class OpenApiHandler(BaseHandler):
    def initialize(self, services: Services, route: str = "-", routes: tuple[Route, ...] = ()) -> None:
        super().initialize(services, route)
        self.routes = routes

    @operation(
        Operation(
            summary="Read this OpenAPI document.",
            scope=None,
            answers={200: Answer("The document, in OpenAPI 3.1.", dict)},
            errors=(errors.HostNotAllowed,),
        )
    )
    async def get(self) -> None:
        self.reply_json(200, _encode_document(self.routes))


@functools.cache
def _encode_document(routes: tuple[Route, ...]) -> bytes:
    return msgspec.json.encode(build_document(routes))
