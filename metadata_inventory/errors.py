"""The tree of what this system raises; every class carries a stable code.

A URL that fails is not here: that is data, an outcome value (`capture.Failure`). Raised are callers' mistakes and
broken infrastructure. Only `web/` knows which HTTP status a class gets; only adapters translate a library's errors.

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
    """The root. `detail` is a sentence for a person and never names a secret or a refused address."""

    code: ClassVar[str] = "internal_error"
    summary: ClassVar[str] = "The service failed."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.summary)
        self.detail = detail or self.summary


class CallerError(InventoryError):
    """The caller can mend it: asking the same again gives the same."""


class InvalidUrl(CallerError):
    code = "invalid_url"
    summary = "The URL cannot be parsed, or its host cannot be dialled."


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
    """The URL itself names an address, port or name that the rules refuse. Nothing is stored."""

    code = "destination_ip_prohibited"
    summary = "The rules of this service do not allow it to connect there."


class InvalidRequest(CallerError):
    code = "invalid_request"
    summary = "The request is not understood."


class UrlMissing(InvalidRequest):
    code = "url_missing"
    summary = "The request names no url."


class UrlRepeated(InvalidRequest):
    code = "url_repeated"
    summary = "The request names url more than once."


class InvalidJson(InvalidRequest):
    code = "invalid_json"
    summary = "The body is not valid JSON."


class InvalidParameter(InvalidRequest):
    code = "invalid_parameter"
    summary = "A parameter is unknown, repeated or has a value of the wrong type."


class UnsupportedMediaType(InvalidRequest):
    code = "unsupported_media_type"
    summary = "The body must be sent as application/json in UTF-8."


class RequestTooLarge(InvalidRequest):
    code = "request_too_large"
    summary = "The body is larger than this service reads."


class HeadersTooLarge(InvalidRequest):
    """Told to a connection that is closed then: where the request ends is not known."""

    code = "headers_too_large"
    summary = "The request line and headers are larger than this service reads."


class RecordNotFound(CallerError):
    code = "record_not_found"
    summary = "Nothing is stored under this URL or id."


class AccessRefused(CallerError):
    code = "access_refused"
    summary = "This caller may not do that."


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
    """A setting lists names; an address, and localhost, are always right."""

    code = "host_not_allowed"
    summary = "The Host header names a host that this service is not known as; see the setting allowed_hosts."


class CrossSiteRefused(AccessRefused):
    code = "cross_site_refused"
    summary = "A page of another site may not start work here."


class Unavailable(InventoryError):
    """It may work later; `retry_after_s` is an honest guess when."""

    code = "unavailable"
    summary = "The service cannot do this just now."

    def __init__(self, detail: str | None = None, *, retry_after_s: int = 5) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class StorageUnavailable(Unavailable):
    """The database did not answer in time. A write may still land later."""

    code = "storage_unavailable"
    summary = "The database does not answer."


class RecordUnreadable(Unavailable):
    """A stored document has a newer shape than this program knows, or is broken. It is left as it is.

    Nothing changes until the program is upgraded or the document is repaired, so clients are told to wait for long.
    """

    code = "record_unreadable"
    summary = "This service cannot read the document that is stored for this URL; its log says why."

    def __init__(self, detail: str | None = None, *, retry_after_s: int = 3600) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class CollectorUnavailable(Unavailable):
    """No process could be started that collects. What was to be collected is as it was."""

    code = "collector_unavailable"
    summary = "No collector can be started."


class QueueFull(Unavailable):
    """The backlog is full. Nothing was stored."""

    code = "queue_full"
    summary = "Too many collections are waiting."


class RateLimited(Unavailable):
    """The client has started as much work as it may for now. Nothing was stored."""

    code = "rate_limited"
    summary = "This client starts more work than it may."


class TooManyConnections(Unavailable):
    """Told to a connection before anything is read from it."""

    code = "too_many_connections"
    summary = "This process keeps as many connections as it may."


class CaptureTooLarge(InventoryError):
    """Exchanges that no document takes. The collector's limits should have stopped them: nothing of it is told."""


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
    summary = "The address to listen on cannot be had."


class EmbeddedDatabaseFailed(StartError):
    code = "embedded_database_failed"
    summary = "The embedded database does not start."


class WorkersFailed(StartError):
    """No worker came to answer requests. One that comes to it later, after any did, is tried without end."""

    code = "workers_failed"
    summary = "No API worker could start; the log above says why."
