"""What every handler shares: bounded bodies, answers in JSON, errors as problem details, nothing else ever shown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct
from tornado.iostream import IOStream
from tornado.web import HTTPError, RequestHandler, stream_request_body

from metadata_inventory.access.keys import Scope
from metadata_inventory.access.rate import Grant
from metadata_inventory.errors import (
    InsufficientScope,
    InvalidRequest,
    InventoryError,
    RateLimited,
    RequestTooLarge,
    Unavailable,
)
from metadata_inventory.usecases.inventory import Inventory
from metadata_inventory.usecases.queue import Queue
from metadata_inventory.web.http import access, problem

logger = logging.getLogger(__name__)


# Of large answers that clients have not read yet, in one process; the first is sent whatever its size.
UNREAD_BYTES = 256 * 1024 * 1024
LARGE_BYTES = 64 * 1024


class RequestCounter:
    """How many requests are being answered, and how much of large answers is still to be read."""

    def __init__(self) -> None:
        self.unread_bytes = 0
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def began(self) -> None:
        self._count += 1
        self._none.clear()

    def ended(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._none.set()

    async def answered(self, timeout_s: float) -> None:
        """Wait until none is left, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none.wait()


class Services(Struct, frozen=True, kw_only=True):
    """What handlers are given: the use cases, and the settings that bound a request."""

    inventory: Inventory
    check: Callable[[], Awaitable[None]]
    queue: Queue
    access: access.Access
    requests: RequestCounter
    collect_timeout_s: float
    answer_timeout_s: float
    max_request_header_bytes: int
    max_request_bytes: int


