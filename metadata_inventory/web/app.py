"""The route table of the service, the Tornado application made of it, and the access log."""

from __future__ import annotations

import logging
from typing import Any

from tornado.web import Application, RequestHandler

from metadata_inventory.web.api.body import BodyHandler
from metadata_inventory.web.api.health import LiveHandler, ReadyHandler
from metadata_inventory.web.api.metadata import MetadataHandler, RecordHandler
from metadata_inventory.web.api.openapi import OpenApiHandler
from metadata_inventory.web.api.queue import QueueHandler
from metadata_inventory.web.http.handler import BaseHandler, UnknownPathHandler
from metadata_inventory.web.http.route import Route
from metadata_inventory.web.http.services import Services

access_logger = logging.getLogger("metadata_inventory.access")

ROUTES = (
    Route("/api/metadata/", MetadataHandler),
    Route("/api/metadata/{record_id}/", RecordHandler),
    Route("/api/metadata/{record_id}/body/", BodyHandler),
    Route("/api/inventory/queue/", QueueHandler),
    Route("/openapi.json", OpenApiHandler),
    Route("/livez", LiveHandler),
    Route("/readyz", ReadyHandler),
)


def make_app(services: Services) -> Application:
    """The application; `http.server.make_server` serves it, and reads its setting `max_header_bytes`."""
    arguments: dict[str, Any] = {"services": services}
    extra: dict[type[BaseHandler], dict[str, Any]] = {OpenApiHandler: {"routes": ROUTES}}
    return Application(
        [
            (route.pattern, route.handler, {"route": route.path, **arguments, **extra.get(route.handler, {})})
            for route in ROUTES
        ],
        default_handler_class=UnknownPathHandler,
        default_handler_args=arguments,
        log_function=log_request,
        max_header_bytes=services.max_request_header_bytes,
    )


def log_request(handler: RequestHandler) -> None:
    """Logs one line for each request: its route, never its path or query, as the URL in them may hold secrets."""
    request = handler.request
    route = getattr(handler, "route", "-")
    level = logging.INFO if handler.get_status() < 500 else logging.WARNING
    fields: dict[str, Any] = {"method": request.method, "route": route, "status": handler.get_status()}
    duration_ms = 1000 * request.request_time()
    text = "%s %s %d %.1f ms"
    access_logger.log(level, text, request.method, route, handler.get_status(), duration_ms, extra=fields)
