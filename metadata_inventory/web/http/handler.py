"""The base of every handler: the forms of answers.

An answer is JSON, a problem detail, or has no body. An unexpected exception is logged once; the client gets a 500 that
shows nothing of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from tornado.web import HTTPError

from metadata_inventory.errors import InventoryError
from metadata_inventory.web.http import problem
from metadata_inventory.web.http.lifecycle import LifecycleHandler
from metadata_inventory.web.http.operation import find_operation, operations

logger = logging.getLogger(__name__)


class BaseHandler(LifecycleHandler):
    """Handlers of resources derive from it and declare operations; they answer with `reply` or by raising an error."""

    def reply(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a value of the API, in JSON."""
        self.reply_json(status, msgspec.json.encode(value), headers)

    def reply_json(self, status: int, encoded: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._reply(status, "application/json", encoded, headers or {})

    def reply_problem(self, value: problem.Problem, headers: Mapping[str, str] | None = None) -> None:
        headers = {"Cache-Control": "no-store", **(headers or {})}
        self._reply(value.status, problem.MEDIA_TYPE, msgspec.json.encode(value), headers)

    def _reply(self, status: int, media_type: str, content: bytes, headers: Mapping[str, str]) -> None:
        self.set_status(status)
        self.set_header("Content-Type", media_type)
        self.set_headers(headers)
        self.finish(content)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, HTTPError) and status_code < 500:
            self.reply_problem(*problem.describe_http_error(status_code, self.allowed_methods()))
        else:
            self.reply_problem(
                *problem.describe_error(error if isinstance(error, InventoryError) else InventoryError())
            )

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Logs an unexpected exception, without query and body. Errors of callers are not logged."""
        if isinstance(value, InventoryError | HTTPError):
            return
        logger.error("%s %s failed", self.request.method, self.route, exc_info=(typ, value, tb))

    def compute_etag(self) -> str | None:
        """None: handlers with an ETag set it, and hashing every other answer would be wasted work."""
        return None

    def matches_etag(self) -> bool:
        """Answer 304 when the request's `If-None-Match` has our ETag; only for GET and HEAD (RFC 9110 §13.1.2)."""
        if self.request.method not in ("GET", "HEAD") or not self.check_etag_header():
            return False
        self.set_status(HTTPStatus.NOT_MODIFIED)
        self.finish()
        return True

    async def head(self, **path: str) -> None:
        """As GET; Tornado leaves out the body."""
        if find_operation(self, "get") is None:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        answered = self.get(**path)
        if answered is not None:
            await answered

    async def options(self, **path: str) -> None:
        """The preflight of an allowed origin (Fetch standard); for every other client the method is not allowed."""
        headers = self.services.access.cors.preflight_headers(self.request.headers, self.allowed_methods())
        if headers is None:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        self.set_headers(headers)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()

    @classmethod
    def allowed_methods(cls) -> list[str]:
        """The methods for which this handler declares an operation; HEAD comes with GET."""
        methods = [name.upper() for name, _ in operations(cls)]
        return ["HEAD"] * ("GET" in methods) + methods


class UnknownPathHandler(BaseHandler):
    """Answers on every path that no route has: 404."""

    def prepare(self) -> Awaitable[None] | None:
        self.services.access.check_host(self.request)
        raise HTTPError(HTTPStatus.NOT_FOUND)
