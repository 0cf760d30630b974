"""Decides when a URL is collected again: retry, freshness, and how long a stored failure is the answer. Pure."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from msgspec import Struct

from metadata_inventory.model.capture import Capture, Failure, FailureCode
from metadata_inventory.model.record import StoredFailure

# Failures that may pass by themselves, with the number of attempts for each.
_ATTEMPTS = {
    FailureCode.DNS_ERROR: 3,
    FailureCode.DNS_TIMEOUT: 3,
    FailureCode.CONNECTION_REFUSED: 3,
    FailureCode.CONNECTION_TIMEOUT: 3,
    FailureCode.CONNECTION_TERMINATED: 3,
    FailureCode.HTTP_RESPONSE_TIMEOUT: 3,
    FailureCode.HTTP_RESPONSE_INCOMPLETE: 3,
    FailureCode.WORKER_LOST: 3,
    FailureCode.INTERNAL_ERROR: 2,
}

# After so many lost leases the job itself is assumed to end its workers, and ends as `worker_lost`.
MAX_LOSSES = 10

# Responses to be collected again later when they carry Retry-After: RFC 6585 §4, RFC 9110 §15.6.4 and §10.2.3.
_LATER = frozenset({429, 503})
# An unfinished capture gets as many attempts as a connection that broke.
_CAPTURE_ATTEMPTS = _ATTEMPTS[FailureCode.CONNECTION_TERMINATED]

# Seconds for which a prohibited destination is the answer: few, since the operator may change the rules at any moment.
_REFUSAL_TTL_S = 60.0


def retryable(code: FailureCode) -> bool:
    return code in _ATTEMPTS


def fullness(capture: Capture) -> int | None:
    """How much an unfinished capture brought; None for a finished one.

    0 for a 429 or 503 with Retry-After; for a body cut off by time or by a lost connection, 1 + the bytes that came. A
    body cut at our own limit is finished: it would be cut there again.
    """
    if _retry_after_s(capture) is not None:
        return 0
    return 1 + capture.body.wire_length if capture.body.truncated in ("time", "disconnect") else None


class CollectPolicy(Struct, frozen=True, kw_only=True):
    """The settings that say when a URL is collected again. `rules` is the destination policy's fingerprint."""

    max_attempts: int
    retry_base_s: float
    retry_max_s: float
    retry_after_max_s: float
    failure_ttl_s: float
    freshness_s: float
    rules: str

    def retry_delay_s(self, code: FailureCode, attempts: int, jitter: float) -> float | None:
        """Seconds until the next attempt, after `attempts` have failed; None when there is none left.

        The backoff is exponential; half of it is random (`jitter`, in [0, 1)), so that URLs which failed together are
        not collected together again.
        """
        if attempts >= min(self.max_attempts, _ATTEMPTS.get(code, 1)):
            return None
        return self._backoff_s(attempts, jitter)

    def capture_retry_delay_s(self, capture: Capture, attempts: int, jitter: float) -> float | None:
        """As `retry_delay_s`, after an unfinished capture: not before its Retry-After, within `retry_after_max_s`."""
        if attempts >= min(self.max_attempts, _CAPTURE_ATTEMPTS):
            return None
        asked_s = min(_retry_after_s(capture) or 0.0, self.retry_after_max_s)
        return asked_s + self._backoff_s(attempts, jitter)

    def _backoff_s(self, attempts: int, jitter: float) -> float:
        delay_s = min(self.retry_base_s * 2.0 ** (attempts - 1), self.retry_max_s)
        return delay_s * (0.5 + jitter / 2)

    def stored_failure(self, failure: Failure, attempts: int, delay_s: float | None) -> StoredFailure:
        """The failure, with the instant until which it is the answer for the URL."""
        if delay_s is None:
            refused = failure.code is FailureCode.DESTINATION_IP_PROHIBITED
            delay_s = min(self.failure_ttl_s, _REFUSAL_TTL_S) if refused else self.failure_ttl_s
        return StoredFailure(
            failure=failure,
            attempts=attempts,
            retry_at=failure.at + timedelta(seconds=delay_s),
            policy=self.rules,
        )

    def failure_answers(self, stored: StoredFailure, now: datetime) -> bool:
        """Whether a stored failure is still the answer: its time is not over, and rules that refused are the same."""
        if stored.failure.code is FailureCode.DESTINATION_IP_PROHIBITED and stored.policy != self.rules:
            return False
        return now < stored.retry_at

    def stale(self, capture: Capture, now: datetime, max_age_s: float | None) -> bool:
        """Whether the capture is older than the client's `max_age_s`; without one, than the setting `freshness_s`."""
        if max_age_s is None:
            return self.freshness_s > 0 and now - capture.fetched_at > timedelta(seconds=self.freshness_s)
        return now - capture.fetched_at > timedelta(seconds=max_age_s)


def _retry_after_s(capture: Capture) -> float | None:
    """The seconds of Retry-After (RFC 9110 §10.2.3); None when the response asks for no retry."""
    response = capture.exchanges[-1].response
    if response is None or response.status_code not in _LATER:
        return None
    given = [header.value.strip() for header in response.headers if header.name.lower() == "retry-after"]
    if not given:
        return None
    if given[-1].isascii() and given[-1].isdigit():
        return float(given[-1][:9])
    with contextlib.suppress(ValueError, OverflowError):  # neither a number nor a valid date
        until = parsedate_to_datetime(given[-1])
        return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - capture.fetched_at).total_seconds())
    return None