# On every answer. It is data: no browser is to make a page, a frame or a script of it, or tell others where it was.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@stream_request_body
class BaseHandler(RequestHandler):
    """Reads at most `max_request_bytes` of a body; a longer one is refused before it is read."""

    services: Services
    body: bytes
    any_host = False  # whatever name it is called by; else `Access.check_host` decides

    def initialize(self, services: Services, route: str = "-") -> None:
        """`route` is what the log tells of the path: a URL that was pasted as one may hold what nobody should read."""
        self.services = services
        self.route = route
        self.body = b""
        self.caller = access.Caller("")
        self._grant: Grant | None = None
        self._left = False
        services.requests.began()

    def on_finish(self) -> None:
        self._leave()

    def on_connection_close(self) -> None:
        """The client has gone, perhaps in the middle of its body: then nothing else is called."""
        self._leave()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self.services.requests.ended()

    def prepare(self) -> Awaitable[None] | None:
        self._set_headers(self.services.access.cors(self.request.headers))
        if not self.any_host:
            self.services.access.check_host(self.request)
        method = "get" if self.request.method == "HEAD" else (self.request.method or "").lower()
        declared = getattr(getattr(self, method, None), "operation", None)
        if declared is not None and declared.scope is not None:
            self._check_access(declared.scope)
        length = self.request.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise InvalidRequest("Content-Length is no number.")
        if int(length[:19]) > self.services.max_request_bytes:
            raise RequestTooLarge
        return None

    def _check_access(self, scope: Scope) -> None:
        rules = self.services.access
        self.caller = rules.identify(self.request)
        if not self.caller.may(scope):
            raise InsufficientScope(f"This needs a key with the scope {scope}.")
        if self.request.method not in ("GET", "HEAD"):
            rules.check_site(self.request)

    def permit_work(self) -> None:
        """Called when a collection is about to be started for this request; raises when the caller may not."""
        self.services.access.check_site(self.request)
        if not self.caller.may(Scope.COLLECT):
            raise InsufficientScope(
                f"This is not stored, and collecting it needs a key with the scope {Scope.COLLECT}."
            )
        self.take_token()

    def take_token(self) -> None:
        """Count this request as work that its client starts. Raises RateLimited."""
        self._grant = self.services.access.take(self.caller)
        self._set_headers(self._rate_headers())
        if self._grant is not None and not self._grant.allowed:
            raise RateLimited(retry_after_s=math.ceil(self._grant.wait_s))

    def _rate_headers(self) -> dict[str, str]:
        rate = self.services.access.rate
        return access.rate_headers(rate, self._grant) if rate and self._grant else {}

    def _set_headers(self, headers: Mapping[str, str]) -> None:
        for name, text in headers.items():
            self.set_header(name, text)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """What is raised here Tornado answers by cutting the connection: so it is answered, which ends the reading."""
        if len(self.body) + len(chunk) <= self.services.max_request_bytes:
            self.body += chunk
        elif not self._finished:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, exc_info=(RequestTooLarge, RequestTooLarge(), None))
        return None

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self._set_headers(SECURITY_HEADERS)

    def compute_etag(self) -> str | None:
        """Handlers that have one set it; hashing every answer would be work for nothing."""
        return None

    def matches_etag(self) -> bool:
        """Answer 304 when the request's `If-None-Match` has our ETag; only GET and HEAD ask so (RFC 9110 §13.1.2)."""
        if self.request.method not in ("GET", "HEAD") or not self.check_etag_header():
            return False
        self.set_status(HTTPStatus.NOT_MODIFIED)
        self.finish()
        return True

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """As Tornado's, but a client has `answer_timeout_s` to read the answer, and large ones share a bound.

        Raises Unavailable when others have too much to read already.
        """
        requests = self.services.requests
        size = len(chunk) if isinstance(chunk, bytes) and len(chunk) > LARGE_BYTES else 0
        if size and requests.unread_bytes and requests.unread_bytes + size > UNREAD_BYTES:
            raise Unavailable("Other clients are still reading large answers.", retry_after_s=1)
        written = super().finish(chunk)
        requests.unread_bytes += size
        stream = getattr(self.request.connection, "stream", None)
        timeout = asyncio.get_running_loop().call_later(self.services.answer_timeout_s, close, stream)

        def end(written: asyncio.Future[None]) -> None:
            requests.unread_bytes -= size
            timeout.cancel()
            if not written.cancelled():
                written.exception()  # retrieved: the client has gone

        written.add_done_callback(end)
        return written

    def reply(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a value of the API in JSON."""
        self.reply_json(status, msgspec.json.encode(value), headers)

    def reply_json(self, status: int, encoded: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self._set_headers(headers or {})
        self.finish(encoded)

    def reply_problem(self, value: problem.Problem, headers: Mapping[str, str] | None = None) -> None:
        self.set_status(value.status)
        self.set_header("Content-Type", problem.MEDIA_TYPE)
        self.set_header("Cache-Control", "no-store")
        self._set_headers(headers or {})
        self.finish(msgspec.json.encode(value))

    async def head(self, **path: str) -> None:
        """As GET; Tornado leaves the body out."""
        if not hasattr(self.get, "operation"):
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        answered = self.get(**path)
        if answered is not None:
            await answered

    async def options(self, **path: str) -> None:
        """A preflight of an allowed origin (Fetch standard); to others the method is not allowed."""
        origin = self.services.access.cors(self.request.headers).get("Access-Control-Allow-Origin")
        if origin is None:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        self.set_header("Access-Control-Allow-Methods", ", ".join(self.allowed_methods()))
        self.set_header("Access-Control-Allow-Headers", access.ALLOWED_HEADERS)
        self.set_header("Access-Control-Max-Age", str(access.PREFLIGHT_S))
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        headers = {**self.services.access.cors(self.request.headers), **self._rate_headers()}
        if isinstance(error, InventoryError):
            status = problem.status_of(type(error))
            answer = problem.build_problem(status, error.code, error.detail)
            if status == HTTPStatus.UNAUTHORIZED:
                headers["WWW-Authenticate"] = problem.challenge(error)
            if isinstance(error, Unavailable):
                headers["Retry-After"] = str(error.retry_after_s)
        elif isinstance(error, HTTPError) and status_code < 500:
            phrase = HTTPStatus(status_code).phrase
            answer = problem.build_problem(status_code, problem.HTTP_CODES.get(status_code, "invalid_request"), phrase)
        else:
            answer = problem.build_problem(500, InventoryError.code, InventoryError.summary)
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(self.allowed_methods())
        self.reply_problem(answer, headers)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Callers' mistakes are theirs; what we did not foresee is logged, once, without query or body."""
        if isinstance(value, InventoryError | HTTPError):
            return
        logger.error("%s %s failed", self.request.method, self.route, exc_info=(typ, value, tb))

    @classmethod
    def allowed_methods(cls) -> list[str]:
        """The methods that this handler declares an operation for; HEAD comes with GET."""
        declared = ("get", "post", "put", "patch", "delete")
        methods = [name for name in declared if hasattr(getattr(cls, name), "operation")]
        return ["HEAD"] * ("get" in methods) + [name.upper() for name in methods]


def close(stream: IOStream | None) -> None:
    if stream is not None:
        stream.close()


class UnknownPathHandler(BaseHandler):
    """Answers every path that no route has."""

    def prepare(self) -> Awaitable[None] | None:
        self.services.access.check_host(self.request)
        raise HTTPError(HTTPStatus.NOT_FOUND)
