"""The exceptions that this program raises, in one tree; every class has a stable code.

They stand for mistakes of callers and for broken infrastructure. A collection that fails is an outcome, no exception
(`model.capture.Failure`). Only `web` gives a class its HTTP status; only adapters translate a library's errors.

    InventoryError
      CallerError
        InvalidUrl
          UrlSchemeUnsupported, UrlUserinfoRefused, UrlHostEmpty, UrlCharacterRefused, UrlTooLong
        DestinationProhibited
        InvalidRequest
          UrlMissing, UrlRepeated, InvalidJson, InvalidParameter, UnsupportedMediaType, RequestTooLarge,
          HeadersTooLarge
        RecordNotFound
        AccessRefused
          TokenMissing, TokenInvalid, InsufficientScope, HostNotAllowed, CrossSiteRefused
      Unavailable
        StorageUnavailable, RecordUnreadable, CollectorUnavailable, QueueFull, RateLimited, TooManyConnections
      CaptureTooLarge
      StartError
        InvalidSettings, DataDirectoryInUse, AddressInUse, EmbeddedDatabaseFailed, WorkersFailed
"""

from __future__ import annotations

from typing import ClassVar


class InventoryError(Exception):
    """The root. `detail` is a sentence for people, and never names a secret or a refused address."""

    code: ClassVar[str] = "internal_error"
    summary: ClassVar[str] = "The service failed."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.summary)
        self.detail = detail or self.summary


class CallerError(InventoryError):
    """A mistake of the caller: the same request gets the same error again."""


class InvalidUrl(CallerError):
    code = "invalid_url"
    summary = "The URL cannot be parsed, or its host cannot be connected to."


class UrlSchemeUnsupported(InvalidUrl):
    code = "url_scheme_unsupported"
    summary = "The URL must begin with http:// or https://; a missing scheme is not guessed."


class UrlUserinfoRefused(InvalidUrl):
    code = "url_userinfo_refused"
    summary = "The URL must not carry a user name or password."


class UrlHostEmpty(InvalidUrl):
    code = "url_host_empty"
    summary = "The URL names no host."


class UrlCharacterRefused(InvalidUrl):
    code = "url_character_refused"
    summary = "The URL contains a control character or a space inside."


class UrlTooLong(InvalidUrl):
    code = "url_too_long"
    summary = "The URL is longer than 8,192 characters."


class DestinationProhibited(CallerError):
    """The URL names an address, port or name that the destination policy refuses. Nothing is stored."""

    code = "destination_ip_prohibited"
    summary = "The destination policy does not allow this service to connect there."


class InvalidRequest(CallerError):
    code = "invalid_request"
    summary = "The request is malformed."


class UrlMissing(InvalidRequest):
    code = "url_missing"
    summary = "The request has no url."


class UrlRepeated(InvalidRequest):
    code = "url_repeated"
    summary = "The request has more than one url."


class InvalidJson(InvalidRequest):
    code = "invalid_json"
    summary = "The body is not valid JSON."


class InvalidParameter(InvalidRequest):
    code = "invalid_parameter"
    summary = "A parameter is unknown or repeated, or its value does not fit."


class UnsupportedMediaType(InvalidRequest):
    code = "unsupported_media_type"
    summary = "The body must be sent as application/json in UTF-8."


class RequestTooLarge(InvalidRequest):
    code = "request_too_large"
    summary = "The body is larger than this service reads."


class HeadersTooLarge(InvalidRequest):
    """The connection is closed after this answer, since the end of the request is not known."""

    code = "headers_too_large"
    summary = "The request line and headers are larger than this service reads."


class RecordNotFound(CallerError):
    code = "record_not_found"
    summary = "Nothing is stored under this URL or id."


class AccessRefused(CallerError):
    code = "access_refused"
    summary = "This caller is not allowed to do that."


class TokenMissing(AccessRefused):
    code = "token_missing"
    summary = "An API key is required: Authorization: Bearer KEY."


class TokenInvalid(AccessRefused):
    code = "invalid_token"
    summary = "The API key is not known, or was revoked."


class InsufficientScope(AccessRefused):
    code = "insufficient_scope"
    summary = "The API key does not allow this."


class HostNotAllowed(AccessRefused):
    """The setting `allowed_hosts` lists names; localhost and addresses are always accepted."""

    code = "host_not_allowed"
    summary = "The Host header names a host that this service is not known as; see the setting allowed_hosts."


class CrossSiteRefused(AccessRefused):
    code = "cross_site_refused"
    summary = "A page of another site must not start collections here."


class Unavailable(InventoryError):
    """The same request may succeed later; `retry_after_s` is an estimate of when."""

    code = "unavailable"
    summary = "The service cannot do this now."

    def __init__(self, detail: str | None = None, *, retry_after_s: int = 5) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class StorageUnavailable(Unavailable):
    """The database did not answer in time. A write may still take effect later."""

    code = "storage_unavailable"
    summary = "The database does not answer."


class RecordUnreadable(Unavailable):
    """A stored document has a newer shape than this program knows, or is broken.

    The same request gets the same error until the program is upgraded or the document is repaired, so `retry_after_s`
    is long.
    """

    code = "record_unreadable"
    summary = "This service cannot read the document that is stored for this URL; its log says why."

    def __init__(self, detail: str | None = None, *, retry_after_s: int = 3600) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class CollectorUnavailable(Unavailable):
    """No lane process could be started. The order has no outcome, and no request for it is under way."""

    code = "collector_unavailable"
    summary = "No lane process can be started."


class QueueFull(Unavailable):
    """The backlog is full. Nothing was stored."""

    code = "queue_full"
    summary = "As many collections wait as the setting queue_limit allows."


class RateLimited(Unavailable):
    """The client has started as many collections as its limit allows. Nothing was stored."""

    code = "rate_limited"
    summary = "This client starts more collections than its limit allows."


class TooManyConnections(Unavailable):
    """Sent to a new connection before anything is read from it."""

    code = "too_many_connections"
    summary = "This API worker has as many open connections as the setting max_connections allows."


class CaptureTooLarge(InventoryError):
    """The exchanges do not fit into a document, which the collector's limits should prevent."""


class StartError(InventoryError):
    """The program cannot start; it prints the detail and exits with 2."""

    code = "start_error"
    summary = "The service cannot start."


class InvalidSettings(StartError):
    code = "invalid_settings"
    summary = "A setting is unknown or has a wrong value."


class DataDirectoryInUse(StartError):
    code = "data_directory_in_use"
    summary = "Another program uses this data directory."


class AddressInUse(StartError):
    code = "address_in_use"
    summary = "The service cannot listen on its address."


class EmbeddedDatabaseFailed(StartError):
    code = "embedded_database_failed"
    summary = "The embedded database does not start."


class WorkersFailed(StartError):
    """No API worker ever became ready. Once one was ready, workers are restarted without end instead."""

    code = "workers_failed"
    summary = "No API worker could start; the log above says why."
