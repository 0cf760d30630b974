"""Errors as problem details (RFC 9457), and the one table from error class to HTTP status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from msgspec import Struct

from metadata_inventory import errors
from metadata_inventory.model.capture import Exchange, FailureCode
from metadata_inventory.validation import choices

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[errors.InventoryError], HTTPStatus] = {
    errors.InvalidUrl: HTTPStatus.BAD_REQUEST,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.RequestTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.HeadersTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.DestinationProhibited: HTTPStatus.FORBIDDEN,
    errors.RecordNotFound: HTTPStatus.NOT_FOUND,
    errors.AccessRefused: HTTPStatus.FORBIDDEN,
    errors.TokenMissing: HTTPStatus.UNAUTHORIZED,
    errors.TokenInvalid: HTTPStatus.UNAUTHORIZED,
    errors.HostNotAllowed: HTTPStatus.MISDIRECTED_REQUEST,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InventoryError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# The codes of errors that the router finds before any handler of ours is called.
HTTP_CODES = {404: "path_not_found", 405: "method_not_allowed"}

_TIMEOUTS = {FailureCode.DNS_TIMEOUT, FailureCode.CONNECTION_TIMEOUT, FailureCode.HTTP_RESPONSE_TIMEOUT}


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem detail. `code` is stable, `detail` is for people. The other fields are set when a collection failed."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    id: str | None = None
    url: str | None = None
    normalized_url: str | None = None
    attempts: int | None = None
    failed_at: datetime | None = None
    retry_at: datetime | None = None
    record: str | None = None
    exchanges: tuple[Exchange, ...] | None = None


def build_problem(status: int, code: str, detail: str) -> Problem:
    return Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail, code=code)


def describe_error(error: errors.InventoryError) -> tuple[Problem, dict[str, str]]:
    """The problem detail of an error of ours, and the headers that go with it."""
    status = status_of(type(error))
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = challenge(error)
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    return build_problem(status, error.code, error.detail), headers


def describe_http_error(status: int, allowed_methods: Sequence[str]) -> tuple[Problem, dict[str, str]]:
    """The problem detail of an error that the router has found: status 400, 404 or 405.

    `allowed_methods` are those of the path; none when there is no such path.
    """
    code = HTTP_CODES.get(status, errors.InvalidRequest.code)
    headers = {}
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is no such path; /openapi.json lists all paths."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"The method must be {choices(allowed_methods or ['GET'])}."
        headers["Allow"] = ", ".join(allowed_methods)
    else:
        detail = "The path must be percent-encoded UTF-8."
    return build_problem(status, code, detail), headers


def status_of(error: type[errors.InventoryError]) -> int:
    """The status of an error class: its own row of the table, or that of its nearest ancestor."""
    return next(STATUS[ancestor] for ancestor in error.__mro__ if ancestor in STATUS)


def challenge(error: errors.InventoryError) -> str:
    """The `WWW-Authenticate` header. RFC 6750 §3: a request without a key gets no error code in it."""
    if isinstance(error, errors.TokenMissing):
        return 'Bearer realm="metadata-inventory"'
    return f'Bearer realm="metadata-inventory", error="{error.code}"'


def status_of_failure(code: FailureCode, hops: int) -> int:
    """The status of a stored failure: that of a gateway, RFC 9110 §15.6.3 and §15.6.5.

    A prohibited destination is the caller's mistake when the URL itself names it, and the origin's when a redirect
    led there.
    """
    if code is FailureCode.DESTINATION_IP_PROHIBITED and hops <= 1:
        return HTTPStatus.FORBIDDEN
    return HTTPStatus.GATEWAY_TIMEOUT if code in _TIMEOUTS else HTTPStatus.BAD_GATEWAY
