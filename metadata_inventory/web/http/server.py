"""Tornado's HTTP server, with a limit on connections and on the time that a client may take for its request.

Where Tornado answers by itself, before any handler is called, the client gets a problem detail with the security
headers instead, like every other answer.
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
from metadata_inventory.web.http.problem import MEDIA_TYPE, describe_error
from metadata_inventory.web.http.security_headers import SECURITY_HEADERS


def _encode(error: errors.InventoryError) -> bytes:
    """The whole answer, head and body, after which the connection is closed."""
    problem, more = describe_error(error)
    status = HTTPStatus(problem.status)
    content = msgspec.json.encode(problem)
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


_TOO_MANY = _encode(errors.TooManyConnections(retry_after_s=1))
_MALFORMED = _encode(errors.InvalidRequest("The bytes on this connection are not an HTTP/1.1 request (RFC 9112)."))

# The answer that Tornado 6.6 writes by itself before it closes a connection (`HTTP1Connection._read_message_inner`).
_BARE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


class ClientStream(IOStream):
    """A client's connection. A request that cannot be read is answered with a problem detail.

    Tornado has no hook for this: it writes a bare status line, and nothing at all when a head is over its limit.
    """

    head_too_large = _encode(errors.HeadersTooLarge())
    _in_head = False

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Tornado reads the head of a request with this method, and nothing else."""
        self._in_head = True
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Tornado reads the lines between the chunks of a body with this method."""
        self._in_head = False
        return super().read_until(delimiter, max_bytes)

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        return super().write(_MALFORMED if data == _BARE else data)

    def close(self, exc_info: Any = False) -> None:
        """As IOStream's. UnsatisfiableReadError means that the head, or a line between chunks, is over its limit."""
        if isinstance(exc_info, UnsatisfiableReadError) and not self.closed():
            written = self.write(self.head_too_large if self._in_head else _MALFORMED)
            # The exception is retrieved, so that it is not logged: the client may have closed its connection.
            written.add_done_callback(lambda written: written.exception())
        super().close(exc_info)


class BoundedServer(HTTPServer):
    """Answers a connection beyond `max_connections` with 503, without reading from it, and closes it."""

    max_connections = sys.maxsize
    head_too_large = ClientStream.head_too_large
    _count = 0

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if self._count >= self.max_connections:
            stream.write(_TOO_MANY).add_done_callback(lambda written: _close(stream, written))
            return
        self._count += 1
        # The stream that Tornado has made has read nothing yet: its socket can be given to another stream.
        kept = ClientStream(stream.socket, max_buffer_size=self.max_buffer_size, read_chunk_size=self.read_chunk_size)
        kept.head_too_large = self.head_too_large
        super().handle_stream(kept, address)

    def on_close(self, server_conn: object) -> None:
        self._count -= 1
        super().on_close(server_conn)


def _close(stream: IOStream, written: asyncio.Future[None]) -> None:
    written.exception()  # retrieved, so that it is not logged: the client has closed its connection
    stream.close()


def make_server(
    app: Application, *, max_connections: int, idle_timeout_s: float, body_timeout_s: float
) -> BoundedServer:
    max_header_bytes = app.settings["max_header_bytes"]
    server = BoundedServer(
        app,
        idle_connection_timeout=idle_timeout_s,
        body_timeout=body_timeout_s,
        max_header_size=max_header_bytes,
        max_body_size=sys.maxsize,  # handlers limit bodies (`request_body`), and answer with the reason
    )
    server.max_connections = max_connections
    server.head_too_large = _encode(
        errors.HeadersTooLarge(f"The request line and headers must have at most {max_header_bytes} bytes together.")
    )
    return server
