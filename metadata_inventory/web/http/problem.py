"""Errors as RFC 9457 problem details, and the one table from error class to status."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

from msgspec import Struct

from metadata_inventory import errors
from metadata_inventory.model.capture import Exchange, FailureCode

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

# Codes of errors that HTTP itself knows; the request reached no use case.
HTTP_CODES = {404: "path_not_found", 405: "method_not_allowed"}

_TIMEOUTS = {FailureCode.DNS_TIMEOUT, FailureCode.CONNECTION_TIMEOUT, FailureCode.HTTP_RESPONSE_TIMEOUT}


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem detail. `code` is stable; `detail` is for people. The rest is there when a collection failed."""

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


def status_of(error: type[errors.InventoryError]) -> int:
    """The status of an error class: its own row, or that of its nearest ancestor."""
    return next(STATUS[ancestor] for ancestor in error.__mro__ if ancestor in STATUS)


def challenge(error: errors.InventoryError) -> str:
    """RFC 6750 §3: a request without a key is only told how to send one."""
    if isinstance(error, errors.TokenMissing):
        return 'Bearer realm="metadata-inventory"'
    return f'Bearer realm="metadata-inventory", error="{error.code}"'


def status_of_failure(code: FailureCode, hops: int) -> int:
    """The status of a stored failure: as a gateway answers, RFC 9110 §15.6.3 and §15.6.5.

    A refused destination is the caller's doing when it is the URL's own, and the origin's when a redirect led there.
    """
    if code is FailureCode.DESTINATION_IP_PROHIBITED and hops <= 1:
        return HTTPStatus.FORBIDDEN
    return HTTPStatus.GATEWAY_TIMEOUT if code in _TIMEOUTS else HTTPStatus.BAD_GATEWAY
