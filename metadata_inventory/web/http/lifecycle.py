"""The life of a request, from its head to the end of its answer, within limits.

Access is checked when the head has arrived, before the body is read. A request counts as under way until its answer is
written or its connection is closed. The body and the time for reading the answer are limited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import Any

from tornado.web import RequestHandler, stream_request_body

from metadata_inventory.errors import RequestTooLarge
from metadata_inventory.web.http.operation import find_operation
from metadata_inventory.web.http.request_access import RequestAccess
from metadata_inventory.web.http.request_body import RequestBody
from metadata_inventory.web.http.security_headers import SECURITY_HEADERS
from metadata_inventory.web.http.services import Services


@stream_request_body
class LifecycleHandler(RequestHandler):
    """The base of `handler.BaseHandler`, which adds the forms of answers."""

    any_host = False  # answers whatever the Host header says; else `Access.check_host` decides

    def initialize(self, services: Services, route: str = "-") -> None:
        """`route` stands for the path in logs: somebody may have pasted a URL with a secret as the path."""
        self.services = services
        self.route = route
        self.body = RequestBody(services.max_request_bytes)
        self._access = RequestAccess(services.access, self.request)
        self._ended = False
        services.requests.began()

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_headers(SECURITY_HEADERS)

    def set_headers(self, headers: Mapping[str, str]) -> None:
        for name, text in headers.items():
            self.set_header(name, text)

    def prepare(self) -> Awaitable[None] | None:
        """Called when the head has been read, before the body."""
        if not self.any_host:
            self.services.access.check_host(self.request)
        declared = find_operation(self, (self.request.method or "").lower())
        if declared is not None and declared.scope is not None:
            self._access.require(declared.scope)
        self.body.check_length(self.request.headers.get("Content-Length", "0"))
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Keep a part of the body. A refusal is sent here, which ends the reading: Tornado would only disconnect."""
        if not self._finished:
            try:
                self.body.add(chunk)
            except RequestTooLarge as error:
                self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, exc_info=(RequestTooLarge, error, None))
        return None

    def permit_work(self) -> None:
        """To be called before a collection is started. Raises CrossSiteRefused, InsufficientScope, RateLimited."""
        self._access.permit_work()

    def count_work(self) -> None:
        """Count this request as work that its client starts. Raises RateLimited."""
        self._access.count_work()

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """As Tornado's, with the headers of access and the limits on unread answers. Raises Unavailable."""
        size = len(chunk) if isinstance(chunk, bytes) else 0
        self.services.unread.check_room(size)
        self.set_headers(self._access.answer_headers())
        written = super().finish(chunk)
        self.services.unread.watch(written, size, getattr(self.request.connection, "stream", None))
        return written

    def on_finish(self) -> None:
        self._end()

    def on_connection_close(self) -> None:
        """The client has closed its connection. In the middle of a body, Tornado calls nothing else after this."""
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self.services.requests.ended()
