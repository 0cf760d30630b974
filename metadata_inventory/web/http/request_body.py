"""The bytes of a request's body, up to a limit. A longer body is refused as soon as its length is known."""

from __future__ import annotations

from metadata_inventory.errors import InvalidRequest, RequestTooLarge
from metadata_inventory.validation import show

_DIGITS = 19  # of Content-Length that are looked at: enough to be over any limit, few enough to convert


class RequestBody:
    """Holds at most `max_bytes`. `content` is what has arrived so far."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.content = b""

    def check_length(self, content_length: str) -> None:
        """Judge the Content-Length header. Raises InvalidRequest, RequestTooLarge."""
        if not (content_length.isascii() and content_length.isdigit()):
            raise InvalidRequest(f"Content-Length must be a whole number of at least 0, not {show(content_length)}.")
        if int(content_length[:_DIGITS]) > self._max_bytes:
            raise self._too_large()

    def add(self, chunk: bytes) -> None:
        """Raises RequestTooLarge, and keeps nothing of the chunk then."""
        if len(self.content) + len(chunk) > self._max_bytes:
            raise self._too_large()
        self.content += chunk

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"The body must have at most {self._max_bytes} bytes.")
