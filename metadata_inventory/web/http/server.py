"""Tornado's HTTP server within bounds: how many connections there are, and how long a client may take.

What Tornado answers by itself, before any handler, is answered in our form: a problem detail, with the headers that
every answer has.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, UnsatisfiableReadError
from tornado.web import Application

from metadata_inventory import errors
from metadata_inventory.web.http.handler import SECURITY_HEADERS
from metadata_inventory.web.http.problem import MEDIA_TYPE, build_problem, status_of


def _encode(error: type[errors.InventoryError], **more: str) -> bytes:
    """The whole answer that refuses a connection."""
    status = HTTPStatus(status_of(error))
    content = msgspec.json.encode(build_problem(status, error.code, error.summary))
    headers = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(content)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **SECURITY_HEADERS,
        **more,
    }
    lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {text}" for name, text in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + content


_TOO_MANY = _encode(errors.TooManyConnections, **{"Retry-After": "1"})
_MALFORMED = _encode(errors.InvalidRequest)
_HEAD_TOO_LARGE = _encode(errors.HeadersTooLarge)

# What Tornado 6.6 writes before it closes, of its own accord (`HTTP1Connection._read_message_inner`).
_BARE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


class ClientStream(IOStream):
    """A connection to a client, on which a request that cannot be read is answered in our form.

    Tornado has no hook for it: it writes a bare status line, and after a head over its bound nothing at all.
    """

    _in_head = False

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Tornado reads the head of a request so, and nothing else."""
        self._in_head = True
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Tornado reads the lines between chunks of a body so."""
        self._in_head = False
        return super().read_until(delimiter, max_bytes)

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        return super().write(_MALFORMED if data == _BARE else data)

    def close(self, exc_info: Any = False) -> None:
        """As IOStream's; it is called with UnsatisfiableReadError where the head, or a line, is over its bound."""
        if isinstance(exc_info, UnsatisfiableReadError) and not self.closed():
            written = self.write(_HEAD_TOO_LARGE if self._in_head else _MALFORMED)
            written.add_done_callback(lambda written: written.exception())  # retrieved: the client may have gone
        super().close(exc_info)


class BoundedServer(HTTPServer):
    """Beyond `max_connections` a connection is answered 503, without reading from it, and closed."""

    max_connections = sys.maxsize
    _count = 0

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if self._count >= self.max_connections:
            stream.write(_TOO_MANY).add_done_callback(lambda written: _close(stream, written))
            return
        self._count += 1
        # The stream that Tornado has made waits for nothing yet: the connection is its only state.
        kept = ClientStream(stream.socket, max_buffer_size=self.max_buffer_size, read_chunk_size=self.read_chunk_size)
        super().handle_stream(kept, address)

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
        max_header_size=app.settings["max_header_bytes"],
        max_body_size=sys.maxsize,  # bodies are bounded by the handlers, which can say so
    )
    server.max_connections = max_connections
    return server
