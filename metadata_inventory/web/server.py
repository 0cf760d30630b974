"""Tornado's HTTP server within bounds: how many connections there are, and how long a client may take."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

from metadata_inventory import errors
from metadata_inventory.web.problem import MEDIA_TYPE, build_problem, status_of

# A URL of 8,192 characters of three bytes each, percent-encoded, is 72 KiB.
MAX_HEADER_BYTES = 96 * 1024

_TOO_MANY = msgspec.json.encode(
    build_problem(
        status_of(errors.TooManyConnections), errors.TooManyConnections.code, errors.TooManyConnections.summary
    )
)
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: %b\r\nContent-Length: %d\r\nRetry-After: 1\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\n%b" % (MEDIA_TYPE.encode(), len(_TOO_MANY), _TOO_MANY)
)


class BoundedServer(HTTPServer):
    """Beyond `max_connections` a connection is answered 503, without reading from it, and closed."""

    max_connections = sys.maxsize
    _count = 0

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if self._count >= self.max_connections:
            stream.write(_REFUSAL).add_done_callback(lambda written: _close(stream, written))
            return
        self._count += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        self._count -= 1
        super().on_close(server_conn)


def _close(stream: IOStream, written: asyncio.Future[None]) -> None:
    written.exception()  # retrieved: it went away first
    stream.close()


def make_server(
    app: Application, *, max_connections: int, idle_timeout_s: float, body_timeout_s: float
) -> BoundedServer:
    server = BoundedServer(
        app,
        idle_connection_timeout=idle_timeout_s,
        body_timeout=body_timeout_s,
        max_header_size=MAX_HEADER_BYTES,
        max_body_size=sys.maxsize,  # bodies are bounded by the handlers, which can say so
    )
    server.max_connections = max_connections
    return server
